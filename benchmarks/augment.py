"""Crops/s of the augmentation engine against what else a user could take, all with every augmentation on.

Each peer works in a process of its own (two, where it uses one core), and the rounds are interleaved: every peer
works for `--seconds` in turn, `--repeats` times; the medians are compared. The rows "10,240 x 5,120"
compare the engine with itself, on a source of so many pixels and on one of 600 x 225.

`python benchmarks/augment.py --json --image PHOTO` (default: a photograph that comes along). The peers come with
`pip install -e '.[bench]'`; one that is not installed is left out and named in "skipped".
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np

from ssl_single_image import images

PEERS = {
    "torchvision": "the authors' chain (torchvision), 2 processes",
    "kornia": "Kornia, whole chain",
    "augmax": "augmax (no antialiasing)",
    "dm_pix": "dm_pix (no scales, no antialiasing)",
    "torch": "PyTorch, one grid_sample + colour matrix",
    "torch_compiled": "the same, torch.compile",
    "opencv": "OpenCV warpAffine + colour matrix, 2 processes",
}
SINGLE_CORE = ("torchvision", "opencv")
SIZES = ((32, 256), (224, 64))
SMALL, LARGE = (225, 600), (5120, 10240)


def worker(peer: str, size: int, batch: int, source: Path) -> common.Worker:
    words = ["augment_peers.py", peer, str(size), str(batch), str(source)]
    return common.Worker(words, processes=2 if peer in SINGLE_CORE else 1)


def against_peers(
    size: int, batch: int, source: Path, args: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of one crop size, and who was left out."""
    workers, skipped = {"ours": worker("ours", size, batch, source)}, []
    for peer in args.peers:
        try:
            workers[peer] = worker(peer, size, batch, source)
        except RuntimeError as error:
            skipped.append(f"{peer} S={size}: {error}")
    rates, _ = common.compare(workers, args.repeats, args.seconds)
    return [
        row(f"S={size} B={batch}", PEERS[peer], rates["ours"], rates[peer])
        for peer in rates
        if peer != "ours"
    ], skipped


def against_size(size: int, batch: int, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Ours on a large source against ours on a small one: `ratio` is 1 where the size doesn't matter."""
    workers = {}
    for name, shape in (("small", SMALL), ("large", LARGE)):
        np.save(folder / name, np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
        workers[name] = worker("ours", size, batch, folder / f"{name}.npy")
    rates, _ = common.compare(workers, args.repeats, args.seconds)
    return row(f"S={size} B={batch}, 10,240 x 5,120", "ours on 600 x 225", rates["large"], rates["small"])


def row(case: str, peer: str, ours: float, theirs: float) -> dict[str, Any]:
    return {
        "case": case,
        "peer": peer,
        "ours": ours,
        "theirs": theirs,
        "ratio": ours / theirs,
        "unit": "images/s",
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", default="builtin:motorcycle_left", help="the source photograph")
    parser.add_argument("--seconds", type=float, default=2.0, help="that each peer works in each round")
    parser.add_argument("--peers", nargs="*", default=list(PEERS), choices=PEERS, help="default: all")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    rows, skipped = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "source", images.load_source(args.image)[0].pixels)
        for size, batch in SIZES:
            more, left_out = against_peers(size, batch, folder / "source.npy", args)
            rows += [*more, against_size(size, batch, folder, args)]
            skipped += left_out
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
