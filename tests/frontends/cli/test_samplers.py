"""`--sampler`: how samplers and their parameters are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.cli import call
from support.scripted_daemon import ScriptedDaemon, accepted, done, text

from glmd.facts import DaemonFacts
from glmd.frontends.cli.samplers import parse, written
from glmd.wire.requests import AnyRequest, Chat
from glmd.wire.sampling import Stage


@pytest.mark.parametrize(
    ("words", "params"),
    [
        ("", {}),
        ("tau=5,eta=0.1", {"tau": 5, "eta": 0.1}),
        ("a=true,b=null,c=-1e3", {"a": True, "b": None, "c": -1000.0}),
        ("a=word,b=two words, and more,c=", {"a": "word", "b": "two words, and more", "c": ""}),
        ('a="5",b=" ,c=3"', {"a": "5", "b": " ,c=3"}),
        ('of=["yes, a=1","no"],n=2', {"of": ["yes, a=1", "no"], "n": 2}),
        ('schema={"type": "object", "x=1": {}}', {"schema": {"type": "object", "x=1": {}}}),
        ("pattern=[0-9]{1,3}", {"pattern": "[0-9]{1,3}"}),
        ("pattern=[0],[1]", {"pattern": "[0],[1]"}),
        ("pattern=a:b=c", {"pattern": "a:b=c"}),
        ("a=NaN,b=Infinity", {"a": "NaN", "b": "Infinity"}),
        ("词=字", {"词": "字"}),
    ],
)
def test_parameters_are_json_or_text(words: str, params: dict[str, Any]) -> None:
    stage = parse(f"name:{words}")
    assert stage == {"name": "name", "params": params}
    assert parse(written(stage)) == stage


def test_a_file_may_hold_a_value(tmp_path: Path) -> None:
    schema, pattern = tmp_path / "s.json", tmp_path / "pattern"
    schema.write_text('{"type": "object"}')
    pattern.write_text("a,b=c")
    assert parse(f"x:schema=@{schema},pattern=@{pattern}")["params"] == {
        "schema": {"type": "object"},
        "pattern": "a,b=c",
    }
    assert parse('x:word="@home"')["params"] == {"word": "@home"}
    schema.write_text("{")
    for file, sentence in ((schema, "is not what it should be"), (tmp_path / "no", "cannot be re")):
        with pytest.raises(ValueError, match=sentence):
            parse(f"x:schema=@{file}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("", "'' names no sampler."),
        (":tau=5", "':tau=5' names no sampler."),
        ("mirostat:5", "'5' is not KEY=VALUE, as in mirostat:tau=5,eta=0.1."),
        ("mirostat:tau=5,tau=6", "tau is there twice."),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(words: str, sentence: str) -> None:
    code, stdout, stderr = call("ask", "--sampler", words, "你好")
    assert (code, stdout) == (2, "")
    assert sentence in stderr


def test_samplers_reach_the_daemon_in_their_order(tmp_path: Path) -> None:
    def script(daemon: ScriptedDaemon, request: AnyRequest) -> None:
        daemon.say(accepted(request), text(request, 0, "yes"), done(request, 1))

    with ScriptedDaemon(tmp_path, script) as daemon:
        words = ["--sampler", "no_repeat_ngram:n=2", "--sampler", "mirostat", "--seed", "3"]
        told = call("ask", "hi", "--endpoint", daemon.endpoint, *words)
        (request,) = daemon.heard(Chat)
    assert told == (0, "yes\n", "")
    stages = [Stage("no_repeat_ngram", {"n": 2}), Stage("mirostat")]
    assert (request.sampling.stages, request.sampling.seed) == (stages, 3)


def test_a_chain_can_be_written_out(shared_daemon: DaemonFacts) -> None:
    greedy = call("ask", "--generation-mode", "greedy", "你好")
    assert greedy.returncode == 0
    assert call("ask", "--sampler", "top_k:k=1", "--sampler", "temperature", "你好") == greedy


def test_what_there_is_not_or_does_not_go_together_is_said(shared_daemon: DaemonFacts) -> None:
    told = call("ask", "--sampler", "mirrorstat", "你好")
    assert (told.returncode, told.stdout) == (1, "")
    assert "there is no sampler stage 'mirrorstat'" in told.stderr
    assert "temperature" in told.stderr
    told = call("ask", "--sampler", "top_k", "--temperature", "1", "你好")
    assert told.returncode == 1
    assert "stages cannot be given together with temperature" in told.stderr


def test_samplers_of_a_conversation_change_and_are_shown(shared_daemon: DaemonFacts) -> None:
    said = [
        "/set sampler mirostat:tau=5 'choices:of=[\"a b\"]'",
        "/show",
        "/set sampler mirostat:5",
        "/set sampler 'mirostat",
        "/set sampler",
    ]
    told = call("chat", stdin="\n".join(said))
    assert (told.returncode, told.stdout) == (0, "")
    lines = [line for line in told.stderr.splitlines() if line.startswith("sampler")]
    assert lines == [
        'sampler = mirostat:tau=5 choices:of=["a b"]',
        'sampler      mirostat:tau=5 choices:of=["a b"]',
        "sampler: '5' is not KEY=VALUE, as in mirostat:tau=5,eta=0.1.",
        "sampler: No closing quotation.",
        "sampler is the daemon's default again.",
    ]
