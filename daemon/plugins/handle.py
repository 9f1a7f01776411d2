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
        self._known: dict[str, Facts] = {}  # by topic that a plugin listens to
        self._listeners = threading.Lock()  # over the handles' callbacks and what is known

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
        with self._listeners:
            self._handles.append(handle)
        return handle

    def subscribe(self, handle: Handle, topic: str, callback: Callback) -> None:
        """The core tells a topic's facts to its first listener and then when they change, so the
        others hear from here how they are."""
        with self._listeners:
            handle.callbacks.setdefault(topic, []).append(callback)
            if topic in self._known:
                handle.tell(callback, self._known[topic])
            self._put(Listening(sorted(self._topics())))

    def fact(self, fact: Fact) -> None:
        with self._listeners:
            if fact.topic in self._topics():
                self._known[fact.topic] = fact.data
            for handle in self._handles:
                for callback in handle.callbacks.get(fact.topic, ()):
                    handle.tell(callback, fact.data)

    def hang_up(self, handle: Handle) -> None:
        """Its plugin is dismissed, and hears no more."""
        with self._listeners:
            self._handles.remove(handle)
            for topic in set(self._known) - self._topics():
                del self._known[topic]
            self._put(Listening(sorted(self._topics())))
        handle.close()

    def _topics(self) -> set[str]:
        return {topic for handle in self._handles for topic in handle.callbacks}


class Handle:
    """One plugin's. A thread of its own calls its callbacks, one fact after another."""

    def __init__(self, line: Line) -> None:
        self.callbacks: dict[str, list[Callback]] = {}
        self._line = line
        self._facts: queue.SimpleQueue[tuple[Callback, Facts] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def status(self) -> Facts:
        return self._line.ask("status", STATUS_SECONDS)

    def reload(self, model: str | None = None) -> None:
        self._line.ask("reload", RELOAD_SECONDS, model)

    def subscribe(self, topic: str, callback: Callback) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._deliver, name="facts", daemon=True)
            self._thread.start()
        self._line.subscribe(self, topic, callback)

    def tell(self, callback: Callback, facts: Facts) -> None:
        self._facts.put((callback, facts))

    def close(self) -> None:
        self._facts.put(None)

    def _deliver(self) -> None:
        while told := self._facts.get():
            callback, facts = told
            try:
                callback(facts)
            except BaseException:
                traceback.print_exc()
