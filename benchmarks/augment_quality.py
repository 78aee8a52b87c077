"""How close crops are to Pillow's: the authors' chain with the same drawn parameters, 500 crops each; colour jitter.

Rows give the median and the 5th percentile of the peak signal-to-noise ratio (dB, geometry only) and the mean absolute
error of colour jitter (levels of 255). The references are those of the tests.

`python benchmarks/augment_quality.py [--json] [--image PHOTO ...]`
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path
from typing import Any

import common
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from reference import colour_jitter as colour
from reference import pillow_crops as geometry

from ssl_single_image import augment, images

SIZES = (32, 224)
JITTERED = ("astronaut", "chelsea", "coffee", "rocket")


def resample_row(name: str, size: int, count: int) -> dict[str, Any]:
    pixels = images.load_source(name)[0].pixels
    spec = augment.CropSpec.preset("authors", size).replace(**geometry.GREY)
    ratios = geometry.peak_ratios(pixels, spec, geometry.chain, count)
    return {
        "case": f"{Path(name).name} S={size}, {count} crops",
        "median": float(np.median(ratios)),
        "5th percentile": float(np.percentile(ratios, 5)),
        "unit": "dB",
    }


def jitter_row(name: str) -> dict[str, Any]:
    pixels, jitter = colour.tiles(name), colour.draws(colour.SPEC)
    got = colour.jittered(pixels, jitter, colour.SPEC)
    expected = np.stack([colour.pillow_chain(pixels[i], jitter, i) for i in range(len(pixels))])
    exact = 255 * np.stack([colour.float_chain(pixels[i] / 255, jitter, i) for i in range(len(pixels))])
    return {
        "case": f"jitter, builtin:{name}, {len(pixels)} crops",
        "mean": float(np.abs(got - expected).mean()),
        "Pillow's own rounding": float(np.abs(exact - expected).mean()),
        "unit": "/255",
    }


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", nargs="*", default=["builtin:coffee"], help="source photographs")
    parser.add_argument("--count", type=int, default=500, help="crops each")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    warnings.simplefilter("ignore", DeprecationWarning)
    rows = [resample_row(name, size, args.count) for name in args.image for size in SIZES]
    common.report([*rows, *map(jitter_row, JITTERED)], args.json)


if __name__ == "__main__":
    main()
