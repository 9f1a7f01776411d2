"""What planning a step costs, beside a plan that looks at nothing.

    .venv/bin/python bench/scheduler.py

The engine's loop serves on a device that computes nothing: its clock says what INT4 nets of
ChatGLM3-6B take by the compiler's estimate, give or take two percent. Streams decode greedily while
prompts of 1,500 tokens come and go. The fixed plan is rows in the widest batches, then the longest
piece. Both alternate, and of each the best of five rounds counts.

Microseconds of a step: `plan`, for planning and learning; `loop`, all but the device. By the
device's clock: the longest `wait` for a token of the first stream, in milliseconds, and the ratio
of the time for everything. Results go to bench/results/scheduler.json.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Sequence as Seq
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from glmd.bmodel.estimates import Estimates, Kind
from glmd.daemon.engine import loop
from glmd.daemon.engine.inbox import Inbox
from glmd.daemon.engine.messages import Event, Step, Stop, Submit
from glmd.daemon.engine.nets import Nets
from glmd.daemon.engine.outbox import Outbox
from glmd.daemon.engine.plugins import Plugins
from glmd.daemon.engine.sequence import Sequence
from glmd.daemon.engine.work import Call, Scheduler, Work
from glmd.daemon.native._engine import CancelFlag, Prefill, Want
from glmd.daemon.plugins.breadcrumb import Breadcrumb
from glmd.wire.sampling import Stage

RESULTS = Path(__file__).parent / "results" / "scheduler.json"
ROUNDS = 5
PROMPT = 1500
QUESTIONS = 6
STREAMS = (1, 4, 8, 24)
LENGTHS: dict[Kind, dict[int, float]] = {
    "prefill": {64: 77.5, 128: 125.9, 256: 241.6, 512: 475.1},
    "chunk": {16: 71.3, 32: 72.4, 64: 79.4, 128: 129.3},
    "decode": {1: 62.1, 2: 64.0, 4: 66.9, 8: 72.2},
}
ESTIMATES: Estimates = {
    (kind, n): ms / 1000 for kind, sizes in LENGTHS.items() for n, ms in sizes.items()
}
CAN: Any = SimpleNamespace(
    slots=32,
    prefill=Prefill.chunks,
    prefill_lengths=[*LENGTHS["prefill"]],
    chunk_lengths=[*LENGTHS["chunk"]],
    decode_batches=[*LENGTHS["decode"]],
    outputs=[Want.none, Want.token],
    saved_bytes=0,
)


class Device:
    """Answers at once and moves its clock by what the nets would have taken."""

    capabilities = CAN
    info = SimpleNamespace(max_seq=8192, vocab=1000)

    def __init__(self) -> None:
        self.clock = 0.0
        self._random = random.Random(1)

    def monotonic(self) -> float:
        return self.clock

    def forward(self, spans: Seq[Any], cancel: CancelFlag) -> list[Any]:
        n, slots = sum(len(span.tokens) for span in spans), len({span.slot for span in spans})
        kind: Kind = "decode" if n == slots else "chunk" if spans[0].pos else "prefill"
        rows = min(size for size in LENGTHS[kind] if size >= n)
        self.clock += ESTIMATES[kind, rows] * self._random.uniform(0.98, 1.02)
        return [SimpleNamespace(token=self._random.randrange(3, 999), logits=None) for _ in spans]

    def truncate(self, slot: int, n: int) -> None:
        pass

    def stats(self) -> list[Any]:
        return []


class Fixed:
    def plan(self, running: Seq[Sequence]) -> list[Call]:
        rows = [Work(s, 1) for s in running if not s.prefilling]
        calls = [rows[i : i + 8] for i in range(0, len(rows), 8)]
        prompts = [s for s in running if s.prefilling]
        if prompts:
            oldest = min(prompts, key=lambda s: s.served)
            longest = CAN.chunk_lengths[-1] if oldest.computed else CAN.prefill_lengths[-1]
            calls.append([Work(oldest, min(oldest.prompt_left, longest))])
        return calls

    def reusable(self, running: Seq[Sequence], prompt_length: int, shared: int) -> int:
        return 0

    def measured(self, call: Call, seconds: float) -> None:
        pass


class Timed:
    """Seconds that a scheduler takes, and the steps it planned."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.seconds = 0.0
        self.steps = 0
        self.reusable = scheduler.reusable

    def plan(self, running: Seq[Sequence]) -> list[Call]:
        self.steps += 1
        start = time.perf_counter()
        calls = self._scheduler.plan(running)
        self.seconds += time.perf_counter() - start
        return calls

    def measured(self, call: Call, seconds: float) -> None:
        start = time.perf_counter()
        self._scheduler.measured(call, seconds)
        self.seconds += time.perf_counter() - start


