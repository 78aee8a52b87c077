"""Crops/s and peak memory of one BiGAN training step against PyTorch on the same machine.

The encoder is `dcgan32`, and all kernels are 4 x 4. Contenders work in processes of their own, in interleaved rounds;
PyTorch runs eager in both memory layouts. `python benchmarks/bigan_step.py --json`; without PyTorch
(`pip install -e '.[bench]'`) ours alone is measured.
"""

from __future__ import annotations

import argparse

import common
from bigan_step_peers import CONTENDERS


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=4.0, help="that each contender works in each round")
    parser.add_argument("--crops", type=int, default=128, help="crops of a step")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    workers, skipped = common.start(
        {name: ["bigan_step_peers.py", name, str(args.crops)] for name in CONTENDERS}
    )
    rates, peaks = common.compare(workers, args.repeats, args.seconds)
    rows = common.against_ours(f"dcgan32 B={args.crops}", "crops/s", rates, peaks)
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
