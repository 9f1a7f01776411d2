"""What is to become of a conversation that does not fit the context: `ask` and `chat` share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

import click

from glmd.errors import ContextOverflow

F = TypeVar("F", bound=Callable[..., Any])

Overflow = Literal["error", "drop_oldest"]


def overflow_option(default: Overflow) -> Callable[[F], F]:
    """`--overflow`, given to the command as `overflow`."""
    return click.option(
        "--overflow",
        type=click.Choice(["error", "drop_oldest"]),
        metavar="error|drop_oldest",
        default=default,
        show_default=True,
        help="What to do when the conversation does not fit the context.",
    )


@contextmanager
def advised(overflow: Overflow) -> Iterator[None]:
    """The daemon's advice speaks of its protocol; here it names the option."""
    try:
        yield
    except ContextOverflow as error:
        if overflow == "drop_oldest":
            raise
        raise ContextOverflow(
            error.message,
            hint="Shorten it, or have the oldest turns left out with --overflow drop_oldest.",
        ) from error
