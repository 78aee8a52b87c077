"""Images/s of the RotNet step with crops rendered inside it, and the share of the step that rendering takes.

The peer is the same step fed with stored crops: `ratio` is ours / theirs. `render_share` is the time of rendering
by itself over that of our step. Images are rotated views, four a crop. `python benchmarks/rotnet_step.py --json`
"""

from __future__ import annotations

from typing import Any

import common
import jax
import jax.numpy as jnp

from ssl_single_image import augment, images
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.objectives import common as objectives
from ssl_single_image.objectives import rotnet

CASES = [
    ("cifar32", "paper", 64),
    ("cifar32", "authors", 64),
    ("imagenet224", "paper", 8),
    ("imagenet224", "authors", 8),
]


def measure(size_preset: str, crop_preset: str, batch_size: int, repeats: int) -> dict[str, Any]:
    """One row: our step on an atlas against the same update on crops that were rendered before."""
    fields = pretrain_config("rotnet", preset=size_preset, image="builtin:astronaut", batch_size=batch_size)
    crop = augment.CropSpec.preset(crop_preset, fields.crop.size)
    config = configs.read("pretrain", fields).replace(crop=crop)
    setup = config.setup()
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = rotnet.make(setup)
    state = jax.jit(objective.init)(jax.random.key(0), atlas)
    crops = jnp.zeros((batch_size, crop.size, crop.size, 3)) + 0.5

    # No donation: both contenders start from the same state every time.
    ours = jax.jit(lambda s, a: objective.step(s, jax.random.key(1), a, axis_name=None))
    theirs = jax.jit(lambda s, c: rotnet.update(setup, s, jax.random.key(1), c, axis_name=None))
    render = jax.jit(lambda step, a: objectives.training_crops(setup, step, a, None))
    contenders = {
        "ours": lambda: ours(state, atlas),
        "theirs": lambda: theirs(state, crops),
        "render": lambda: render(state.step, atlas),
    }
    medians = common.interleave(contenders, repeats)
    views = rotnet.ROTATIONS * batch_size
    return {
        "case": f"{size_preset} {crop_preset} B={batch_size}",
        "peer": "stored crops",
        "ours": views / medians["ours"],
        "theirs": views / medians["theirs"],
        "ratio": medians["theirs"] / medians["ours"],
        "unit": "images/s",
        "render_share": medians["render"] / medians["ours"],
    }


def main() -> None:
    args = common.parse(__doc__ or "")
    common.report([measure(*case, args.repeats) for case in CASES], args.json)


if __name__ == "__main__":
    main()
