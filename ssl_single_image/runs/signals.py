"""SIGTERM and SIGINT as a request to save and stop, instead of an immediate end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from ssl_single_image.types import Halted


class StopRequest:
    """Set by a signal; `number` is that signal's."""

    number: int | None = None

    def agreed(self) -> bool:
        """Whether to stop, the same answer on every process (collective when there are several)."""
        if jax.process_count() == 1:
            return self.number is not None
        numbers = multihost_utils.process_allgather(np.int32(self.number or 0))
        if numbers.max():
            self.number = int(numbers.max())
        return self.number is not None


class Stopped(Halted):
    """The run saved its state and stopped because a signal asked it to; status 128 + signal, as shells have it."""

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name}; the state of step {step} is saved", 128 + number
        )


@contextlib.contextmanager
def stop_on_signal() -> Iterator[StopRequest]:
    """Turns the first SIGTERM or SIGINT into a `StopRequest`; a second one acts as it would have before.

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
            signal.signal(number, handler)
