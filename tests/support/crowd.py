"""Clients that ask without a pause while models are exchanged."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import glmd

Answer = tuple[int, ...]


class Crowd:
    """Each client asks its question on and on until it is told to stop. `ask`: with a client's
    number; `answers`: what each model answers each of them. `by`: how many answers each model
    gave."""

    def __init__(
        self, clients: int, ask: Callable[[glmd.Client, int], Answer], answers: dict[Answer, str]
    ) -> None:
        self.by: Counter[str] = Counter()
        self._clients = clients
        self._ask_once = ask
        self._answers = answers
        self._stop = threading.Event()
        self._threads = ThreadPoolExecutor(clients)

    def __enter__(self) -> Crowd:
        self._asking = [self._threads.submit(self._ask, number) for number in range(self._clients)]
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for asking in self._asking:
            asking.result()
        self._threads.shutdown()

    def _ask(self, number: int) -> None:
        with glmd.Client(principal=f"client {number}") as client:
            while not self._stop.is_set():
                # An answer of two models would be none of either.
                self.by[self._answers[self._ask_once(client, number)]] += 1
