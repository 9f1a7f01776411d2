"""What guessing a single stream's tokens is worth: glm3-nano's answers, priced as on the chip.

    .venv/bin/python bench/lookup.py [--count 1]

glm3-nano answers its held-out questions greedily, one after another, on the CPU. The engine plans
as for INT4 nets of ChatGLM3-6B and the clock says what those take by the compiler's estimate. × is
how many times the tokens a second that is of one token a step; how often ChatGLM3-6B repeats itself
is another matter. Results go to bench/results/lookup.json.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence as Seq
from pathlib import Path
from typing import Any

from scheduler import CAN, ESTIMATES, LENGTHS

from glmd.bmodel.estimates import Kind
from glmd.compiler.nano.cases import cases
from glmd.compiler.nano.dialogue import prompt_ids
from glmd.compiler.nano.tokenizer import NanoTokenizer
from glmd.daemon.engine import loop
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.loader import load_backend
from glmd.daemon.engine.messages import Event, Load, Step, Stop, Submit
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.native._engine import Backend, CancelFlag, Result, Span
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.wire.sampling import Stage

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "glmd" / "models" / "glm3-nano"
RESULTS = Path(__file__).parent / "results" / "lookup.json"
SEED = 7
MOST = 120


class Priced:
    """A real backend on a clock that moves by what the nets would have taken."""

    capabilities = CAN

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.clock = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def monotonic(self) -> float:
        return self.clock

    def forward(self, spans: Seq[Span], cancel: CancelFlag) -> list[Result]:
        n = sum(len(span.tokens) for span in spans)
        kind: Kind = "decode" if n == 1 else "chunk" if spans[0].pos else "prefill"
        self.clock += ESTIMATES[kind, min(size for size in LENGTHS[kind] if size >= n)]
        return self._backend.forward(spans, cancel)


class Answer(Outbox):
    """Counts the tokens behind the first, and their time."""

    def __init__(self, inbox: Inbox, clock: Priced) -> None:
        self._inbox = inbox
        self._clock = clock
        self._begun = 0.0
        self.tokens = -1

    @property
    def silence(self) -> float:
        return 0.0

    @property
    def seconds(self) -> float:
        return self._clock.clock - self._begun

    def put(self, event: Event) -> None:
        for token in event.tokens if isinstance(event, Step) else []:
            self.tokens += 1
            self._begun = self._begun or self._clock.clock
            if token.finish:
                self._inbox.put(Stop())

    def flush(self) -> None:
        pass


def answer(backend: Backend, prompt: list[int], stop_ids: list[int]) -> tuple[int, float]:
    device, inbox = Priced(backend), Inbox(CancelFlag())
    greedy = [Stage("top_k", {"k": 1})]
    inbox.put(Submit(1, prompt, [(0, [])], greedy, 1, stop_ids, MOST))
    told = Answer(inbox, device)
    loop.time = device  # type: ignore[assignment]
    plugins = Plugins(Breadcrumb.create(), 0)
    loop.Loop(device, inbox, told, plugins, ESTIMATES).run()  # type: ignore[arg-type]
    return told.tokens, told.seconds


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1, help="questions for each intent")
    count = parser.parse_args().count
    load = Load(str(MODEL), "cpu", "f16", slots=CAN.slots, threads=1)
    backend = load_backend(load, lambda done, total: None).backend
    tokenizer = NanoTokenizer.load(MODEL)
    groups: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for case in cases(SEED, count):
        prompt = prompt_ids(tokenizer, case.prompt)
        groups[case.group].append(answer(backend, prompt, sorted(tokenizer.stop_ids)))
    groups["all"] = [one for group in list(groups.values()) for one in group]
    results = {}
    print(f"{'':24} {'answers':>8} {'tokens':>8} {'×':>6}")
    for name, answers in groups.items():
        tokens, seconds = (sum(column) for column in zip(*answers, strict=True))
        times = tokens * ESTIMATES["decode", 1] / seconds
        print(f"{name:24} {len(answers):8} {tokens:8.0f} {times:6.2f}")
        results[name] = {"answers": len(answers), "tokens": tokens, "times": times}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
