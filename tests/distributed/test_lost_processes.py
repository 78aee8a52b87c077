"""Two processes, of which one is signalled, killed or cut off: what the other does, in which time, and what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import run_cli

from ssl_single_image.parallel.distributed import LOST
from ssl_single_image.runs import checkpoint

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")

NEVER = 10**6
BEAT = 8
"""Seconds of silence after which a process counts as lost."""


@contextlib.contextmanager
def joined(workdir: Path, output: Path, *overrides: str) -> Iterator[subprocess.Popen[bytes]]:
    """`pretrain` in two processes, begun when both train."""
    words = run_cli.pretrain_command(workdir, f"--config.log_every={NEVER}", *overrides)[3:]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    changes = {"SSL_SINGLE_IMAGE": program, "SSL_KILL_AFTER": "300", "SSL_PEER_TIMEOUT": str(BEAT)}
    with output.open("wb") as file:
        launcher = subprocess.Popen(
            ["bash", "launch/local.sh", "2", "--", "pretrain", *words],
            cwd=run_cli.ROOT,
            env=run_cli.environment() | changes,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: "compiled in" in output.read_text(errors="replace"), output, 300)
        yield launcher
    finally:
        for number in (0, 1):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process(launcher, number), signal.SIGKILL)
        launcher.wait(60)


def process(launcher: subprocess.Popen[bytes], number: int) -> int:
    """The process with this number."""
    wanted = f"SSL_PROCESS_ID={number}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            parent = folder.joinpath("stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == launcher.pid and wanted in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise ProcessLookupError(f"process {number}")


def wait_until(condition: object, output: Path, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, output.read_text(errors="replace")
        time.sleep(0.1)


def test_a_signal_to_one_process_stops_both_before_the_next_log(tmp_path: Path) -> None:
    steps = f"--config.steps={NEVER}"
    output = tmp_path / "output"
    with joined(tmp_path / "run", output, steps) as launcher:
        os.kill(process(launcher, 1), signal.SIGTERM)
        assert launcher.wait(180) == 128 + signal.SIGTERM
    told = output.read_text(errors="replace")
    (step,) = checkpoint.finished(tmp_path / "run" / "checkpoints")
    assert told.count(f"stopped by SIGTERM; the state of step {step} is saved") == 2


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other(tmp_path: Path, victim: int) -> None:
    output = tmp_path / "output"
    with joined(
        tmp_path / "run", output, f"--config.steps={NEVER}", "--config.checkpoint_every=1"
    ) as launcher:
        wait_until(lambda: checkpoint.finished(tmp_path / "run" / "checkpoints"), output, 60)
        os.kill(process(launcher, victim), signal.SIGKILL)
        assert launcher.wait(180) == 128 + signal.SIGKILL  # that of the first to fail
    assert output.read_text(errors="replace").count(LOST) == 1
    step = checkpoint.finished(tmp_path / "run" / "checkpoints")[-1]
    words = run_cli.pretrain_command(
        tmp_path / "run", f"--config.steps={step + 1}", f"--config.log_every={NEVER}"
    )
    resumed = run_cli.run(words)
    assert resumed.returncode == 0, resumed.stderr
    assert f"resumed from step {step}" in resumed.stderr


def test_a_silent_process_counts_as_lost(tmp_path: Path) -> None:
    """And when it wakes up, it sees that the other is gone."""
    output = tmp_path / "output"
    with joined(tmp_path / "run", output, f"--config.steps={NEVER}") as launcher:
        silent = process(launcher, 1)
        os.kill(silent, signal.SIGSTOP)
        wait_until(lambda: output.read_text(errors="replace").count(LOST) == 1, output, 5 * BEAT)
        os.kill(silent, signal.SIGCONT)
        assert launcher.wait(180) == 1
    assert output.read_text(errors="replace").count(LOST) == 2
