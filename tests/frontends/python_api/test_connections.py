"""Connections, sync and async: where they lead, how long one waits, what happens when they end."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.faces import Faces
from support.scripted_daemon import LIMITS, Script, ScriptedDaemon, accepted, done, text, welcome

from glmd.errors import (
    ConnectionFailed,
    DaemonNotRunning,
    DaemonTimeout,
    GlmdError,
    InvalidRequest,
    Refused,
)
from glmd.frontends.python_api import Client, Timeouts
from glmd.wire.replies import Failure, Limits, Progress
from glmd.wire.requests import AnyRequest, Cancel, Chat, Hello, SessionList

SHORT = 0.2  # seconds


def answer(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    if isinstance(request, Chat):
        daemon.say(accepted(request), text(request, 0, "yes"), done(request, 1))


def silent(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    """Takes everything, says nothing."""


def begin(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    if isinstance(request, Chat):
        daemon.say(accepted(request), text(request, 0, "yes"))


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLMD_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.mark.usefixtures("nowhere")
def test_no_daemon(connect: Faces) -> None:
    with pytest.raises(DaemonNotRunning, match=r"default is running\. Start it with `glmd start`"):
        connect().chat("hello")
    with pytest.raises(DaemonNotRunning, match="glmd start --name work"):
        connect("work").status()


def test_nobody_at_the_endpoint(tmp_path: Path, connect: Faces) -> None:
    with pytest.raises(DaemonNotRunning, match="No daemon listens at ipc://"):
        connect(endpoint=f"ipc://{tmp_path}/none.sock").status()
    with pytest.raises(DaemonNotRunning, match="Start one with `glmd start --name work`"):
        connect("work", endpoint=f"ipc://{tmp_path}/none.sock").status()


@pytest.mark.parametrize("endpoint", ["nonsense", "http://127.0.0.1", "ipc://" + "x" * 200])
def test_an_endpoint_that_is_none(connect: Faces, endpoint: str) -> None:
    with pytest.raises(ConnectionFailed, match="is not an endpoint"):
        connect(endpoint=endpoint).status()


def test_hello_says_who(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer) as daemon:
        client = connect(endpoint=daemon.endpoint, principal="alice")
        client.chat("hello")
        client.acting_for("bob").chat("hello")
        assert [hello.principal for hello in daemon.heard(Hello)] == ["alice"]
        assert [request.principal for request in daemon.heard(Chat, 2)] == [None, "bob"]


def test_closing_a_view_closes_nothing(tmp_path: Path) -> None:
    with ScriptedDaemon(tmp_path, answer) as daemon, Client(endpoint=daemon.endpoint) as client:
        with client.acting_for("bob") as view:
            assert view.chat("hello").text == "yes"
        assert view.chat("hello").text == "yes"


@pytest.mark.parametrize(
    ("script", "greets", "timeouts", "complaint"),
    [
        (silent, False, Timeouts(connect=SHORT), "Nobody answered at .* within 0.2 s"),
        (silent, True, Timeouts(connect=SHORT, accept=0.0), "did not reply for 0.2 s"),
        (begin, True, Timeouts(silence=SHORT), "sent nothing more for 0.2 s"),
        (begin, True, Timeouts(total=SHORT), "did not end within 0.2 s"),
    ],
    ids=["connect", "accept", "silence", "total"],
)
def test_time_outs(
    tmp_path: Path,
    connect: Faces,
    script: Script,
    greets: bool,
    timeouts: Timeouts,
    complaint: str,
) -> None:
    with ScriptedDaemon(tmp_path, script, greets=greets) as daemon:
        client = connect(endpoint=daemon.endpoint, timeouts=timeouts)
        with pytest.raises(DaemonTimeout, match=complaint):
            client.chat("hello")
        if greets:  # the daemon is told that nobody waits any more
            (request,) = daemon.heard(Chat)
            assert daemon.heard(Cancel)[0].target == request.id


@pytest.mark.parametrize(
    ("script", "greets", "timeouts"),
    [
        (silent, False, Timeouts(connect=SHORT)),
        (silent, True, Timeouts(connect=SHORT, accept=0.0)),
        (begin, True, Timeouts(silence=SHORT)),
    ],
    ids=["connect", "accept", "silence"],
)
def test_the_commands_that_help_are_for_that_daemon(
    tmp_path: Path, connect: Faces, script: Script, greets: bool, timeouts: Timeouts
) -> None:
    help = "`glmd status --name work` and `glmd logs --name work` say what it is doing"
    with ScriptedDaemon(tmp_path, script, greets=greets) as daemon:
        client = connect("work", endpoint=daemon.endpoint, timeouts=timeouts)
        with pytest.raises(DaemonTimeout, match=help):
            client.chat("hello")


def test_a_call_may_have_its_own_limit(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, begin) as daemon:
        client = connect(endpoint=daemon.endpoint)
        with pytest.raises(DaemonTimeout, match=r"within 0\.2 s"):
            client.chat("hello", timeout=SHORT)


def test_progress_keeps_a_slow_answer_alive(tmp_path: Path, connect: Faces) -> None:
    """Longer than the silence allowed, but never silent that long."""
    ended = threading.Event()

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request))
        for step in range(12):
            ended.wait(SHORT / 2)
            daemon.say(Progress(id=request.id, phase="prefill", done=step, total=12))
        daemon.say(done(request, 0))

    with ScriptedDaemon(tmp_path, script) as daemon:
        client = connect(endpoint=daemon.endpoint, timeouts=Timeouts(silence=5 * SHORT))
        assert client.chat("hello").finish_reason == "stop"


def test_a_daemon_that_ends_mid_answer(tmp_path: Path, connect: Faces) -> None:
    daemon = ScriptedDaemon(tmp_path, begin)
    stream = connect(endpoint=daemon.endpoint).stream("hello")
    deltas = iter(stream)
    assert next(deltas).text == "yes"
    daemon.stop()
    with pytest.raises(ConnectionFailed, match="connection to the daemon was lost"):
        next(deltas)


def test_the_last_words_of_a_daemon_are_heard(tmp_path: Path, connect: Faces) -> None:
    """It answers and ends in the same moment."""

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        answer(daemon, request)
        daemon.leave()

    for _ in range(20):
        with ScriptedDaemon(tmp_path, script) as daemon:
            assert connect(endpoint=daemon.endpoint).chat("hello").text == "yes"


def test_a_restarted_daemon_is_found_again(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer) as daemon:
        client = connect(endpoint=daemon.endpoint)
        assert client.chat("hello").text == "yes"
    with pytest.raises(ConnectionFailed):
        client.chat("hello")
    with ScriptedDaemon(tmp_path, answer) as daemon:
        assert client.chat("hello").text == "yes"
        assert len(daemon.heard(Hello)) == 1


def test_another_protocol_is_refused(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Hello):
            daemon.say(welcome(request, protocol=99))

    with (
        ScriptedDaemon(tmp_path, script, greets=False) as daemon,
        pytest.raises(Refused, match="protocol 99"),
    ):
        connect(endpoint=daemon.endpoint).status()


def test_a_refused_hello(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Hello):
            daemon.say(Failure(id=request.id, code="protocol_mismatch", message="Too old."))

    with (
        ScriptedDaemon(tmp_path, script, greets=False) as daemon,
        pytest.raises(Refused, match="Too old"),
    ):
        connect(endpoint=daemon.endpoint).chat("hello")


def test_a_daemon_that_forgot_the_hello(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(Failure(id="", code="hello_first", message="Who are you?"))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        pytest.raises(ConnectionFailed, match="restarted"),
    ):
        connect(endpoint=daemon.endpoint).chat("hello")


def test_what_is_not_understood_is_skipped(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(b"", b"\xff\x00garbage", b"\x82\xa2op\xa5moon!\xa2id\xa1x")
        daemon.say(accepted(Chat(id="unknown", messages=[])))
        answer(daemon, request)

    with ScriptedDaemon(tmp_path, script) as daemon:
        assert connect(endpoint=daemon.endpoint).chat("hello").text == "yes"


def test_an_answer_of_the_wrong_kind(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(
            accepted(request) if isinstance(request, SessionList) else welcome_again(request)
        )

    def welcome_again(request: AnyRequest) -> Failure:
        return Failure(id=request.id, code="internal", message="Not this.")

    with ScriptedDaemon(tmp_path, script) as daemon:
        client = connect(endpoint=daemon.endpoint)
        with pytest.raises(ConnectionFailed, match="'accepted', which does not answer"):
            client.sessions.list()
        with pytest.raises(GlmdError, match="Not this"):
            client.status()


def test_a_request_beyond_the_daemons_limit_is_not_sent(tmp_path: Path, connect: Faces) -> None:
    small = Limits(
        max_message=400, max_queue=1, credit_timeout=LIMITS.credit_timeout, detached_ttl=1.0
    )

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Hello):
            daemon.say(welcome(request, limits=small))
        answer(daemon, request)

    with ScriptedDaemon(tmp_path, script, greets=False) as daemon:
        client = connect(endpoint=daemon.endpoint)
        with pytest.raises(InvalidRequest, match="bytes, and the daemon takes 400"):
            client.chat("x" * 1000)
        assert client.chat("x").text == "yes"
        assert len(daemon.heard(Chat)) == 1


def test_a_closed_client(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, begin) as daemon:
        client = connect(endpoint=daemon.endpoint)
        stream = client.stream("hello")
        daemon.heard(Chat)
        client.close()
        client.close()
        with pytest.raises(ConnectionFailed, match="closed"):
            stream.result()
        with pytest.raises(ConnectionFailed, match="closed"):
            client.chat("hello")


def test_a_cancel_is_told_before_the_client_closes(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, begin) as daemon:
        for count in range(1, 11):
            client = connect(endpoint=daemon.endpoint)
            with client.stream("hello", detached=True) as stream:
                daemon.heard(Chat, count)
            client.close()
            assert daemon.heard(Cancel, count)[-1].target == stream.id


def test_threads_share_a_client(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            said = request.messages[0].content
            daemon.say(accepted(request), text(request, 0, said), done(request, 1))

    wrong: list[str] = []

    def ask(client: Client, number: int) -> None:
        for turn in range(20):
            said = f"{number}.{turn}"
            if client.chat(said).text != said:
                wrong.append(said)

    with ScriptedDaemon(tmp_path, script) as daemon, Client(endpoint=daemon.endpoint) as client:
        threads = [threading.Thread(target=ask, args=(client, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert len(daemon.heard(Hello)) == 1
        assert len(daemon.heard(Chat)) == 160


PROGRAMS = {
    "closed": "client.chat('hello'); client.close()",
    "left open": "client.chat('hello')",
    "left open in a stream": "stream = client.stream('hello'); next(iter(stream))",
    "dropped": "client.chat('hello'); del client",
    "asked wrongly": """
