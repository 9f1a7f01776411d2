"""`glmd` and `python -m glmd`."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exits with the code docs/cli.md lists."""
    from glmd.frontends.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
