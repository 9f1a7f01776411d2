"""Requests that wait for a replica: bounded, and fair between principals."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    @property
    def principal(self) -> str: ...


T = TypeVar("T", bound=Waiting)


class FairQueue(Generic[T]):
    """Principals take turns; each one's requests go in order.

    A full queue still takes the first request of a principal who has none in it, up to twice the
    bound: nobody can keep the others out by filling it.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._lines: dict[str, deque[T]] = {}  # insertion order is the order of turns
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        """In the order in which they will be served."""
        lines = [iter(line) for line in self._lines.values()]
        while lines:
            still: list[Iterator[T]] = []
            for line in lines:
                if (item := next(line, None)) is not None:
                    yield item
                    still.append(line)
            lines = still

    def has_room(self, principal: str) -> bool:
        if principal in self._lines:
            return self._size < self._bound
        return self._size < 2 * self._bound

    def push(self, item: T) -> None:
        self._lines.setdefault(item.principal, deque()).append(item)
        self._size += 1

    def first(self) -> T | None:
        """Whose turn it is."""
        return next(iter(self), None)

    def pop(self) -> T:
        """Take out the first; its principal goes to the back. Raises IndexError when empty."""
        if not self._lines:
            raise IndexError("nobody is waiting")
        principal = next(iter(self._lines))
        line = self._lines.pop(principal)
        item = line.popleft()
        if line:
            self._lines[principal] = line
        self._size -= 1
        return item

    def remove(self, item: T) -> bool:
        """Take out `item` wherever it stands; False when it is not there."""
        line = self._lines.get(item.principal)
        if line is None or item not in line:
            return False
        line.remove(item)
        if not line:
            del self._lines[item.principal]
        self._size -= 1
        return True

    def clear(self) -> list[T]:
        """Take out everything, in order."""
        items = list(self)
        self._lines.clear()
        self._size = 0
        return items
