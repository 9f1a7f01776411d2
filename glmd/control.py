"""Start, find and stop daemons from outside. What `glmd start` and `glmd stop` do."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import msgspec
import psutil

from glmd import facts, lock, paths
from glmd.errors import DaemonNotRunning, GlmdError, StartFailed, from_wire
from glmd.facts import DaemonFacts
from glmd.lock import Lock
from glmd.settings import DRAIN_SECONDS, DaemonSettings

POLL = 0.05  # seconds between looks at another starter's progress
GRACE = 5.0  # seconds for an ending that should be immediate

COMMAND = (sys.executable, "-I", "-m", "glmd.daemon")  # its settings are the next word


class Start(NamedTuple):
    """`already`: the daemon was running, or another caller started it in the same moment."""

    facts: DaemonFacts
    already: bool


class Loading(msgspec.Struct, tag="loading", frozen=True):
    """First kind of line that a starting daemon writes into the pipe of its starter: bytes of
    weights read. The second kind is DaemonFacts in state ready or failed, the last line."""

    done: int
    total: int


class Settled(msgspec.Struct, tag="settled", frozen=True):
    facts: DaemonFacts


def running(name: str) -> DaemonFacts | None:
    """The daemon of this name, None where none runs. It may still be loading (`state`)."""
    found = facts.read(name)
    return found if found is not None and found.alive else None


def all_running() -> list[DaemonFacts]:
    """Every daemon of this user."""
    folder = paths.runtime_dir().parent
    names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    return [found for found in map(running, names) if found is not None]


def settings_of(name: str) -> DaemonSettings | None:
    """What the running daemon was told at its start and by reloads, None where none runs: a restart
    repeats it."""
    found = running(name)
    return None if found is None else found.said


def start_daemon(
    settings: DaemonSettings, on_progress: Callable[[int, int], None] | None = None
) -> Start:
    """Start a daemon in the background and wait until it serves.

    `on_progress(done, total)`: bytes of weights read. Raises ModelError when the model cannot be
    loaded, StartFailed for everything else that keeps a daemon from serving; nothing is left
    running then. StartFailed also when one runs already that has failed, or that was told something
    else than what `settings` say; that one stays as it is. An interrupt (Ctrl-C) while it waits
    stops the daemon again.
    """
    settings.check()
    paths.make_private(paths.runtime_dir(settings.name))
    taken = _take_lock_or_find(settings.name)
    if isinstance(taken, DaemonFacts):
        _check_same(settings)
        return Start(taken, already=True)
    _forget_failure(settings.name)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as lines:
        try:
            with taken:
                _spawn(settings, taken, writing)
        finally:
            os.close(writing)
        try:
            settled = _follow(lines, on_progress or (lambda done, total: None))
        except BaseException:
            # The daemon sees its starter's end of the pipe closed and gives up.
            lines.close()
            _await_lock(settings.name)
            raise
    settled = settled or running(settings.name)
    # A process that is killed loses its descriptors before it is gone: the end of the pipe with
    # nothing settled is its death, also when it still looks alive.
    if settled is None or settled.state not in {"ready", "failed"}:
        _await_lock(settings.name)
        raise _death(settings.name)
    if settled.state == "failed":
        _await_lock(settings.name)
        raise _failure(settled)
    return Start(settled, already=False)


def run_foreground(settings: DaemonSettings) -> NoReturn:
    """Become the daemon: this process is replaced, so a supervisor sees one pid. Raises StartFailed
    when one runs already."""
    settings.check()
    paths.make_private(paths.runtime_dir(settings.name))
    taken = Lock.take(settings.name)
    if taken is None:
        found = lock.holder(settings.name)
        raise StartFailed(
            f"The daemon {settings.name} is already running"
            + (f" (pid {found.pid})." if found else "."),
            hint=f"Stop it with `{command('stop', settings.name)}`.",
        )
    _forget_failure(settings.name)
    os.set_inheritable(taken.fd, True)
    os.execv(sys.executable, _command_line(settings, taken.fd))


def stop_daemon(name: str, *, drain: bool = True) -> None:
    """End the daemon and everything it started; returns when nothing of it is left.

    With `drain` running requests may finish (at most 30 s), without it they end at once. Raises
    DaemonNotRunning.
    """
    held = lock.holder(name)
    if held is None:
        raise DaemonNotRunning(
            f"No daemon named {name} is running.",
            hint=f"Start it with `{command('start', name)}`.",
        )
    try:
        core = os.pidfd_open(held.pid)
    except ProcessLookupError:
        return _sweep(name, [])
    try:
        family = _family(held.pid)
        if held.alive:
            _end(name, core, drain)
        return _sweep(name, family)
    finally:
        os.close(core)


def _take_lock_or_find(name: str) -> Lock | DaemonFacts:
    """The lock, or the facts of the daemon that has it; waits for one that is starting or ending.

    Raises what another caller's start raised, when that one came to grief while this one waited.
    """
    waited = False
    while (taken := Lock.take(name)) is None:
        found = running(name)
        if found is not None and found.state == "ready":
            return found
        if found is not None and found.state == "failed" and found.endpoints:
            # It served once, and still tells its clients why it does not any more.
            raise StartFailed(f"The daemon {name} has failed: {found.error}", hint=found.hint)
        waited = True
        time.sleep(POLL)
    left = facts.read(name) if waited else None
    if left is not None and left.state == "failed":
        taken.release()
        raise _failure(left)
    return taken


def _forget_failure(name: str) -> None:
    """What a failed start left for those who waited for it. Facts of a daemon that was killed stay
    until the next one has told of it in the log."""
    left = facts.read(name)
    if left is not None and left.state == "failed":
        facts.remove(name)


def _check_same(settings: DaemonSettings) -> None:
    """Raises StartFailed when the running daemon was told something else."""
    runs = settings_of(settings.name)
    if runs is None:
        return
    differences = []
    for field, wanted in msgspec.structs.asdict(_in_full(settings)).items():
        has = getattr(runs, field)
        if wanted is None or wanted == has:
            continue
        said, instead = _option(field, has), _option(field, wanted)
        if has is None:
            differences.append(f"without {instead}")
        else:
            differences.append(f"with {said} instead of {instead.split(' ', 1)[-1]}")
    if differences:
        raise StartFailed(
            f"The daemon {settings.name} runs already: {', '.join(differences)}.",
            hint=f"`{command('restart', settings.name)}` with the same options gives it these.",
        )


def _option(field: str, value: Any) -> str:
    """A setting as the command line has it."""
    if isinstance(value, bool):
        word = field.replace("_", "-")
        return f"--{word}" if value else f"--no-{word}"
    if field == "devices":
        return f"--devid {','.join(map(str, value))}"
    if field == "plugin_dirs":
        return " ".join(f"--plugin-dir {folder}" for folder in value)
    return f"--{field.replace('_', '-')} {value}"


def _in_full(settings: DaemonSettings) -> DaemonSettings:
    """The daemon leaves the current folder, so what was meant from here must be said in full."""
    folders = settings.plugin_dirs
    return msgspec.structs.replace(
        settings,
        plugin_dirs=None if folders is None else [_absolute(folder) for folder in folders],
        **{
            field: _absolute(given)
            for field in ("model", "tokenizer")
            if (given := getattr(settings, field)) is not None
        },
    )


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


def _command_line(settings: DaemonSettings, lock_fd: int) -> list[str]:
    said = msgspec.json.encode(_in_full(settings)).decode()
    return [*COMMAND, said, f"--lock-fd={lock_fd}"]


def _spawn(settings: DaemonSettings, taken: Lock, writing: int) -> None:
    output = paths.stderr_file(settings.name)
    try:
        output.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = output.open("wb")
    except OSError as error:
        raise StartFailed(
            f"{output} cannot be written: {error.strerror}.", hint="GLMD_DATA_DIR moves it."
        ) from None
    with file:
        # Ends as soon as it has forked the daemon, which therefore is nobody's zombie later.
        subprocess.run(
            [*_command_line(settings, taken.fd), f"--ready-fd={writing}"],
            pass_fds=(taken.fd, writing),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            cwd="/",
            check=False,
        )


def _follow(lines: BinaryIO, on_progress: Callable[[int, int], None]) -> DaemonFacts | None:
    decoder = msgspec.json.Decoder(Loading | Settled)
    for line in lines:
        said = decoder.decode(line)
        if isinstance(said, Settled):
            return said.facts
        on_progress(said.done, said.total)
    return None


def _failure(left: DaemonFacts) -> GlmdError:
    if left.code:
        return from_wire(left.code, left.error, hint=left.hint)
    return StartFailed(left.error, hint=left.hint)


def _death(name: str) -> StartFailed:
    """The daemon ended without a word: show the last of what it printed."""
    output = paths.stderr_file(name)
    try:
        said = output.read_text(errors="replace").strip().splitlines()
    except OSError:
        said = []
    last = f" Its last words: {said[-1][:300]}" if said else ""
    return StartFailed(f"The daemon died while starting.{last}", hint=f"See {output}.")


def _await_lock(name: str) -> None:
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline:
        taken = Lock.take(name)
        if taken is not None:
            return taken.release()
        time.sleep(POLL)


def _end(name: str, core: int, drain: bool) -> None:
    """Ask, insist, force."""
    signal.pidfd_send_signal(core, signal.SIGTERM)
    if drain and _ended(core, DRAIN_SECONDS + GRACE):
        return
    # Equal signals that are pending merge into one, so the second waits until the first was seen.
    deadline = time.monotonic() + GRACE
    while time.monotonic() < deadline and not _ended(core, POLL):
        found = facts.read(name)
        if found is not None and found.state == "stopping":
            break
    for number in (signal.SIGTERM, signal.SIGKILL):
        if _ended(core, 0.0):
            return
        signal.pidfd_send_signal(core, number)
        if _ended(core, GRACE):
            return


def _ended(pidfd: int, seconds: float) -> bool:
    """Whether the process ends within `seconds`: a pidfd is readable then, pidfd_open(2)."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _sweep(name: str, family: list[psutil.Process]) -> None:
    """Children end within two seconds of the core; what a killed core left behind goes here."""
    _, alive = psutil.wait_procs(family, timeout=GRACE)
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=GRACE)
    taken = Lock.take(name)
    if taken is not None:
        with taken:
            facts.remove(name)
            paths.socket_file(name).unlink(missing_ok=True)


def command(verb: str, name: str) -> str:
    """How a person says it: `glmd restart --name work`."""
    return f"glmd {verb}" if name == paths.DEFAULT_NAME else f"glmd {verb} --name {name}"
