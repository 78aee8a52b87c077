"""What every benchmark shares: interleaved timing, versions, and the JSON that is printed."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
from tabulate import tabulate

PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch")


def parse(description: str) -> argparse.Namespace:
    """--json, --repeats; `description` is the script's docstring."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--repeats", type=int, default=9, help="timed rounds, each runs every contender once")
    return parser.parse_args()


def interleave(contenders: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each contender.

    Every round runs all of them, in turn, so that a machine that slows down slows all; each is called
    once before, to compile.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for run in contenders.values():
        jax.block_until_ready(run())
    for _ in range(repeats):
        for name, run in contenders.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(rows: Sequence[Mapping[str, Any]], as_json: bool, skipped: Sequence[str] = ()) -> None:
    """Prints the rows with what they were measured on; peak memory is that of the whole process."""
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
