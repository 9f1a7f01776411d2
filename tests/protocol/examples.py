"""Messages of version 1: every operation, every field, and the edges of what they may be.

    python tests/protocol/examples.py

writes the corpus anew. Files that were once released are not changed: a new field gets new files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgpack
import msgspec

from glmd.chat import Message, Tool, ToolCall
from glmd.errors import Code
from glmd.wire.codec import encode
from glmd.wire.replies import (
    Accepted,
    Call,
    Delta,
    Detokenized,
    DeviceStatus,
    Done,
    Ending,
    Event,
    Failure,
    Limits,
    Ok,
    PluginInfo,
    Plugins,
    Progress,
    ReloadStatus,
    ReplicaStatus,
    Reply,
    Session,
    SessionInfo,
    Sessions,
    StageInfo,
    StatusReply,
    StoredMessage,
    Text,
    Timings,
    TokenLogprob,
    Tokens,
    ToolResult,
    Usage,
    Welcome,
)
from glmd.wire.requests import (
    Attach,
    Cancel,
    Chat,
    Complete,
    Detokenize,
    GrantCredit,
    Hello,
    ListPlugins,
    Reload,
    ReloadPlugins,
    Request,
    SessionDelete,
    SessionGet,
    SessionList,
    SessionNew,
    SessionRename,
    Status,
    Subscribe,
    Tokenize,
)
from glmd.wire.sampling import Sampling, Stage

FOLDER = Path(__file__).parent / "v1"

USER = Message("user", "你好")
WEATHER = Tool(
    "get_weather",
    "The weather in a city.",
    {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)
CALL = ToolCall("get_weather", {"city": "北京", "days": 3, "exact": 0.5, "units": None})
LOGPROB = TokenLogprob(39701, "你好", -0.25, [(39701, "你好", -0.25), (13, "\n", -2.5)])
USAGE = Usage(prompt_tokens=7, completion_tokens=9, cached_tokens=5)
TIMINGS = Timings(0.5, 12.25, 20.0, 1000.0, 48.5)
INFO = SessionInfo("5f0c1e2d3a4b5c6d", "天气", 1700000000.5, 1700000100.0, 2)

REQUESTS: dict[str, Request] = {
    "hello": Hello(id="h", protocol=(1, 1), client="example 1.0"),
    "hello_for_somebody": Hello(id="h", protocol=(0, 9), client="web", principal="alice"),
    "chat": Chat(id="q1", messages=[USER]),
    "chat_every_field": Chat(
        id="q2",
        principal="alice",
        messages=[
            Message("system", "You are brief."),
            Message("user", "Weather in 北京?"),
            Message("assistant", "Let me look.", tool_call=CALL),
            Message("observation", '{"sky": "clear"}', metadata="get_weather"),
        ],
        tools=[WEATHER, Tool("now")],
        session="5f0c1e2d3a4b5c6d",
        parent="root",
        overflow="drop_oldest",
        sampling=Sampling(
            preset="penalty_sample",
            seed=(1 << 63) - 1,
            temperature=0.8,
            top_k=40,
            top_p=0.9,
            min_p=0.05,
            typical_p=0.95,
            top_n_sigma=1.5,
            xtc_probability=0.25,
            xtc_threshold=0.125,
            repeat_penalty=1.1,
            repeat_last_n=-1,
            frequency_penalty=0.5,
            presence_penalty=-0.5,
            dry_multiplier=0.75,
            dry_base=1.75,
            dry_allowed_length=2,
            dry_last_n=64,
            logit_bias={0: -1000.0, 64789: 2.5},
        ),
        max_tokens=100,
        stop=["\n\n", "。"],
        ignore_eos=True,
        n=2,
        logprobs=5,
        credit=0,
        detached=True,
    ),
    "chat_stages": Chat(
        id="q3",
        messages=[USER],
        sampling=Sampling(stages=[Stage("top_k", {"k": 40}), Stage("mirostat")]),
    ),
    "chat_again": Chat(id="q4", messages=[], session="5f0c1e2d3a4b5c6d", parent="0a1b"),
    "complete_text": Complete(id="c1", prompt="Once upon a time"),
    "complete_tokens": Complete(
        id="c2", prompt=[64790, 64792, 13], prompt_logprobs=True, max_tokens=0
    ),
    "complete_every_field": Complete(
        id="c3",
        prompt="一",
        prompt_logprobs=True,
        sampling=Sampling(preset="greedy"),
        max_tokens=1 << 20,
        stop=["."],
        ignore_eos=True,
        n=16,
        logprobs=20,
        credit=65536,
        detached=True,
    ),
    "cancel": Cancel(id="x", target="q1"),
    "credit": GrantCredit(id="g", target="q1", n=128),
    "attach": Attach(id="a", target="q2", from_seq=17, credit=1),
    "subscribe": Subscribe(id="s", topics=["model", "replicas", "plugins", "queue"]),
    "subscribe_end": Subscribe(id="s", topics=[]),
    "status": Status(id="i" * 64),
    "plugins": ListPlugins(id="p"),
    "plugins_reload": ReloadPlugins(id="p"),
    "plugins_reload_one": ReloadPlugins(id="p", plugin="shout"),
    "reload": Reload(id="r"),
    "reload_every_field": Reload(
        id="r", model="/models/new", mode="int4", tokenizer="/models/old/tokenizer.model"
    ),
    "tokenize_text": Tokenize(id="t1", text="<|user|> 🙂 𠮷"),
    "tokenize_messages": Tokenize(id="t2", messages=[USER], tools=[WEATHER]),
    "detokenize": Detokenize(id="d", tokens=[0, 39701, 64792]),
    "session_new": SessionNew(id="n", title="天气"),
    "session_list": SessionList(id="l", limit=500, before="5f0c1e2d3a4b5c6d"),
    "session_get": SessionGet(id="e", session="5f0c1e2d3a4b5c6d"),
    "session_rename": SessionRename(id="r", session="5f0c1e2d3a4b5c6d", title=""),
    "session_delete": SessionDelete(id="z", session="5f0c1e2d3a4b5c6d"),
}

REPLIES: dict[str, Reply] = {
    "welcome": Welcome(
        id="h",
        protocol=1,
        server="0.1.0",
        boot_id="5f0c1e2d3a4b5c6d7e8f901234567890",
        pid=4242,
        limits=Limits(1048576, 64, 30.0, 300.0),
    ),
    "accepted": Accepted(id="q1", prompt_tokens=7, seed=4039547290929178439),
    "accepted_every_field": Accepted(
        id="q2", prompt_tokens=7, seed=0, dropped=2, session="5f0c1e2d3a4b5c6d", message="0a1b"
    ),
    **{
        f"progress_{phase}": Progress(id="q1", phase=phase, done=3, total=7)
        for phase in ("queued", "loading", "prefill", "replaying", "reloading")
    },
    "delta_text": Delta(id="q1", seq=0, content=Text("你好", [39701])),
    "delta_every_field": Delta(
        id="q1", seq=1, choice=1, content=Text("🙂", [5, 6, 7, 39701], [LOGPROB] * 4)
    ),
    "delta_tool_call": Delta(id="q1", seq=2, content=Call(CALL, [1, 2], [LOGPROB] * 2)),
    "delta_tool_result": Delta(id="q1", seq=3, content=ToolResult("now", "12:30")),
    "done": Done(id="q1", seq=4, endings=[Ending(0, "stop")], usage=USAGE, timings=TIMINGS),
    "done_every_field": Done(
        id="q2",
        seq=4,
        endings=[
            Ending(0, "stop", stop="。", message="0a1c"),
            Ending(1, "length", unsaved="The disk is full."),
            Ending(2, "tool_call"),
            Ending(3, "cancelled"),
        ],
        usage=USAGE,
        timings=TIMINGS,
        prompt_logprobs=[LOGPROB],
    ),
    **{
        f"error_{code.value}": Failure(id="q1", code=code.value, message="It did not work.")
        for code in Code
    },
    "error_every_field": Failure(
        id="",
        code="busy",
        message="64 requests are waiting.",
        hint="Try again.",
        retry_after_ms=1500,
        plugin="mirostat",
    ),
    "ok": Ok(id="x"),
    "event": Event(id="s", topic="queue", data={"queued": 1, "running": 2}),
    "status": StatusReply(
        id="i",
        server="0.1.0",
        name="default",
        pid=4242,
        boot_id="5f0c1e2d3a4b5c6d7e8f901234567890",
        uptime=12.5,
        endpoints=["ipc:///run/user/1000/glmd/default/sock", "tcp://127.0.0.1:5570"],
        server_key="00" * 32,
        state="degraded",
        backend="bm1684x",
        simulated=True,
        model="chatglm3-6b",
        model_path="/models/chatglm3-6b_int4_1dev.bmodel",
        mode="int4",
        context=512,
        placement="2 replicas: the bmodel takes 1 device, 2 ids were given (on 0 and 1).",
        replicas=[
            ReplicaStatus(
                index=0,
                state="ready",
                pid=4243,
                devices=[DeviceStatus(0, 17179869184, 4294967296, 0.5, 61.5)],
                slots=8,
                slots_busy=1,
                requests_served=41,
                model_loads=2,
                memory=104857600,
            ),
            ReplicaStatus(index=1, state="failed", devices=[DeviceStatus(1)], error="It is off."),
        ],
        queued=0,
        running=1,
        clients=3,
        clients_served=7,
        requests_served=41,
        model_loads=2,
    ),
    "plugins_none": Plugins(id="p", plugins=[], stages=[]),
    "plugins": Plugins(
        id="p",
        plugins=[
            PluginInfo(
                name="shout",
                state="loaded",
                origin="file",
                path="/home/li/.config/glmd/plugins/shout.py",
                version="1.0",
                sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                hooks=["glmd_register_samplers", "glmd_register_tools"],
                samplers=["shout"],
                tools=["whisper"],
                load_ms=1.25,
                error="The newer file is not used: SyntaxError: invalid syntax (line 3).",
            )
        ],
        stages=[
            StageInfo(name="top_k", params={"type": "object"}),
            StageInfo(
                name="shout",
                plugin="shout",
                about="Louder.",
                params={"type": "object", "properties": {"loudness": {"type": "number"}}},
                replayable=False,
            ),
        ],
    ),
    "tokens": Tokens(id="t1", tokens=[906, 30910], pieces=["▁<", "▁"]),
    "text": Detokenized(id="d", text="你好"),
    "session_empty": Session(id="n", info=INFO),
    "session": Session(
        id="e",
        info=INFO,
        tree=[
            StoredMessage("0a1b", None, 1700000000.5, USER),
            StoredMessage("0a1c", "0a1b", 1700000100.0, Message("assistant", "你好！"), "stop"),
        ],
        leaf="0a1c",
    ),
    "sessions": Sessions(id="l", sessions=[INFO]),
}

REPLIES["status_decodes"] = msgspec.structs.replace(
    REPLIES["status"],
    replicas=[ReplicaStatus(index=0, state="ready", pid=4243, decodes=[40, 0, 0, 96])],
)
REPLIES["status_reloaded"] = msgspec.structs.replace(
    REPLIES["status"],
    model_identity="0f1e2d3c4b5a6978",
    leaving=1,
    reload=ReloadStatus(
        state="failed",
        model_path="/models/new",
        started=1700000000.5,
        seconds=2.25,
        code="model_error",
        error="/models/new is not there.",
    ),
)

# Bytes that are no message: name → (bytes, code).
INVALID: dict[str, tuple[bytes, Code]] = {
    "empty": (b"", Code.BAD_MESSAGE),
    "truncated": (encode(REQUESTS["chat"])[:-3], Code.BAD_MESSAGE),
    "two_messages": (encode(REQUESTS["status"]) * 2, Code.BAD_MESSAGE),
    "array": (msgpack.packb(["status", "1"]), Code.BAD_MESSAGE),
    "no_op": (msgpack.packb({"id": "1"}), Code.BAD_MESSAGE),
    "no_id": (msgpack.packb({"op": "status"}), Code.BAD_MESSAGE),
    "unknown_op": (msgpack.packb({"op": "frobnicate", "id": "1"}), Code.BAD_MESSAGE),
    "number_as_key": (msgpack.packb({"op": "status", "id": "1", 5: 6}), Code.BAD_MESSAGE),
    "binary": (msgpack.packb({"op": "status", "id": "1", "x": b"\0"}), Code.BAD_MESSAGE),
    "extension": (
        msgpack.packb({"op": "status", "id": "1", "x": msgpack.ExtType(1, b"x")}),
        Code.BAD_MESSAGE,
    ),
    "not_utf8": (b"\x82\xa2op\xa6status\xa2id\xa1\xff", Code.BAD_MESSAGE),
    "announces_too_much": (b"\xdd\xff\xff\xff\xff", Code.BAD_MESSAGE),
    "too_deep": (b"\x82\xa2op\xa6status\xa2id" + b"\x91" * 2000, Code.BAD_MESSAGE),
    "long_id": (msgpack.packb({"op": "status", "id": "1" * 65}), Code.BAD_MESSAGE),
    "missing_field": (msgpack.packb({"op": "chat", "id": "1"}), Code.INVALID_REQUEST),
    "wrong_type": (
        msgpack.packb({"op": "complete", "id": "1", "prompt": [1, "2"]}),
        Code.INVALID_REQUEST,
    ),
    "out_of_range": (
        msgpack.packb({"op": "chat", "id": "1", "messages": [], "n": 17}),
        Code.INVALID_REQUEST,
    ),
    "not_a_number": (
        msgpack.packb(
            {"op": "chat", "id": "1", "messages": [], "sampling": {"top_p": float("nan")}}
        ),
        Code.INVALID_REQUEST,
    ),
}

# A request of a newer client: the fields it adds are ignored.
NEWER = {"op": "status", "id": "1", "colour": "blue", "nested": {"a": [1, 2, {"b": None}]}}


def files() -> dict[str, bytes]:
    """Path in FOLDER → contents."""
    corpus: dict[str, bytes] = {}
    for kind, messages in (("requests", REQUESTS), ("replies", REPLIES)):
        for name, message in messages.items():
            mirror = msgspec.to_builtins(message, str_keys=True)
            corpus[f"{kind}/{name}.msgpack"] = encode(message)
            corpus[f"{kind}/{name}.json"] = _json(mirror)
    corpus["requests/status_of_a_newer_client.msgpack"] = msgpack.packb(NEWER)
    corpus["requests/status_of_a_newer_client.json"] = _json(NEWER)
    for name, (payload, code) in INVALID.items():
        corpus[f"invalid/{name}.msgpack"] = payload
        corpus[f"invalid/{name}.json"] = _json({"code": code.value})
    return corpus


def _json(value: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def main() -> None:
    for path, contents in files().items():
        file = FOLDER / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists() and file.read_bytes() != contents:
            print(f"{path} changes", file=sys.stderr)
        file.write_bytes(contents)


if __name__ == "__main__":
    main()
