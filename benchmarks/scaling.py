"""Weak scaling of the RotNet step over processes, each on a core of its own: does the second core double the views?

`alone` is one process on one core. `joined` is two processes on two cores that share every gradient and every statistic
of batch norm, with twice the batch. `apart` is two processes that know nothing of each other: what the two cores can do
beside each other. All take turns in one run. `python benchmarks/scaling.py --json`
"""

from __future__ import annotations

import argparse
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import common

ONE_PIECE = 0.01
"""Seconds that a contender is asked to work: so few that each process does one piece of work, and all as much."""
CORES = 2


class Team:
    """Workers that work at the same time, as `common.Worker` is used."""

    def __init__(self, members: Sequence[Sequence[str]]):
        self._pool = ThreadPoolExecutor(len(members))
        self._workers = list(self._pool.map(common.Worker, members))  # joined ones begin together

    def rate(self, seconds: float) -> float:
        """Images/s of all."""
        return sum(self._pool.map(lambda worker: worker.rate(seconds), self._workers))

    def peak_mib(self) -> float:
        """Largest resident size so far, of all together."""
        return sum(worker.peak_mib() for worker in self._workers)

    def stop(self) -> None:
        for worker in self._workers:
            worker.stop()


def teams(preset: str, crops: int) -> dict[str, list[list[str]]]:
    """Contender -> the words of each of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    cores = sorted(os.sched_getaffinity(0))[:CORES]
    if len(cores) < CORES:
        raise SystemExit(f"scaling.py: needs {CORES} cores; there is one")
    base = ["scaling_peers.py", preset]
    joined = [
        [*base, str(core), str(CORES * crops), str(CORES), str(number), port]
        for number, core in enumerate(cores)
    ]
    apart = [[*base, str(core), str(crops)] for core in cores]
    return {"alone": apart[:1], "apart": apart, "joined": joined}


def measure(preset: str, crops: int, repeats: int) -> list[dict[str, Any]]:
    """Two rows: joined processes against one of them times their number, and against processes apart."""
    rates, peaks = common.compare(
        {name: Team(words) for name, words in teams(preset, crops).items()}, repeats, ONE_PIECE
    )
    against = {f"{CORES} x one process alone": CORES * rates["alone"], f"{CORES} apart": rates["apart"]}
    return [
        {
            "case": f"{preset}, {crops} crops a process",
            "peer": peer,
            "ours": rates["joined"],
            "theirs": rate,
            "ratio": rates["joined"] / rate,
            "unit": "views/s",
            "ours_peak_mib": peaks["joined"],
        }
        for peer, rate in against.items()
    ]


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--crops", type=int, default=32, help="crops of a step in each process")
    parser.add_argument("--preset", default="cifar32", help="of the config of RotNet")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    common.report(measure(args.preset, args.crops, args.repeats), args.json)


if __name__ == "__main__":
    main()
