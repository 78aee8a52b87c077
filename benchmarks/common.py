"""What every benchmark shares: interleaved timing, versions, and the JSON that is printed."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tabulate import tabulate

from ssl_single_image.cli.host import HUGE_PAGES, XLA_FLAGS

PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "numpy",
    "torch",
    "torchvision",
    "kornia",
    "augmax",
    "dm-pix",
    "opencv-python-headless",
    "faiss-cpu",
    "scikit-learn",
)


def parse(
    description: str, add: Callable[[argparse.ArgumentParser], object] = lambda parser: None
) -> argparse.Namespace:
    """--json, --repeats and what `add` adds to the parser; `description` is the script's docstring."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds, each runs every contender once")
    add(parser)
    return parser.parse_args()


def interleave(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each contender.

    Every round runs all of them, in turn, so that a machine that slows down slows all; each is called
    once before, to compile.
    """
    import jax  # here, not above: a worker of another library must not carry it

    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        jax.block_until_ready(run())
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


class Worker:
    """The processes of one contender, for those that must not share a process (or its threads) with others.

    `benchmarks/SCRIPT` says "ready" when it is compiled and warm; then, for each line with a number of seconds
    on stdin, it works that long and prints images/s.

    Raises:
      RuntimeError: it could not start; the last line that it printed.
    """

    def __init__(self, words: Sequence[str], processes: int = 1):
        script, *arguments = words
        command = [sys.executable, str(Path(__file__).with_name(script)), *arguments]
        # Idle threads of a library must sleep: spinning ones would slow the next contender. All get what the
        # command line gives itself.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
        environment |= {"GLIBC_TUNABLES": HUGE_PAGES, "XLA_FLAGS": XLA_FLAGS}
        self._errors = [tempfile.TemporaryFile("w+") for _ in range(processes)]  # noqa: SIM115 (they live as long as the processes)
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
        self._processes: list[Any] = [subprocess.Popen(command, stderr=e, **pipes) for e in self._errors]
        for process, errors in zip(self._processes, self._errors, strict=True):
            if process.stdout.readline().strip() != "ready":
                self.stop()
                errors.seek(0)
                raise RuntimeError((errors.read().strip().splitlines() or ["died"])[-1])

    def rate(self, seconds: float) -> float:
        """Images/s of all its processes, which work at the same time."""
        for process in self._processes:
            process.stdin.write(f"{seconds}\n")
            process.stdin.flush()
        return sum(float(process.stdout.readline()) for process in self._processes)

    def peak_mib(self) -> float:
        """Largest resident size so far of its processes, added up, in MiB."""
        status = [Path(f"/proc/{process.pid}/status").read_text() for process in self._processes]
        return sum(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


class Contender(Protocol):
    """What takes part in `compare`: a `Worker`, or several that work together."""

    def rate(self, seconds: float) -> float: ...
    def peak_mib(self) -> float: ...
    def stop(self) -> None: ...


def serve(work: Callable[[int], int]) -> None:
    """The worker's side: `work(k)` does a piece of work and returns how many images that were."""
    work(0)
    print("ready", flush=True)
    number = 1
    for line in sys.stdin:
        start, images = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            images += work(number)
            number += 1
        print(images / (time.perf_counter() - start), flush=True)


def compare(
    workers: Mapping[str, Contender], repeats: int, seconds: float
) -> tuple[dict[str, float], dict[str, float]]:
    """Median images/s of each, from interleaved rounds, and their peak MiB; the workers are stopped afterwards."""
    rates: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(repeats):
        for name, worker in workers.items():
            rates[name].append(worker.rate(seconds))
    peaks = {name: worker.peak_mib() for name, worker in workers.items()}
    for worker in workers.values():
        worker.stop()
    return {name: statistics.median(values) for name, values in rates.items()}, peaks


def start(contenders: Mapping[str, Sequence[str]]) -> tuple[dict[str, Worker], list[str]]:
    """The workers of those that start, and a line on each of the others.

    Args:
      contenders: name -> script and its arguments.
    """
    workers, skipped = {}, []
    for name, words in contenders.items():
        try:
            workers[name] = Worker(words)
        except RuntimeError as error:
            skipped.append(f"{' '.join(words[1:])}: {error}")
    return workers, skipped


def against_ours(
    case: str, unit: str, rates: Mapping[str, float], peaks: Mapping[str, float]
) -> list[dict[str, Any]]:
    """A row for each of PyTorch's ways, its best first, from what `compare` gives; one row without it."""
    peers = sorted((name for name in rates if name != "ours"), key=lambda name: -rates[name])
    return [
        {
            "case": case,
            "peer": f"PyTorch {peer}" if peer else "",
            "ours": rates["ours"],
            "theirs": rates.get(peer),
            "ratio": rates["ours"] / rates[peer] if peer else None,
            "unit": unit,
            "ours_peak_mib": peaks["ours"],
            "theirs_peak_mib": peaks.get(peer),
        }
        for peer in peers or [""]
    ]


def report(rows: Sequence[Mapping[str, Any]], as_json: bool, skipped: Sequence[str] = ()) -> None:
    """Prints the rows with what they were measured on; peak memory is that of the whole process."""
    import jax

    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    device = jax.devices()[0]
    result = {
        "versions": versions,
        "device": f"{device.platform} {device.device_kind}",
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "rows": list(rows),
        "skipped": list(skipped),
    }
    if as_json:
        print(json.dumps(result))
        return
    print(tabulate(rows, headers="keys", floatfmt=".3g"))
    print(", ".join(f"{k} {v}" for k, v in versions.items()), "|", result["device"])
