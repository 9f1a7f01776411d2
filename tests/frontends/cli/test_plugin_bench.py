"""`glmd plugins bench`."""

from __future__ import annotations

import re

import pytest
from support.cli import call, facts
from support.daemons import Homes
from support.plugins import sampler, save

from glmd.frontends.cli.plugin_bench import told


def test_it_needs_no_daemon_and_says_what_the_others_wait(homes: Homes) -> None:
    shown = call("plugins", "bench", "no_repeat_ngram:n=2")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.fullmatch(
        r"no_repeat_ngram at 65,024 ids\n"
        r"  to begin an answer +[\d.]+ ms, the first time [\d.]+\n"
        r"  a token +[\d.]+ ms, one of twenty over [\d.]+\n"
        r"  a step of 8 answers +[\d.]+ ms, with it in one of them [\d.]+\n"
        r"Every other answer's tokens come [\d.]+ ms later each\.\n",
        shown.stdout,
    )


def test_the_facts_are_those_that_are_told(homes: Homes) -> None:
    save("quiet", sampler("quiet"))
    cost = facts("plugins", "bench", "quiet")
    assert (cost["sampler"], cost["plugin"], cost["batch"]) == ("quiet", "quiet", 8)
    later = max(cost["step_beside"] - cost["step"], 0)
    assert f"come {later:.2f} ms later" in told(cost)


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("", "No plugin has a sampler 'bad'."),
        (sampler("bad", "raise KeyError('x')"), "failed at token 0: KeyError: 'x'"),
        ("import os\nos._exit(3)", "The process in which bad was measured ended with 3."),
    ],
    ids=["nobody's", "failing", "deadly"],
)
def test_what_went_wrong_is_a_sentence(homes: Homes, source: str, sentence: str) -> None:
    if source:
        save("bad", source)
    shown = call("plugins", "bench", "bad")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert sentence in shown.stderr
