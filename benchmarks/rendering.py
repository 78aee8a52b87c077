"""Share of a training step that goes into rendering: Jigsaw, SimCLR and PIRL in the presets `cifar32`.

What a step renders is compiled alone and timed in rounds with the whole step; `ratio` is its time over the step's.
`python benchmarks/rendering.py --json`
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import common
import jax
import jax.numpy as jnp

from ssl_single_image import images
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.objectives import OBJECTIVES, contrast
from ssl_single_image.objectives import common as shared
from ssl_single_image.objectives.jigsaw import objective as jigsaw
from ssl_single_image.objectives.jigsaw import tiles
from ssl_single_image.objectives.pirl import objective as pirl
from ssl_single_image.objectives.simclr import view
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas

NAMES = ("jigsaw", "simclr", "pirl")


def seen(name: str, setup: shared.Setup, key: jax.Array, crops: jax.Array) -> Any:
    """What the networks get of crops."""
    options = setup.options
    if name == "jigsaw":
        room = setup.crop.size // tiles.SIDE - options.tile
        keys = replicas.position_keys(key, setup.batch_size, None)
        return tiles.normalised(jigsaw.puzzles(options, room, crops, keys)[0])
    if name == "pirl":
        return pirl.views(setup, options, key, crops, None)
    spec = shared.view_spec(setup, options.input_size, options.view_min_area, hflip=0.5)
    atlas = shared.as_atlas(crops)
    return [setup.normalise(view(setup, options, spec, k, atlas, None)) for k in jax.random.split(key)]


def contenders(name: str) -> dict[str, Callable[[], Any]]:
    """The whole step, and its rendering."""
    setup = configs.read("pretrain", pretrain_config(name, preset="cifar32", image="builtin:coffee")).setup()
    objective = OBJECTIVES[name].make(setup)
    atlas = images.build_atlas([source.pixels for source in images.load_source("builtin:coffee")])
    state, key = jax.jit(objective.init)(jax.random.key(0), atlas), jax.random.key(1)
    step = jax.jit(lambda state, atlas: objective.step(state, key, atlas, axis_name=None))
    drawn = setup if name == "jigsaw" else contrast.plain(setup)

    @jax.jit
    def render(number: jax.Array, atlas: images.Atlas) -> Any:
        crops = shared.training_crops(drawn, number, atlas, None)
        return materialise(number >= 0, lambda crops: seen(name, setup, key, crops), crops)

    return {"step": lambda: step(state, atlas), "rendering": lambda: render(jnp.int32(0), atlas)}


def main() -> None:
    args = common.parse(__doc__ or "", lambda parser: None)
    rows = []
    for name in NAMES:
        took = common.interleave(contenders(name), args.repeats)
        ours, whole = 1e3 * took["rendering"], 1e3 * took["step"]
        rows.append(
            {
                "case": name,
                "peer": "whole step",
                "ours": ours,
                "theirs": whole,
                "ratio": ours / whole,
                "unit": "ms",
            }
        )
    common.report(rows, args.json)


if __name__ == "__main__":
    main()
