"""What comes of an answer, sync and async: deltas, results, errors, credit, cancelling."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
from support.faces import Faces
from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd.chat import Message, ToolCall
from glmd.errors import Busy, ConnectionFailed, GlmdError, InvalidRequest
from glmd.frontends.python_api import TextDelta, ToolCallDelta, ToolResultDelta
from glmd.wire.replies import Call, Delta, Failure, Ok, Progress, Text, ToolResult
from glmd.wire.requests import AnyRequest, Attach, Cancel, Chat, Complete, GrantCredit


def answer_ab(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    if isinstance(request, Chat | Complete):
        daemon.say(accepted(request), text(request, 0, "你"), text(request, 1, "好"))
        daemon.say(done(request, 2))


def test_a_whole_answer(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer_ab) as daemon:
        result = connect(endpoint=daemon.endpoint).chat("hello")
    assert result.text == "你好"
    assert result.finish_reason == "stop"
    assert result.token_ids == [0, 1]
    assert result.usage.prompt_tokens == 3
    assert result.seed == 7
    assert result.message == Message(role="assistant", content="你好")
    assert result.tool_call is None


def test_deltas_come_in_order_and_the_text_grows(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer_ab) as daemon:
        stream = connect(endpoint=daemon.endpoint).stream("hello")
        seen = [(delta, stream.text) for delta in stream]
        assert seen == [
            (TextDelta(seq=0, text="你", tokens=[0]), "你"),
            (TextDelta(seq=1, text="好", tokens=[1]), "你好"),
        ]
        assert stream.result().text == "你好"
        assert stream.result() is stream.result()
        assert stream.accepted.seed == 7


def test_several_choices(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), text(request, 0, "a", 1), text(request, 1, "b", 0))
        daemon.say(text(request, 2, "c", 1), done(request, 3, choices=2))

    with ScriptedDaemon(tmp_path, script) as daemon:
        result = connect(endpoint=daemon.endpoint).chat("hello", n=2)
        assert daemon.heard(Chat)[0].n == 2
    assert [choice.text for choice in result.choices] == ["b", "ac"]
    assert result.text == "b"


def test_tool_calls_and_results(tmp_path: Path, connect: Faces) -> None:
    call = ToolCall("weather", {"city": "北京"})

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        own = Delta(id=request.id, seq=0, content=ToolResult("time", "noon"))
        asked = Delta(id=request.id, seq=1, content=Call(call, tokens=[4, 5]))
        daemon.say(accepted(request), own, asked, done(request, 2, "tool_call"))

    with ScriptedDaemon(tmp_path, script) as daemon:
        stream = connect(endpoint=daemon.endpoint).stream("hello", tools=[{"name": "weather"}])
        first, second = stream
        result = stream.result()
    assert isinstance(first, ToolResultDelta)
    assert first.result == ToolResult("time", "noon")
    assert isinstance(second, ToolCallDelta)
    assert second.call == call
    assert result.tool_call == call
    assert result.message == Message(role="assistant", content="", tool_call=call)
    assert result.token_ids == [4, 5]


def test_progress_is_told_to_who_waits(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), Progress(id=request.id, phase="prefill", done=1, total=3))
        daemon.say(done(request, 0))

    told: list[Progress] = []
    with ScriptedDaemon(tmp_path, script) as daemon:
        connect(endpoint=daemon.endpoint).chat("hello", on_progress=told.append)
    assert [(p.phase, p.done, p.total) for p in told] == [("prefill", 1, 3)]


def test_prompt_logprobs_and_ids_of_a_completion(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer_ab) as daemon:
        client = connect(endpoint=daemon.endpoint)
        result = client.complete([1, 2, 3], logprobs=5, ignore_eos=True, prompt_logprobs=True)
        (request,) = daemon.heard(Complete)
    assert request.prompt == [1, 2, 3]
    assert (request.logprobs, request.ignore_eos, request.prompt_logprobs) == (5, True, True)
    assert result.text == "你好"


def test_an_error_is_typed_and_stays(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(Failure(id=request.id, code="busy", message="Full.", retry_after_ms=250))

    with ScriptedDaemon(tmp_path, script) as daemon:
        stream = connect(endpoint=daemon.endpoint).stream("hello")
        for _ in range(2):
            with pytest.raises(Busy, match="Full") as caught:
                stream.result()
        assert caught.value.retry_after_ms == 250


def test_an_error_of_a_newer_daemon(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(Failure(id=request.id, code="moon_phase", message="Not tonight.", hint="Wait."))

    with (
        ScriptedDaemon(tmp_path, script) as daemon,
        pytest.raises(GlmdError, match=r"Not tonight\. Wait\."),
    ):
        connect(endpoint=daemon.endpoint).chat("hello")


@pytest.mark.parametrize("gap", ["delta", "done"])
def test_a_missing_delta_is_noticed_and_the_request_cancelled(
    tmp_path: Path, connect: Faces, gap: str
) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            daemon.say(accepted(request), text(request, 0, "a"))
            daemon.say(text(request, 2, "c") if gap == "delta" else done(request, 2))

    with ScriptedDaemon(tmp_path, script) as daemon:
        client = connect(endpoint=daemon.endpoint)
        with pytest.raises(ConnectionFailed, match="missing: number 1 should come next, 2 came"):
            client.chat("hello")
        if gap == "delta":  # otherwise it has ended
            (request,) = daemon.heard(Chat)
            assert daemon.heard(Cancel)[0].target == request.id


def endless(daemon: ScriptedDaemon, request: AnyRequest) -> None:
    """Some text, then nothing until it is cancelled."""
    if isinstance(request, Chat):
        daemon.say(accepted(request), text(request, 0, "a"), text(request, 1, "b"))
    elif isinstance(request, Cancel):
        (asked,) = daemon.heard(Chat)
        daemon.say(Ok(id=request.id), done(asked, 2, "cancelled"))


def test_leaving_the_loop_cancels(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, endless) as daemon:
        stream = connect(endpoint=daemon.endpoint).stream("hello")
        for _ in stream:
            break
        assert daemon.heard(Cancel)[0].target == stream.id
        result = stream.result()
        assert result.finish_reason == "cancelled"
        assert result.text == "ab"


def test_leaving_the_block_cancels(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, endless) as daemon:
        with connect(endpoint=daemon.endpoint).stream("hello") as stream:
            assert next(iter(stream)).text == "a"
        assert daemon.heard(Cancel)[0].target == stream.id


def test_cancel_ends_the_iteration_and_is_told_once(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, endless) as daemon:
        stream = connect(endpoint=daemon.endpoint).stream("hello")
        for _ in stream:
            stream.cancel()
            stream.cancel()
        assert stream.result().finish_reason == "cancelled"
        stream.cancel()
        assert len(daemon.heard(Cancel)) == 1


def test_a_stream_nobody_holds_is_cancelled(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, endless) as daemon:
        client = connect(endpoint=daemon.endpoint)
        client.stream("hello")
        gc.collect()
        daemon.heard(Cancel)


def test_credit_follows_the_reader(tmp_path: Path, connect: Faces) -> None:
    """A script that keeps to the credit: the reader's grants alone keep it going."""
    total = 1000
    state: dict[str, Any] = {"sent": 0, "credit": 0, "highest": 0}

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat):
            state.update(request=request, credit=request.credit)
            daemon.say(accepted(request))
        elif isinstance(request, GrantCredit):
            state["credit"] += request.n
            state["highest"] = max(state["highest"], state["credit"])
        while state["credit"] and state["sent"] < total:
            daemon.say(text(state["request"], state["sent"], "x"))
            state["sent"] += 1
            state["credit"] -= 1
            if state["sent"] == total:
                daemon.say(done(state["request"], total))

    with ScriptedDaemon(tmp_path, script) as daemon:
        result = connect(endpoint=daemon.endpoint).chat("hello")
        (request,) = daemon.heard(Chat)
    assert result.text == "x" * total
    assert state["highest"] <= request.credit


