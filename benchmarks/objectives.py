"""Images/s of one training step of each objective, crops rendered inside, beside RotNet's.

Everything is as in the presets of `configs/pretrain`; RotNet's images are rotated views, four a crop. `ratio` is the
objective's images/s over RotNet's. `python benchmarks/objectives.py --json`
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import common
import jax

from ssl_single_image import images
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.objectives import OBJECTIVES

PEER = "rotnet"


def contender(objective: str, preset: str) -> tuple[Callable[[], Any], int]:
    """A step from the same state each time, and how many images it sees."""
    config = configs.read("pretrain", pretrain_config(objective, preset=preset, image="builtin:coffee"))
    setup = config.setup()
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    made = OBJECTIVES[objective].make(setup)
    state = jax.jit(made.init)(jax.random.key(0), atlas)
    step = jax.jit(lambda state: made.step(state, jax.random.key(1), atlas, axis_name=None))
    return lambda: step(state), made.views * config.batch_size


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="cifar32", choices=("cifar32", "imagenet224"))


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    made = {name: contender(name, args.preset) for name, entry in OBJECTIVES.items() if not entry.labelled}
    medians = common.interleave({name: run for name, (run, _) in made.items()}, args.repeats)
    rates = {name: count / medians[name] for name, (_, count) in made.items()}
    common.report(
        [
            {
                "case": f"{name} {args.preset}",
                "peer": PEER,
                "ours": rate,
                "theirs": rates[PEER],
                "ratio": rate / rates[PEER],
                "unit": "images/s",
            }
            for name, rate in rates.items()
            if name != PEER
        ],
        args.json,
    )


if __name__ == "__main__":
    main()