class Questions(Outbox):
    """Asks the next question when one is answered, and stops the loop behind the last."""

    def __init__(self, inbox: Inbox, device: Device, streams: int) -> None:
        self._inbox = inbox
        self._device = device
        self._asked = 0
        self._token = math.inf
        self.wait = 0.0
        for id in range(streams):
            inbox.put(question(id, 16, 4000))
        self._ask()

    @property
    def silence(self) -> float:
        return 0.0

    def put(self, event: Event) -> None:
        if not isinstance(event, Step):
            return
        if any(t.id == 0 for t in event.tokens):
            self.wait = max(self.wait, self._device.clock - self._token)
            self._token = self._device.clock
        if any(t.id >= 1000 and t.finish for t in event.tokens):
            self._ask()

    def flush(self) -> None:
        pass

    def _ask(self) -> None:
        if self._asked == QUESTIONS:
            self._inbox.put(Stop())
            return
        self._asked += 1
        self._inbox.put(question(1000 + self._asked, PROMPT, 30))


def question(id: int, tokens: int, answer: int) -> Submit:
    prompt = [(id * 37 + i) % 900 + 3 for i in range(tokens)]
    return Submit(id, prompt, [(0, [])], [Stage("top_k", {"k": 1})], id, [2], answer)


def serve(scheduler: Scheduler, streams: int) -> dict[str, float]:
    device, inbox, timed = Device(), Inbox(CancelFlag()), Timed(scheduler)
    plugins = Plugins(Breadcrumb.create(), 0)
    told = Questions(inbox, device, streams)
    serving = loop.Loop(device, inbox, told, plugins, ESTIMATES)  # type: ignore[arg-type]
    serving._scheduler = timed
    loop.time = device  # type: ignore[assignment]
    start = time.perf_counter()
    serving.run()
    took = time.perf_counter() - start
    return {
        "plan": 1e6 * timed.seconds / timed.steps,
        "loop": 1e6 * took / timed.steps,
        "wait": 1e3 * told.wait,
        "device": device.clock,
    }


def main() -> None:
    results = {}
    pair = "model   fixed"
    print(f"{'':7} {'plan':>15} {'loop':>17} {'':>6} {'wait':>17} {'device':>6}")
    print(f"streams {pair:>15} {pair:>17} {'×':>6} {pair:>17} {'×':>6}")
    for streams in STREAMS:
        rounds: dict[str, list[dict[str, float]]] = {"model": [], "fixed": []}
        for _ in range(ROUNDS):
            rounds["model"].append(serve(Nets(CAN, ESTIMATES), streams))
            rounds["fixed"].append(serve(Fixed(), streams))
        best = {
            name: {key: min(one[key] for one in ran) for key in ran[0]}
            for name, ran in rounds.items()
        }
        model, fixed = best["model"], best["fixed"]
        print(
            f"{streams:7} {model['plan']:7.1f} {fixed['plan']:7.1f} "
            f"{model['loop']:9.1f} {fixed['loop']:7.1f} {model['loop'] / fixed['loop']:6.2f} "
            f"{model['wait']:9.0f} {fixed['wait']:7.0f} {model['device'] / fixed['device']:6.2f}"
        )
        results[streams] = best
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
