"""Commands that run as processes of their own, some at a time, until all have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from ssl_single_image.analysis import tables
from ssl_single_image.cli import sharing
from ssl_single_image.errors import Halted
from ssl_single_image.runs import workdir

POLL = 0.2
"""Seconds between two looks at the processes."""


class Pool:
    """Runs commands by name, `workers` at a time."""

    def __init__(self, workers: int, logs: Path):
        self._workers, self._logs = workers, logs
        self._devices = sharing.devices() if workers > 1 else []
        self._running: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self.failed: dict[str, int] = {}
        self.stopped: int | None = None

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Passes a signal on, and begins nothing more."""
        del frame
        self.stopped = number
        for _, process in self._running.values():
            process.send_signal(number)

    def run(self, commands: Mapping[str, Sequence[str]]) -> None:
        """Until all have ended, or those that run have after a signal."""
        waiting = dict(commands)
        while self._running or (waiting and self.stopped is None):
            free = [number for number in range(self._workers) if number not in self._running]
            if free and waiting and self.stopped is None:
                name = next(iter(waiting))
                process = self._begin(free[0], name, waiting.pop(name))
                self._running[free[0]] = name, process
                if self.stopped is not None:  # since it began, and it was not told
                    process.send_signal(self.stopped)
            else:
                self._reap()

    def _begin(self, worker: int, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        sys.stderr.write(f"{name}: begins\n")
        share = sharing.share_of(self._devices, worker)
        with self._output(name) as output:
            process = subprocess.Popen(
                command,
                env=os.environ | share,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                process_group=0,  # Ctrl-C comes to this process alone, which passes it on once
            )
        if self._workers > 1 and not self._devices:
            sharing.keep_to_cores(process.pid, worker, self._workers)
        return process

    @contextlib.contextmanager
    def _output(self, name: str) -> Iterator[IO[bytes] | None]:
        """The log of a command that runs beside others; a single one writes to the terminal."""
        if self._workers == 1:
            yield None
            return
        workdir.make(self._logs)
        with (self._logs / f"{name}.log").open("ab") as file:
            yield file

    def _reap(self) -> None:
        for worker, (name, process) in list(self._running.items()):
            if (status := process.poll()) is None:
                continue
            del self._running[worker]
            status = status if status >= 0 else 128 - status
            sys.stderr.write(f"{name}: {'complete' if status == 0 else f'ended with status {status}'}\n")
            if status:
                self.failed[name] = status
            return
        time.sleep(POLL)


def run(commands: Mapping[str, Sequence[str]], workers: int, logs: Path) -> None:
    """Runs all commands, `workers` at a time. One that fails does not stop the others.

    Args:
      commands: name -> words.
      workers: each gets its part of the accelerators or of the cores.
      logs: folder of NAME.log, where several run at once.

    Raises:
      Halted: some failed, with status 1; or SIGINT or SIGTERM came, which was passed on.
    """
    pool = Pool(workers, logs)
    before = {number: signal.signal(number, pool.stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        pool.run(commands)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if pool.stopped is not None:
        name = signal.Signals(pool.stopped).name
        raise Halted(f"stopped by {name}; the same command goes on with what is left", 128 + pool.stopped)
    if pool.failed:
        told = tables.listed([f"{name} (status {status})" for name, status in pool.failed.items()], 3)
        where = f"; logs are in {logs}" if workers > 1 else ""
        raise Halted(f"{len(pool.failed)} of {len(commands)} points failed: {told}{where}", 1)