def test_an_unread_stream_grants_nothing(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Chat) and request.messages[0].content == "slow":
            daemon.say(accepted(request))
            daemon.say(*(text(request, seq, "x") for seq in range(request.credit)))
        else:
            answer_ab(daemon, request)

    with ScriptedDaemon(tmp_path, script) as daemon:
        client = connect(endpoint=daemon.endpoint)
        stream = client.stream("slow")
        client.chat("another, whose end shows that everything before it has come")
        assert not [r for r in daemon.received if isinstance(r, GrantCredit)]
        assert next(iter(stream)).text == "x"


def test_taking_up_a_detached_answer(tmp_path: Path, connect: Faces) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        if isinstance(request, Attach):
            daemon.say(accepted(request), text(request, 5, "end"), done(request, 6))

    with ScriptedDaemon(tmp_path, script) as daemon:
        stream = connect(endpoint=daemon.endpoint).attach("abc", from_seq=5)
        assert stream.result().text == "end"
        assert stream.id == "abc"
        assert daemon.heard(Attach)[0].from_seq == 5


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"temperature": -1.0}, r"field sampling\.temperature: expected float >= 0"),
        ({"n": 0}, r"field n: expected int >= 1"),
        ({"stop": ["a", ""]}, r"field stop\[1\]"),
        ({"stop": 5}, r"field stop: expected array, got int"),
        ({"overflow": "wipe"}, r"field overflow: 'wipe' is none of 'drop_oldest', 'error'\."),
        ({"preset": "beam"}, r"sampling\.preset: 'beam' is none of 'greedy', 'penalty_sample'\."),
        ({"logit_bias": {"x": 1}}, r"keys of sampling\.logit_bias: expected int"),
    ],
)
def test_values_that_cannot_be(connect: Faces, options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        connect().chat("hello", **options)


def test_options_that_do_not_exist(connect: Faces) -> None:
    client = connect()
    with pytest.raises(TypeError, match=r"^chat has no option 'temprature': .* 'temperature'\?$"):
        client.chat("hello", temprature=1.0)
    with pytest.raises(TypeError, match=r"^stream has .*'max_new_tokens': .* 'max_tokens'\?$"):
        client.stream("hello", max_new_tokens=1)
    with pytest.raises(TypeError, match=r"^complete has no option 'tools'\.$"):
        client.complete("hello", tools=[])
    with pytest.raises(TypeError, match=r"^stream_complete has no option 'zzz'\.$"):
        client.stream_complete("hello", zzz=1)
    with pytest.raises(TypeError, match="either"):
        connect().tokenize()


@pytest.mark.parametrize("wrong", [None, 5])
def test_what_is_no_conversation_and_no_prompt(connect: Faces, wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^messages are a text, .*, not (None|int)\.$"):
        connect().chat(wrong)
    with pytest.raises(InvalidRequest, match=r"^A prompt is a text or token ids, not "):
        connect().complete(wrong)


def test_the_ids_of_a_bias_may_be_texts_as_json_has_them(tmp_path: Path, connect: Faces) -> None:
    with ScriptedDaemon(tmp_path, answer_ab) as daemon:
        connect(endpoint=daemon.endpoint).chat("hello", logit_bias={"5": 1})
        assert daemon.heard(Chat)[0].sampling.logit_bias == {5: 1.0}


def test_messages_may_be_written_in_several_ways(tmp_path: Path, connect: Faces) -> None:
    turn = Message(role="user", content="hello")
    with ScriptedDaemon(tmp_path, answer_ab) as daemon:
        client = connect(endpoint=daemon.endpoint)
        for written in ("hello", turn, [turn], [{"role": "user", "content": "hello"}]):
            client.chat(written, stop="###")
        assert all(request.messages == [turn] for request in daemon.heard(Chat, 4))
        assert all(request.stop == ["###"] for request in daemon.heard(Chat, 4))
    with pytest.raises(InvalidRequest, match=r"messages\[1\]\.role: 'robot' is none of '"):
        client.chat([turn, {"role": "robot", "content": ""}])


def test_text_of_an_answer_with_logprobs(tmp_path: Path, connect: Faces) -> None:
    from glmd.wire.replies import TokenLogprob

    token = TokenLogprob(token=9, text="a", logprob=-0.5, top=[(9, "a", -0.5), (8, "b", -1.0)])

    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        content = Text(text="a", tokens=[9], logprobs=[token])
        daemon.say(accepted(request), Delta(id=request.id, seq=0, content=content))
        daemon.say(done(request, 1))

    with ScriptedDaemon(tmp_path, script) as daemon:
        assert connect(endpoint=daemon.endpoint).chat("hello", logprobs=2).logprobs == [token]
