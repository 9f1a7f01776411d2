"""What plugins in the plugin host can do with the daemon: the DaemonHandle of glmd.hookspecs."""

from __future__ import annotations

import itertools
import queue
import threading
import traceback
from collections.abc import Callable
from typing import Any, Literal

from glmd.daemon.plugins.messages import Answer, Asked, Fact, HostEvent, Listening
from glmd.errors import DaemonError

Facts = dict[str, Any]
Callback = Callable[[Facts], None]

STATUS_SECONDS = 10.0  # that the daemon has to answer
RELOAD_SECONDS = 1800.0  # that loading a model may take


class Line:
    """Questions to the core and its answers, for all plugins of this process. Any thread may ask;
    the one that reads the socket brings the answers."""

    def __init__(self, put: Callable[[HostEvent], None]) -> None:
        self._put = put
        self._ids = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Answer]] = {}
        self._handles: list[Handle] = []

    def ask(
        self, what: Literal["status", "reload"], seconds: float, model: str | None = None
    ) -> Facts:
        """Raises DaemonError for a refusal, and when there is no answer."""
        number = next(self._ids)
        box = self._waiting[number] = queue.SimpleQueue()
        self._put(Asked(number, what, model))
        try:
            answer = box.get(timeout=seconds)
        except queue.Empty:
            raise DaemonError(f"The daemon has not answered for {seconds:.0f} s.") from None
        finally:
            del self._waiting[number]
        if answer.error:
            raise DaemonError(answer.error, hint=answer.hint)
        return answer.data

    def answered(self, answer: Answer) -> None:
        if box := self._waiting.get(answer.id):
            box.put(answer)

    def handle(self) -> Handle:
        """For one more plugin."""
        handle = Handle(self)
        self._handles.append(handle)
        return handle

    def listen(self) -> None:
        topics = {topic for handle in self._handles for topic in handle.callbacks}
        self._put(Listening(sorted(topics)))

    def fact(self, fact: Fact) -> None:
        for handle in self._handles:
            handle.tell(fact)

    def hang_up(self, handle: Handle) -> None:
        """Its plugin is dismissed, and hears no more."""
        self._handles.remove(handle)
        handle.close()
        self.listen()


class Handle:
    """One plugin's. A thread of its own calls its callbacks, one fact after another."""

    def __init__(self, line: Line) -> None:
        self.callbacks: dict[str, list[Callback]] = {}
        self._line = line
        self._facts: queue.SimpleQueue[Fact | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def status(self) -> Facts:
        return self._line.ask("status", STATUS_SECONDS)

    def reload(self, model: str | None = None) -> None:
        self._line.ask("reload", RELOAD_SECONDS, model)

    def subscribe(self, topic: str, callback: Callback) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver, name="facts", daemon=True)
            self._thread.start()
        self.callbacks.setdefault(topic, []).append(callback)
        self._line.listen()

    def tell(self, fact: Fact) -> None:
        if fact.topic in self.callbacks:
            self._facts.put(fact)

    def close(self) -> None:
        self._facts.put(None)

    def _deliver(self) -> None:
        while fact := self._facts.get():
            for callback in self.callbacks[fact.topic]:
                try:
                    callback(fact.data)
                except BaseException:
                    traceback.print_exc()
