"""SIGTERM and SIGINT as a request to save and stop, instead of an immediate end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_single_image.types import Halted

ASK = 2.0
"""Seconds between two times at which processes tell each other of signals. Schedulers give half a minute to stop."""


class StopRequest:
    """Set by a signal; `number` is that signal's."""

    number: int | None = None

    def __init__(self) -> None:
        self._calls, self._next = 0, 1
        self._asked = (0, time.monotonic())

    def agreed(self) -> bool:
        """Whether to stop; called after every call of the compiled step, by every process.

        It is the same answer in every process. They ask each other, a collective, about every `ASK` seconds: the
        slowest of their clocks says after how many calls. So a signal that reaches one process alone stops them all.
        """
        if jax.process_count() == 1:
            return self.number is not None
        self._calls += 1
        if self._calls < self._next:
            return False
        (calls, since), self._asked = self._asked, (self._calls, time.monotonic())
        seconds = max(self._asked[1] - since, 1e-6)
        until = max(1, int((self._calls - calls) / seconds * ASK))
        told = multihost_utils.process_allgather(np.array([self.number or 0, until], np.int32))
        self._next = self._calls + int(told[:, 1].min())
        # What was told decides: a signal may have come since, which the others do not know of yet.
        if number := int(told[:, 0].max()):
            self.number = number
        return bool(number)


class Stopped(Halted):
    """The run saved its state and stopped because a signal asked it to; status 128 + signal, as shells have it."""

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state of step {step} is saved", 128 + number
        )


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a `StopRequest`; a second one acts as it would have before.

    At the end, what was there before is back; a signal that is ignored by then stays so.
    In a thread other than the main one, where Python hears no signals, the request is never set.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before: dict[signal.Signals, Any] = {}

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        request.number = number
        signal.signal(number, before[signal.Signals(number)])

    for number in (signal.SIGTERM, signal.SIGINT):
        before[number] = signal.signal(number, handle)
    try:
        yield request
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, handler)
