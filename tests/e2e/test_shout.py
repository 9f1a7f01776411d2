"""What docs/plugins.md begins with: ten lines that are saved are in the next answer."""

from __future__ import annotations

import re

import pytest
from support.cli import call
from support.daemons import Homes
from support.documents import DOCS, ROOT
from support.plugins import Watcher, reload, save

import glmd
from glmd.daemon.engine.stages import BUILTIN
from glmd.facts import DaemonFacts

SHOUT = re.findall(r"^```python\n(.*?)^```", (DOCS / "plugins.md").read_text(), re.M | re.S)[0]
ASK = ("ask", "--sampler", "shout", "--max-new-tokens", "40", "What is glmd?")
CUT = "The answer reached its length limit (--max-new-tokens, or the context).\n"


def test_ten_lines_are_in_the_next_answer(daemon: DaemonFacts) -> None:
    assert call(*ASK).returncode == 1
    with Watcher(daemon) as watcher:
        save("shout", SHOUT)
        first = watcher.loaded("shout").sha256
        for seed in ("1", "2", "3"):
            told = call(*ASK, "--seed", seed)
            assert (told.returncode, told.stderr.replace(CUT, "")) == (0, "")
            assert told.stdout.strip()
            assert told.stdout == told.stdout.upper()

        # An edit is in the next one: now it whispers.
        save("shout", SHOUT.replace(".upper()", ".lower()"))
        watcher.until("shout", lambda p: p.sha256 != first)
        told = call(*ASK, "--seed", "1")
        assert told.stdout == told.stdout.lower()
        assert told.stdout.strip()

        # A mistake takes nothing away.
        save("shout", SHOUT.replace("def start(", "def start(:"))
        assert "SyntaxError" in watcher.until("shout", lambda p: bool(p.error)).error
        assert call(*ASK, "--seed", "1") == told


def test_what_is_saved_counts_for_a_request_right_behind_it(daemon: DaemonFacts) -> None:
    """Not only once the file system has told of it."""
    whisper = SHOUT.replace(".upper()", ".lower()")
    with glmd.Client() as client:
        for source, changed in ((SHOUT, str.upper), (whisper, str.lower)) * 3:
            save("shout", source)
            sampling = [glmd.Stage("shout")]
            text = client.chat("What is glmd?", sampling=sampling, seed=1, max_tokens=20).text
            assert text == changed(text)


SCHEMA = (
    '{"type":"object","properties":{"answer":{"enum":["yes","no"]}},"required":["answer"],'
    '"additionalProperties":false}'
)


@pytest.mark.parametrize(
    ("samplers", "pattern"),
    [
        (["mirostat:tau=3"], r".+"),
        (["dynatemp:range=0.3", "quote", "no_repeat_ngram:n=2"], r".+"),
        (['choices:of=["yes","no"]'], r"yes|no"),
        (["regex:pattern=[0-9]{2}-[a-c]"], r"[0-9]{2}-[a-c]"),
        ([f"json_schema:schema={SCHEMA}"], r'\{"answer": ?"(yes|no)"\}'),
    ],
    ids=lambda value: value[0].partition(":")[0] if isinstance(value, list) else "",
)
def test_what_ships_answers(shared_daemon: DaemonFacts, samplers: list[str], pattern: str) -> None:
    flags = [word for one in samplers for word in ("--sampler", one)]
    told = call("ask", *flags, "--seed", "5", "--max-new-tokens", "60", "What is glmd?")
    # Those that say where an answer ends leave it room to.
    cut = "" if flags[-1].partition(":")[0] in {"choices", "regex", "json_schema"} else CUT
    assert (told.returncode, told.stderr.replace(cut, "")) == (0, "")
    assert re.fullmatch(pattern, told.stdout.strip(), re.S)
    assert call("ask", *flags, "--seed", "5", "--max-new-tokens", "60", "What is glmd?") == told


def test_all_that_ship_are_listed_beside_the_built_in_stages(shared_daemon: DaemonFacts) -> None:
    told = reload(shared_daemon)  # a start does not wait for plugins for ever
    shipped = {path.stem for path in (ROOT / "plugins").glob("[a-z]*.py")}
    assert {plugin.name: plugin.state for plugin in told.plugins} == dict.fromkeys(
        shipped, "loaded"
    )
    stages = {stage.name: stage for stage in told.stages}
    own = {name for name, stage in stages.items() if stage.plugin}
    assert own | set(BUILTIN) == set(stages)
    assert len(own) >= 7
    for name in own:
        assert stages[name].plugin in shipped
        assert stages[name].about.endswith("."), name
        assert stages[name].replayable


def test_misplaced_constraints_harm_nobody(homes: Homes) -> None:
    """A chain that leaves a sampler nothing is its request's fault: no plugin is quarantined."""
    homes.start()
    for _ in range(4):
        told = call("ask", "--sampler", "top_k:k=1", "--sampler", 'choices:of=["~"]', "你好")
        assert told.returncode == 1
        assert "took out every token that it allows." in told.stderr
        assert "Put choices first." in told.stderr
    assert call("ask", "--sampler", 'choices:of=["yes"]', "你好").stdout == "yes\n"
