"""Images/s and peak memory of whole probes of `alexnet32`, all five layers, against PyTorch on the same machine.

An image counts once, from its pixels to its part in the accuracy: at R images/s, an encoder on CIFAR-10 takes
60,000 / R seconds. `python benchmarks/probe.py --json`; without PyTorch (`pip install -e '.[bench]'`) ours alone is
measured. Compilation is not counted: it happens once for all encoders of a spec.
"""

from __future__ import annotations

import argparse
from typing import Any

import common
from probe_peers import CONTENDERS, FEATURES


def measure(kind: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """The row of a kind, and who could not start."""
    workers, skipped = common.start(
        {name: ["probe_peers.py", name, kind, str(args.images)] for name in CONTENDERS}
    )
    rates, peaks = common.compare(workers, args.repeats, seconds=0.01)  # one whole probe a round
    case = f"{kind}, {args.images:,} training images"
    return common.against_ours(case, "images/s", rates, peaks), skipped


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=3)
    parser.add_argument(
        "--images", type=int, default=50_000, help="training images; a fifth as many for tests"
    )
    parser.add_argument("--kinds", nargs="*", default=list(FEATURES), choices=FEATURES, help="default: all")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    rows, skipped = [], []
    for kind in args.kinds:
        more, left_out = measure(kind, args)
        rows += more
        skipped += left_out
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
