"""Where the lines of a conversation come from: a person at a terminal, or a pipe."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from prompt_toolkit.key_binding import KeyPressEvent

_PROMPT = "> "
_MORE = ". "


class Lines(Protocol):
    def __iter__(self) -> Iterator[str]:
        """Each thing that is said, which may be of several lines, until there is no more."""


class PipedLines:
    """A line is a turn; one that ends with a backslash goes on in the next."""

    def __iter__(self) -> Iterator[str]:
        gathered: list[str] = []
        for raw in sys.stdin.buffer:
            line = raw.decode(errors="replace").rstrip("\r\n")
            if line.endswith("\\"):
                gathered.append(line[:-1])
                continue
            yield "\n".join([*gathered, line])
            gathered = []
        if gathered:
            yield "\n".join(gathered)


class TypedLines:
    """Enter sends; Alt-Enter, or a backslash before Enter, begins another line. Ctrl-C forgets what
    was typed, Ctrl-D on an empty line leaves."""

    def __init__(self, history: Path, words: Sequence[str]) -> None:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import WordCompleter
        from prompt_toolkit.history import FileHistory
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.output import create_output

        history.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(history, os.O_CREAT | os.O_APPEND, 0o600))
        keys = KeyBindings()
        keys.add("escape", "enter")(_insert_newline)
        self._session: PromptSession[str] = PromptSession(
            history=FileHistory(str(history)),
            completer=WordCompleter(list(words), sentence=True),
            complete_while_typing=False,
            key_bindings=keys,
            prompt_continuation=_MORE,
            output=create_output(always_prefer_tty=True),
        )

    def __iter__(self) -> Iterator[str]:
        while True:
            try:
                yield self._turn()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return

    def _turn(self) -> str:
        text = self._session.prompt(_PROMPT)
        while text.endswith("\\"):
            text = text[:-1] + "\n" + self._session.prompt(_MORE)
        return text


@contextmanager
def typed_ahead() -> Iterator[None]:
    """Keys pressed while no prompt waits are kept for the next one. The terminal's own line editing
    would swallow Ctrl-D, and show them amid the answer."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    settings = list(before)
    settings[3] = settings[3] & ~(termios.ICANON | termios.ECHO) | termios.NOFLSH
    termios.tcsetattr(terminal, termios.TCSANOW, settings)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _insert_newline(event: KeyPressEvent) -> None:
    event.current_buffer.insert_text("\n")
