"""Images/s and peak memory of one training step against PyTorch on the same machine: RotNet's, and other objectives'.

Contenders work in processes of their own, in interleaved rounds; PyTorch runs eager and compiled, in both memory
layouts, and its best counts. RotNet's images are rotated views, four a crop. Jigsaw's are nine tiles of 12 px a crop,
and PIRL has one of 32 px beside such tiles. `resnet18` and `efficientnet_b0` have the stem for 32-px crops.
`python benchmarks/train_step.py --json`; without PyTorch (`pip install -e '.[bench]'`) ours alone is measured.
"""

from __future__ import annotations

import argparse
from typing import Any

import common
from train_step_peers import CONTENDERS, OBJECTIVES

CASES = {"small4": 32, "alexnet32": 32, "nin": 32, "alexnet": 8, "resnet18": 32, "efficientnet_b0": 16}
CASES |= {"jigsaw": 64, "simclr": 128, "pirl": 64}
"""Network, or objective on alexnet32 -> crops a step."""


def measure(network: str, args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[str]]:
    """A row for each of PyTorch's ways, its best first, and who could not start."""
    crops = CASES[network]
    workers, skipped = common.start(
        {name: ["train_step_peers.py", name, network, str(crops)] for name in CONTENDERS}
    )
    rates, peaks = common.compare(workers, args.repeats, args.seconds)
    images = OBJECTIVES.get(network, 4) * crops
    return common.against_ours(f"{network} B={images}", "images/s", rates, peaks), skipped


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="that each contender works in each round")
    parser.add_argument("--networks", nargs="*", default=list(CASES), choices=CASES, help="default: all")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    rows, skipped = [], []
    for network in args.networks:
        more, left_out = measure(network, args)
        rows += more
        skipped += left_out
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
