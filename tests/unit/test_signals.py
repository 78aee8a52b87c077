"""How processes agree to stop: by what they told each other, and not more often than need be."""

from __future__ import annotations

import signal
from collections.abc import Callable

import jax
import numpy as np
import pytest

from ssl_single_image.parallel import distributed
from ssl_single_image.runs import signals
from ssl_single_image.runs.signals import StopRequest

OTHER = [0, 1000]
"""What another process tells that got no signal and is fast: its signal, and after how many calls to ask again."""


class Pair:
    """This process and another one, whose words are given; calls are counted."""

    def __init__(self) -> None:
        self.asked, self.other = 0, list(OTHER)
        self.meanwhile: Callable[[], None] = lambda: None

    def gather(self, mine: np.ndarray) -> np.ndarray:
        self.asked += 1
        told = np.stack([mine.copy(), np.array(self.other, np.int32)])
        self.meanwhile()
        return told


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> Pair:
    made = Pair()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(signals.multihost_utils, "process_allgather", made.gather)
    return made


def test_a_signal_of_another_process_stops_this_one(pair: Pair) -> None:
    request = StopRequest()
    assert not request.agreed()
    pair.other = [signal.SIGINT, 1]
    request._next = 0  # asks at once
    assert request.agreed()
    assert request.number == signal.SIGINT


def test_a_signal_that_comes_while_they_ask_waits_for_the_next_time(pair: Pair) -> None:
    """The other process does not know of it, and would go on alone."""
    request = StopRequest()

    def hear() -> None:
        request.number = signal.SIGTERM

    pair.meanwhile, pair.other = hear, [0, 1]
    assert not request.agreed()
    assert request.agreed()


def test_the_slowest_clock_says_when_they_ask_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """By our clock a call takes half a second; by the other's, a tenth of that."""
    now = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    request, asked = StopRequest(), []
    pair.other = [0, 40]
    for call in range(1, 14):
        now[0] += 0.5
        before = pair.asked
        request.agreed()
        if pair.asked > before:
            asked.append(call)
    assert asked == [1, 5, 9, 13]  # every two seconds


def test_slow_steps_are_asked_after_each(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    request = StopRequest()
    for _ in range(4):
        now[0] += 60
        request.agreed()
    assert pair.asked == 4


def test_a_process_that_lost_another_says_so_though_it_is_told_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    try:
        with pytest.raises(distributed.Lost), signals.stop_on_signal(), distributed.together():
            raise RuntimeError("Gloo all-reduce failed: Connection reset by peer")
        signal.raise_signal(signal.SIGTERM)  # as launch/local.sh does; by default it ends the process
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_errors_leave_signals_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(RuntimeError), signals.stop_on_signal(), distributed.together():
        raise RuntimeError("out of memory")
    assert signal.getsignal(signal.SIGTERM) is before
