"""What `glmd plugins new` writes."""

from __future__ import annotations

from pathlib import Path

from glmd import paths
from glmd.errors import InvalidRequest

PLUGIN = '''\
"""Makes tokens with a capital letter in them likelier."""

from typing import Annotated

import msgspec

import glmd


class {kind}(glmd.Sampler):
    """Makes tokens with a capital letter in them likelier."""

    name = "{name}"

    class Params(msgspec.Struct):
        strength: Annotated[float, msgspec.Meta(ge=0)] = 2.0

    def start(self, params, ctx):
        ids = [i for i, text in enumerate(ctx.vocab_bytes) if text != text.lower()]
        return State(ids, params.strength)


class State:
    def __init__(self, ids, strength):
        self.ids, self.strength = ids, strength

    def apply(self, logits, history):
        logits[self.ids] += self.strength


@glmd.hookimpl
def glmd_register_samplers(register):
    register({kind}())
'''

TEST = '''\
"""python -m pytest {test}"""

from pathlib import Path

import numpy as np

from glmd.discovery import read_file
from glmd.loading import load
from glmd.testing import SamplerHarness, softmax

PLUGIN = load(read_file(Path(__file__).parents[1] / "{name}.py"))
LOGITS = np.array([0.0, 1.0, 2.0, 1.5], np.float32)
harness = SamplerHarness(
    PLUGIN.samplers["{name}"], vocab_bytes=[b"", b"yes", b"Yes", b" no"], stop_ids=[0]
)


def test_capitals_are_likelier():
    probs = softmax(LOGITS + np.array([0, 0, 2, 0]))
    harness.check_distribution(logits=LOGITS, probs=probs, draws=2000)


def test_a_seed_repeats_the_answer():
    harness.check_repeatable(logits=LOGITS)
'''


def write(name: str) -> tuple[Path, Path]:
    """The files of a new plugin and of its test, in the user's folder. Raises InvalidRequest where
    there is one."""
    folder = paths.plugins_dir()
    file, test = folder / f"{name}.py", folder / "tests" / f"test_{name}.py"
    for path in (file, test):
        if path.exists():
            raise InvalidRequest(f"{path} is there already.", hint="Choose another name.")
    test.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kind = "".join(part.capitalize() for part in name.split("_"))
    for path, text in ((test, TEST), (file, PLUGIN)):
        path.touch(mode=0o600)
        path.write_text(
            text.format(name=name, kind=kind, test=f"tests/test_{name}.py"), encoding="utf-8"
        )
    return file, test
