"""`glmd ask` and `glmd status` against a daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from support.cli import GLMD, Terminal, beside, call, facts, run
from support.daemons import Launch
from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd.facts import DaemonFacts
from glmd.frontends.python_api import Client
from glmd.wire.replies import Ok, Progress
from glmd.wire.requests import AnyRequest, Cancel, Chat

GREEDY = ("--generation-mode", "greedy")


def test_only_the_answer_is_on_stdout(shared_daemon: DaemonFacts) -> None:
    told = run("ask", "你好", *GREEDY)
    assert (told.returncode, told.stderr) == (0, "")
    answer = facts("ask", "你好", *GREEDY)
    assert told.stdout == answer["text"] + "\n"


def test_json(shared_daemon: DaemonFacts) -> None:
    answer = facts("ask", "你好", "--seed", "3", "--temperature", "0.8", "--max-new-tokens", "5")
    assert answer["text"]
    assert answer["finish_reason"] in {"length", "stop"}
    assert answer["seed"] == 3
    assert answer["usage"]["completion_tokens"] == len(answer["token_ids"]) <= 5
    assert answer["timings"]["total_ms"] > 0
    assert answer["tool_calls"] == []


def test_stdin_is_the_prompt(shared_daemon: DaemonFacts) -> None:
    asked = facts("ask", "How do I use two cards?", *GREEDY)["text"] + "\n"
    assert call("ask", *GREEDY, stdin="How do I use two cards?\n").stdout == asked
    assert call("ask", *GREEDY, "How do I use", "-", stdin="two cards?").stdout == asked
    # With a prompt stdin is left alone: it may belong to the loop around the command.
    assert call("ask", "How do I use two cards?", *GREEDY, stdin="other").stdout == asked
    assert call("ask", stdin="\udcff\udcfe not UTF-8").returncode == 0


def test_options_may_be_spelt_as_in_the_older_demos(shared_daemon: DaemonFacts) -> None:
    new = call(
        "ask", "你好", "--generation-mode", "penalty_sample", "--top-p", "0.7", "--seed", "1"
    )
    old = call(
        "ask", "你好", "--generation_mode", "penalty_sample", "--top_p", "0.7", "--seed", "1"
    )
    assert new.returncode == old.returncode == 0
    assert new.stdout == old.stdout


def test_every_setting_reaches_the_daemon(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), text(request, 0, "yes"), done(request, 1))

    given = {
        "--max-new-tokens": 7,
        "--seed": 5,
        "--temperature": 0.5,
        "--top-k": 40,
        "--top-p": 0.9,
        "--min-p": 0.05,
        "--typical-p": 0.8,
        "--top-n-sigma": 2.0,
        "--xtc-probability": 0.1,
        "--xtc-threshold": 0.2,
        "--repeat-penalty": 1.1,
        "--repeat-last-n": 64,
        "--frequency-penalty": 0.3,
        "--presence-penalty": 0.4,
        "--dry-multiplier": 0.6,
        "--dry-base": 1.75,
        "--dry-allowed-length": 2,
        "--dry-last-n": -1,
        "--generation-mode": "penalty_sample",
    }
    words = [str(word) for pair in given.items() for word in pair]
    words += ["--stop", "a", "--stop", "b", "--logit-bias", "42:-5", "--logit-bias", "43:1.5"]
    with ScriptedDaemon(tmp_path, script) as daemon:
        told = call("ask", "hi", "--system", "Be brief.", "--endpoint", daemon.endpoint, *words)
        (request,) = daemon.heard(Chat)
    assert (told.returncode, told.stdout, told.stderr) == (0, "yes\n", "")
    sampling = request.sampling
    named = {"--generation-mode": "preset"}
    for flag, value in given.items():
        if flag != "--max-new-tokens":
            name = named.get(flag, flag[2:].replace("-", "_"))
            assert getattr(sampling, name) == value, flag
    assert request.max_tokens == 7
    assert request.stop == ["a", "b"]
    assert sampling.logit_bias == {42: -5.0, 43: 1.5}
    assert [turn.role for turn in request.messages] == ["system", "user"]


def endless(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    if isinstance(request, Chat):
        daemon.say(accepted(request), text(request, 0, "and so on"))
    elif isinstance(request, Cancel):
        daemon.say(Ok(id=request.id), done(daemon.heard(Chat)[0], 1, "cancelled"))


def test_ctrl_c_cancels(tmp_path: Path) -> None:
    with (
        ScriptedDaemon(tmp_path, endless) as daemon,
        beside("ask", "hi", "--endpoint", daemon.endpoint) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(9) == b"and so on"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stdout, stderr) == (130, b"\n", b"")
        daemon.heard(Cancel)


def test_after_ctrl_c_what_was_on_its_way_is_still_printed(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request), text(request, 0, "and so on"))
        elif isinstance(request, Cancel):
            chat = daemon.heard(Chat)[0]
            daemon.say(text(chat, 1, " and on"), done(chat, 2, "cancelled"))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        beside("ask", "hi", "--endpoint", daemon.endpoint) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(9) == b"and so on"
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
        assert (process.returncode, stdout, stderr) == (130, b" and on\n", b"")


def test_a_second_ctrl_c_waits_for_nobody(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request), text(request, 0, "and so on"))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        beside("ask", "hi", "--endpoint", daemon.endpoint) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.read(9) == b"and so on"
        process.send_signal(signal.SIGINT)
        daemon.heard(Cancel)
        # Python can miss a signal that comes while it is about to wait, so let it wait.
        stat = Path(f"/proc/{process.pid}/task/{process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            pass
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[0] == b"\n"
        assert process.returncode == 130


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request))
            daemon.say(*(text(request, seq, "line\n" * 4000) for seq in range(200)))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        beside("ask", "hi", "--endpoint", daemon.endpoint) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(5)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 1
        daemon.heard(Cancel)


def test_on_a_terminal_timings_are_told(shared_daemon: DaemonFacts) -> None:
    with Terminal("ask", "你好", *GREEDY) as terminal:
        terminal.expect(r"first token \d+\.\d\d s · \d+\.\d tokens/s")
        assert terminal.end() == 0
    with Terminal("ask", "你好", *GREEDY, NO_COLOR="1") as terminal:
        terminal.expect("first token")
        assert "\x1b[2m" not in (terminal.child.before or "")
        assert terminal.end() == 0


def test_an_answer_taken_up_again_erases_nothing(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), Progress(id=request.id, phase="prefill", done=1, total=3))
        daemon.say(text(request, 0, "half "))
        daemon.say(Progress(id=request.id, phase="replaying", done=0, total=0))
        daemon.say(text(request, 1, "and half"), done(request, 2))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        Terminal("ask", "hi", "--endpoint", daemon.endpoint) as terminal,
    ):
        terminal.expect("reading 1/3 tokens")
        terminal.expect("half and half\r\n")
        assert terminal.end() == 0


def test_a_model_cannot_control_the_terminal(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), text(request, 0, "a\x1b]0;title\x07\x9b31mb\n"))
        daemon.say(done(request, 1))

    with ScriptedDaemon(tmp_path, script) as daemon:
        words = ("ask", "hi", "--endpoint", daemon.endpoint)
        with Terminal(*words) as terminal:
            terminal.expect("a]0;title31mb\r\n")
            assert terminal.end() == 0
        assert call(*words).stdout == "a\x1b]0;title\x07\x9b31mb\n"  # a pipe gets what was said


def test_a_stdout_that_cannot_show_chinese(shared_daemon: DaemonFacts) -> None:
    told = run("ask", "你好", *GREEDY, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert told.returncode == 0


def test_two_at_once_from_one_loaded_model(launch: Launch) -> None:
    """One engine process answers both: one load, two clients served."""
    launch()
    with beside("ask", "你好") as one, beside("ask", "How do I use two cards?") as two:
        for process in (one, two):
            stdout, stderr = process.communicate(timeout=40)
            assert (process.returncode, stderr) == (0, b"")
            assert stdout.strip()
    status = facts("status")
    assert status["model_loads"] == 1
    assert status["clients_served"] == 2
    assert status["requests_served"] == 2
    assert len(status["replicas"]) == 1
    for field in ("pid", "backend", "model", "mode", "context"):
        assert status[field], field
    replica = status["replicas"][0]
    assert os.path.exists(f"/proc/{replica['pid']}")  # noqa: PTH110
    assert replica["slots"] > 0
    assert replica["devices"] == []


def test_status_for_people(shared_daemon: DaemonFacts) -> None:
    told = call("status")
    assert (told.returncode, told.stderr) == (0, "")
    assert f"default, ready, pid {shared_daemon.pid}" in told.stdout
    assert "1 replica on the CPU" in told.stdout
    assert call("ps").stdout.splitlines()[1:4] == told.stdout.splitlines()[1:4]


def test_a_question_in_a_session(shared_daemon: DaemonFacts) -> None:
    with Client() as client:
        session = client.sessions.new().session
        assert facts("ask", "What is glmd?", "--session", session)["session"] == session
        roles = [stored.content.role for stored in client.sessions.get(session).tree]
        assert roles == ["user", "assistant"]


def test_sessions(shared_daemon: DaemonFacts) -> None:
    with Client() as client:
        session = client.sessions.new().session
        client.chat("你好", session=session)
    newest = facts("sessions", "list", "--limit", "1")[0]
    assert (newest["session"], newest["title"]) == (session, "你好")
    assert call("sessions", "show", session).stdout.startswith("[user] 你好\n[assistant] ")
    assert len(facts("sessions", "show", session)["tree"]) == 2
    assert facts("sessions", "rename", session, "问候") == {"session": session, "title": "问候"}
    listed = call("sessions", "list").stdout.splitlines()
    assert listed[0].split() == ["session", "updated", "messages", "title"]
    assert any(line.startswith(session) and line.endswith("问候") for line in listed)
    unnamed = call("sessions", "rename", session, "")
    assert unnamed == (0, f"{session} has no title now.\n", "")
    assert facts("sessions", "delete", session, session) == {"deleted": [session]}
    gone = call("sessions", "show", session)
    assert (gone.returncode, gone.stdout) == (1, "")


def test_what_was_deleted_before_an_error_is_said(shared_daemon: DaemonFacts) -> None:
    with Client() as client:
        one, two = (client.sessions.new().session for _ in range(2))
    told = call("sessions", "delete", one, "nowhere", two)
    assert (told.returncode, told.stdout) == (1, f"Deleted {one}.\n")
    assert "There is no session nowhere." in told.stderr
    assert call("sessions", "show", two).returncode == 0


def test_the_shell_sentence_of_the_readme(shared_daemon: DaemonFacts) -> None:
    glmd = " ".join(GLMD)
    script = (
        f"({glmd} ask 你好 & {glmd} ask 'How do I use two cards?' & wait); {glmd} status --json"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=40)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout[done.stdout.index("{") :])["model_loads"] == 1


@pytest.mark.parametrize("overflow", ["error", "drop_oldest"])
def test_a_question_that_does_not_fit(shared_daemon: DaemonFacts, overflow: str) -> None:
    done = call("ask", "--overflow", overflow, stdin="word " * 4000)
    assert (done.returncode, done.stdout) == (1, "")
    assert "tokens" in done.stderr
    assert ("--overflow drop_oldest" in done.stderr) == (overflow == "error")
