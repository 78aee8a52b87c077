"""Ctrl-C while Python can't hear it: answered at once, and a second one ends the process. In processes of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ssl_single_image.cli import interrupts

DEAF = """
import hashlib, signal, sys, time
from ssl_single_image.cli import interrupts

interrupts.watch()
{before}
print("ready", flush=True)
{work}
print("done", flush=True)
"""
LONG = "hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000_000)"  # like a compiler: minutes without Python
HANDLED = "for each in (signal.SIGINT, signal.SIGTERM): signal.signal(each, lambda *_: None)"
"""As a run does, which then saves and stops."""


STARTED: list[subprocess.Popen[str]] = []


def start(work: str, before: str = HANDLED) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF.format(work=work, before=before)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    STARTED.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture(autouse=True)
def _no_process_is_left() -> Iterator[None]:
    """Whatever fails."""
    yield
    for process in STARTED:
        process.kill()
        process.communicate()
    STARTED.clear()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_is_answered_and_ctrl_c_then_ends_the_process_at_once(number: signal.Signals) -> None:
    """SIGTERM may come again, as clusters send it, and the state is still saved."""
    process = start(LONG)
    assert process.stderr is not None
    process.send_signal(number)
    assert process.stderr.readline() == f"ssl-single-image: {interrupts.STOPPING}\n"
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2 * interrupts.GRACE)
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert process.returncode == 130
    assert (out, errors) == ("", f"ssl-single-image: {interrupts.AT_ONCE}\n")


def test_two_in_a_row_end_it_too() -> None:
    process = start(LONG)
    process.send_signal(signal.SIGINT)
    time.sleep(interrupts.GRACE / 3)  # of two at one time the kernel may keep only one
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, f"ssl-single-image: {interrupts.AT_ONCE}\n")


def test_what_ends_soon_is_left_to_end() -> None:
    """Python's own handler works as before, and nothing is said."""
    process = start("time.sleep(60)", "signal.signal(signal.SIGINT, lambda *_: sys.exit('ended'))")
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (1, "", "ended\n")


def test_a_forked_child_does_not_answer_for_its_parent() -> None:
    process = start(
        "import os\npid = os.fork()\nif pid == 0: signal.raise_signal(signal.SIGTERM); os._exit(0)\n"
        "os.waitpid(pid, 0); time.sleep(2 * interrupts.GRACE)"
    )
    out, errors = process.communicate(timeout=10)
    assert (process.returncode, out, errors) == (0, "done\n", "")
