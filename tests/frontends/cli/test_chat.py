"""`glmd chat`, piped and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from support.cli import ALT_ENTER, CTRL_C, CTRL_D, ENTER, PROMPT, Terminal, call
from support.daemons import Homes
from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd import control
from glmd.chat import Message
from glmd.errors import ConnectionFailed
from glmd.facts import DaemonFacts
from glmd.frontends.cli.chat.conversation import Conversation
from glmd.frontends.cli.chat.loop import talk
from glmd.frontends.python_api import Client
from glmd.wire.replies import Accepted, Failure, Session, SessionInfo, StatusReply, StoredMessage
from glmd.wire.requests import AnyRequest, Cancel, Chat, SessionNew, Status

GREEDY = ("--generation-mode", "greedy")
SPEED = r"first token \d+\.\d\d s · \d+\.\d tokens/s"


@pytest.fixture
def client(shared_daemon: DaemonFacts) -> Iterator[Client]:
    """Looks at what the command left behind."""
    with Client() as client:
        yield client


def newest(client: Client) -> list[StoredMessage]:
    """The tree of the newest session."""
    return client.sessions.get(client.sessions.list(limit=1)[0].session).tree


def test_piped_lines_are_turns_of_one_conversation(client: Client) -> None:
    told = call("chat", *GREEDY, stdin="你好\n\nWhat is\\\nglmd?\n")
    assert (told.returncode, told.stderr) == (0, "")
    turns = [stored.content for stored in newest(client)]
    assert [turn.role for turn in turns] == ["user", "assistant"] * 2
    assert turns[2].content == "What is\nglmd?"
    assert told.stdout == f"{turns[1].content}\n{turns[3].content}\n"


@pytest.mark.parametrize("word", ["exit", "quit", "q", "/exit", "/quit"])
def test_words_that_leave(shared_daemon: DaemonFacts, word: str) -> None:
    told = call("chat", stdin=f"{word}\n你好\n")
    assert (told.returncode, told.stdout) == (0, "")


def test_words_that_begin_anew(client: Client) -> None:
    before = len(client.sessions.list(limit=500))
    words = ("clear", "new", "/new", "/clear")
    call("chat", "--max-new-tokens", "1", stdin="你好\n" + "".join(f"{w}\n你好\n" for w in words))
    assert len(client.sessions.list(limit=500)) == before + 5


def test_a_piped_conversation_goes_on_behind_what_is_refused(client: Client) -> None:
    long = "word " * 4000
    told = call("chat", *GREEDY, "--overflow", "error", stdin=f"{long}\n你好\n")
    assert told.returncode == 1
    assert told.stdout == client.chat("你好", preset="greedy").text + "\n"
    assert "--overflow drop_oldest" in told.stderr


def test_a_piped_conversation_ends_with_its_daemon(homes: Homes) -> None:
    homes.start()

    def lines() -> Iterator[str]:
        yield "/show"
        control.stop_daemon("default")
        yield "你好"
        pytest.fail("it went on")

    with Client() as client, pytest.raises(ConnectionFailed):
        talk(Conversation(client, {}, system=None, overflow="error"), lines(), patient=False)


def test_settings_change_and_are_shown(shared_daemon: DaemonFacts) -> None:
    said = [
        "/set temperature 0.3",
        "/set top_p 0.5",
        "/set temperature hot",
        "/set colour red",
        "/set stop the end",
        "/set logit-bias 5:-1 6:1",
        "/set sampler nosuch",
        "/show",
        "/set temperature",
        "/show",
        "/dance",
        "/help",
    ]
    told = call("chat", stdin="\n".join(said))
    assert (told.returncode, told.stdout) == (0, "")
    lines = told.stderr.splitlines()
    assert lines[0] == "temperature = 0.3"
    assert lines[1] == "top-p = 0.5"
    assert "'hot' is not a valid float" in lines[2]
    assert lines[3].startswith("There is no setting 'colour'. There are: generation-mode, ")
    assert lines[4] == "stop = ['the end']"
    assert lines[5] == "logit-bias = {5: -1.0, 6: 1.0}"
    assert lines[6].startswith("sampler: there is no sampler 'nosuch'. There are: logit_bias, ")
    assert not any(line.startswith("sampler ") for line in lines)
    assert [line for line in lines if line.startswith("temperature ")] == [
        "temperature = 0.3",
        "temperature  0.3",
        "temperature is the daemon's default again.",
    ]
    assert any(line.startswith("There is no command /dance") for line in lines)
    assert any(line.startswith("/retry ") for line in lines)


def test_instructions_come_first(client: Client) -> None:
    call("chat", "--system", "Be brief.", stdin="你好\n/system Be long.\n你好\n你好\n")
    turns = [stored.content for stored in newest(client)]
    assert [turn.role for turn in turns] == ["system", *["user", "assistant"] * 2]
    assert turns[0].content == "Be long."
    older = client.sessions.list(limit=2)[1].session
    assert client.sessions.get(older).tree[0].content == Message("system", "Be brief.")


def test_retry_is_another_branch(client: Client) -> None:
    told = call("chat", "--max-new-tokens", "8", stdin="/retry\n你好\n/retry\nWhat?\n")
    assert "Nothing has been asked yet." in told.stderr
    question, first, second, next_question = newest(client)[:4]
    assert first.parent == second.parent == question.message
    assert next_question.parent == second.message


def test_going_on_in_a_session(client: Client) -> None:
    session = client.sessions.new().session
    client.chat("你好", session=session)
    call("chat", *GREEDY, "--session", session, stdin="/retry\n你好\n")
    told = call("chat", stdin=f"/sessions\n/open {session}\n/open\n/open nothing\n")
    assert told.returncode == 1
    assert f"  {session}  你好" in told.stderr
    assert "Going on in: 你好" in told.stderr
    assert "Which one?" in told.stderr
    assert len(client.sessions.get(session).tree) == 5


def test_on_a_terminal(client: Client) -> None:
    answer = client.chat("你好", preset="greedy").text
    with Terminal("chat", *GREEDY) as terminal:
        terminal.expect("glm3-nano")
        terminal.expect(PROMPT)
        terminal.type("你好" + ENTER)
        assert answer in terminal.expect(SPEED).replace("\r\n", "\n")
        terminal.expect(PROMPT)
        terminal.type("two" + ALT_ENTER + "lines" + ENTER)
        terminal.expect(SPEED)
        terminal.expect(PROMPT)
        terminal.type("/set repeat-penalty 1.3" + ENTER)
        terminal.expect("repeat-penalty = 1.3")
        terminal.expect(PROMPT)
        terminal.type("forget this" + CTRL_C)
        terminal.expect(PROMPT)
        terminal.type("/show" + ENTER)
        terminal.expect("session ")
        terminal.expect(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.end() == 0
    said = [stored.content.content for stored in newest(client)]
    assert said[0::2] == ["你好", "two\nlines"]


def test_ctrl_c_stops_the_turn_and_keeps_what_came(client: Client) -> None:
    # An answer that cannot stop by itself: [gMASK] sop <|user|> …, and <|observation|> is two on.
    user = client.tokenize(messages="x").tokens[2]
    bias = [word for token in (2, user, user + 2) for word in ("--logit-bias", f"{token}:-1000")]
    with Terminal("chat", *GREEDY, *bias) as terminal:
        terminal.expect(PROMPT)
        terminal.type("你好" + ENTER)
        terminal.expect(r"\?2004l[^\x1b]{3}")  # the answer has begun
        terminal.type(CTRL_C)
        terminal.expect("stopped")
        terminal.expect(SPEED)
        terminal.expect(PROMPT)
        terminal.type("/set max-new-tokens 3" + ENTER)
        terminal.expect(PROMPT)
        terminal.type("and?" + ENTER)
        terminal.expect(SPEED)
        terminal.expect(PROMPT)
        terminal.type("q" + ENTER)
        assert terminal.end() == 0
    _, partial, following, last = newest(client)
    assert partial.finish_reason == "cancelled"
    assert partial.content.content
    assert following.parent == partial.message
    assert last.finish_reason == "length"


def test_an_error_does_not_end_a_conversation_on_a_terminal(shared_daemon: DaemonFacts) -> None:
    with Terminal("chat", *GREEDY, "--temperature", "0.3") as terminal:
        terminal.expect(PROMPT)
        terminal.type("你好" + ENTER)
        terminal.expect("no effect")  # of a temperature on the preset
        terminal.expect(PROMPT)
        terminal.type("/set temperature" + ENTER)
        terminal.expect(PROMPT)
        terminal.type("你好" + ENTER)
        terminal.expect(SPEED)
        terminal.expect(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_ctrl_d_during_an_answer_leaves_behind_it(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request), text(request, 0, "and so on"))
        elif isinstance(request, Cancel):
            daemon.say(done(daemon.heard(Chat)[0], 1, "cancelled"))
        else:
            talkative(daemon, request)

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        Terminal("chat", "--endpoint", daemon.endpoint) as terminal,
    ):
        terminal.expect(PROMPT)
        terminal.type("hi" + ENTER)
        terminal.expect("and so on")
        terminal.type(CTRL_D + CTRL_C)
        terminal.expect("stopped")
        assert terminal.end() == 0


def test_a_session_that_is_opened_shows_where_it_stands(client: Client) -> None:
    session = client.sessions.new("Cards").session
    client.chat("first", session=session, max_tokens=2)
    answer = client.chat("second", session=session, max_tokens=2).text
    last = f"Going on in: Cards\n> second\n{answer}\n"
    assert call("chat", stdin=f"/open {session}\n").stderr == last
    with Terminal("chat", "--session", session) as terminal:
        terminal.expect("Cards")
        terminal.expect("> second")
        terminal.expect(PROMPT)
        terminal.type(CTRL_D)
        assert terminal.end() == 0


def test_settings_that_contradict_each_other_are_refused(shared_daemon: DaemonFacts) -> None:
    said = [
        "/set generation-mode greedy",
        "/set temperature 1",
        "/set repeat-penalty 1.1",
        "/set generation-mode",
        "/set temperature 1",
        "/set generation-mode greedy",
        "/set",
    ]
    told = call("chat", stdin="\n".join(said))
    lines = told.stderr.splitlines()
    assert lines[0] == "generation-mode = greedy"
    assert lines[1].startswith("temperature would have no effect with generation-mode greedy. ")
    assert "repeat-penalty" in lines[1]
    assert lines[2:5] == [
        "repeat-penalty = 1.1",
        "generation-mode is the daemon's default again.",
        "temperature = 1.0",
    ]
    assert lines[5].startswith("temperature would have no effect with generation-mode greedy. ")
    assert lines[6].startswith("model ")
    assert "temperature  1.0" in lines
    assert not any(line.startswith("generation-mode ") for line in lines[6:])


STATUS = StatusReply(
    id="",
    server="0",
    name="scripted",
    pid=1,
    boot_id="b",
    uptime=1.0,
    endpoints=[],
    state="ready",
    backend="cpu",
    simulated=False,
    model="m",
    model_path="/m",
    mode="f16",
    context=8,
    placement="",
    replicas=[],
    queued=0,
    running=0,
    clients=1,
    clients_served=0,
    requests_served=0,
    model_loads=1,
)


def talkative(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    if isinstance(request, Status):
        daemon.say(msgspec.structs.replace(STATUS, id=request.id))
    elif isinstance(request, SessionNew):
        daemon.say(Session(id=request.id, info=SessionInfo("s", "", 0.0, 0.0, 0)))
    elif isinstance(request, Chat):
        daemon.say(accepted(request), text(request, 0, "so"), done(request, 1))


def test_settings_are_used(tmp_path: Path) -> None:
    said = "one\n/set temperature 0.5\n/set stop END\ntwo\n/set temperature\nthree\n"
    with ScriptedDaemon(tmp_path, talkative) as daemon:
        call("chat", "--endpoint", daemon.endpoint, "--top-k", "9", stdin=said)
        requests = daemon.heard(Chat, 3)
    assert [request.sampling.temperature for request in requests] == [None, 0.5, None]
    assert [request.sampling.top_k for request in requests] == [9, 9, 9]
    assert [request.stop for request in requests] == [[], ["END"], ["END"]]


@pytest.mark.parametrize("kept", ["message", None])
def test_retry_after_a_failed_answer_asks_the_same_again(tmp_path: Path, kept: str | None) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if not isinstance(request, Chat) or len(daemon.heard(Chat)) != 2:
            talkative(daemon, request)
        else:
            if kept:
                daemon.say(Accepted(id=request.id, prompt_tokens=9, seed=1, message=kept))
            daemon.say(Failure(id=request.id, code="engine_failed", message="It died."))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        Terminal("chat", "--endpoint", daemon.endpoint) as terminal,
    ):
        for line, seen in (("one", SPEED), ("two", "It died"), ("/retry", SPEED)):
            terminal.expect(PROMPT)
            terminal.type(line + ENTER)
            terminal.expect(seen)
        first, second, again = daemon.heard(Chat, 3)
    assert [turn.content for turn in first.messages] == ["one"]
    assert [turn.content for turn in second.messages] == ["two"]
    if kept:
        assert (again.messages, again.parent) == ([], kept)
    else:
        assert (again.messages, again.parent) == (second.messages, second.parent)


def test_retry_of_what_no_daemon_heard(tmp_path: Path) -> None:
    missing = f"ipc://{tmp_path / 'peer.sock'}"
    daemon = ScriptedDaemon(tmp_path, talkative)
    with Terminal("chat", "--endpoint", missing) as terminal:
        terminal.expect(PROMPT)
        daemon.stop()
        terminal.type("one" + ENTER)
        terminal.expect("glmd start|connection")
        with ScriptedDaemon(tmp_path, talkative) as back:
            terminal.expect(PROMPT)
            terminal.type("/retry" + ENTER)
            terminal.expect(SPEED)
            assert [turn.content for turn in back.heard(Chat)[0].messages] == ["one"]


def test_turns_left_out_and_limits_are_told(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(Accepted(id=request.id, prompt_tokens=9, seed=1, dropped=2, session="s"))
            daemon.say(text(request, 0, "so"), done(request, 1, "length"))
        else:
            talkative(daemon, request)

    with ScriptedDaemon(tmp_path, script) as daemon:
        told = call("chat", "--endpoint", daemon.endpoint, stdin="你好\n")
        assert daemon.heard(Chat)[0].overflow == "drop_oldest"
    assert told.stdout == "so\n"
    assert "2 oldest messages no longer fit" in told.stderr
    assert "reached its length limit" in told.stderr
