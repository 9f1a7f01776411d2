"""`glmd completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> int:
    """Print the completion script of a shell.

    \b
    bash   eval "$(glmd completion bash)"            in ~/.bashrc
    zsh    eval "$(glmd completion zsh)"             in ~/.zshrc
    fish   glmd completion fish | source             in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, "glmd", "_GLMD_COMPLETE").source())
    return 0
