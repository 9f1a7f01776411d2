"""Commands that installed packages add to `glmd`."""

from __future__ import annotations

import click

from glmd.frontends.cli.terminal import note


def plugin_commands() -> click.Group:
    """What all packages with plugins have added. Imports them, so it is asked only for a command
    that glmd itself does not have; a package that fails is told of and adds nothing."""
    from glmd.discovery import discover
    from glmd.loading import load

    group = click.Group()
    for source in discover():
        if source.origin != "package" or source.problem:
            continue
        try:
            load(source).manager.hook.glmd_register_commands(group=group)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            note(f"The plugin {source.name} adds no commands: {type(error).__name__}: {error}.")
    return group
