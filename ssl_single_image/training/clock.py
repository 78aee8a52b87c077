"""What the clock says of a run in this process: how long it has taken, how fast it trains, what else took its time."""

from __future__ import annotations

import collections
import contextlib
import time
from collections.abc import Iterator


class Clock:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._spent: collections.defaultdict[str, float] = collections.defaultdict(float)
        self._marked = 0.0
        self._waited = 0.0

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self._began

    @contextlib.contextmanager
    def aside(self, what: str) -> Iterator[None]:
        """What happens within is no training: it counts as time spent with `what`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._spent[what] += time.perf_counter() - start

    def spent(self, what: str) -> float:
        """Seconds spent with something aside."""
        return self._spent[what]

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens within is training that waits for inputs."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._waited += time.perf_counter() - start

    def lap(self) -> tuple[float, float]:
        """Seconds of training since the last lap, and how many of them went by in waiting; nothing aside counts."""
        training = self.seconds - sum(self._spent.values())
        before, self._marked = self._marked, training
        waited, self._waited = self._waited, 0.0
        return training - before, waited