try:
    client.stream('hello', timeout='soon')
except TypeError:
    pass
""",
    "forked": """
client.chat('hello')
child = os.fork()
if child == 0:
    try:
        client.chat('hello')
    except glmd.errors.ConnectionFailed as error:
        client.close()
        assert 'fork' in str(error)
        os._exit(0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
client.chat('hello')
""",
    "forked while another thread sends": """
import signal, threading
holds, forked = threading.Event(), threading.Event()
def send():
    with client._link._lock:
        holds.set()
        forked.wait()
sender = threading.Thread(target=send)
sender.start()
holds.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    client.close()
    os._exit(0)
forked.set()
sender.join()
assert os.waitpid(child, 0)[1] == 0
""",
}


@pytest.mark.parametrize("body", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_end_without_a_word(tmp_path: Path, body: str) -> None:
    """No warning, no traceback, no hanging thread, however a program leaves its client."""
    # Python 3.12 warns of any fork beside a thread, and that is what is tried here.
    warnings = ("-W", "error", "-W", "ignore:This process:DeprecationWarning")
    prologue = "import os, sys, glmd, glmd.errors; client = glmd.Client(endpoint=sys.argv[1])\n"
    with ScriptedDaemon(tmp_path, answer) as daemon:
        child = subprocess.run(
            [sys.executable, "-I", "-X", "dev", *warnings, "-c", prologue + body, daemon.endpoint],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (child.returncode, child.stderr, child.stdout) == (0, "", "")
