"""Ctrl-C is answered at once, and a second one ends the process.

Python hears of a signal only between two of its own instructions, and a compilation can keep it from that for a minute.
The operating system's own handler writes to a pipe at once. A thread reads it, for compilers let other threads run.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading

STOPPING = (
    "stopping as soon as the step or compilation that is under way ends; press Ctrl-C again to stop at once"
)
AT_ONCE = "stopped at once"
GRACE = 0.3
"""Seconds within which most things have stopped, and nothing needs to be said."""


def watch() -> None:
    """Has a thread answer SIGINT and SIGTERM from now on, where Python handles them; called by the main thread."""
    heard, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are its own
    threading.Thread(target=_answer, args=(heard,), daemon=True).start()


def _answer(heard: int) -> None:
    _next(heard, signal.SIGINT, signal.SIGTERM)
    if not select.select([heard], [], [], GRACE)[0]:
        _say(STOPPING)
    _next(heard, signal.SIGINT)  # by a person; a cluster repeats SIGTERM, and the state is still to be saved
    _say(AT_ONCE)
    os._exit(128 + signal.SIGINT)


def _next(heard: int, *wanted: int) -> None:
    """Waits for one of these signals."""
    while os.read(heard, 1)[0] not in wanted:
        pass


def _say(text: str) -> None:
    before = "\n" if os.isatty(2) else ""  # a moving line may be there
    with contextlib.suppress(OSError):  # nobody may be there to read it
        os.write(2, f"{before}ssl-single-image: {text}\n".encode())
