"""Two steps of a small RotNet in float64, over all processes that the environment names: `joined_steps.py FILE`."""

from __future__ import annotations

import sys
from typing import Any

import jax
import numpy as np
import optax

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup
from ssl_single_image.parallel import compile_step, distributed
from ssl_single_image.types import EncoderSpec


def parameters() -> list[list[np.ndarray]]:
    """All parameters before the first step and after each; needs JAX's x64 mode."""
    crop = augment.CropSpec(16, min_area=0.1, rotation=30.0)
    spec = EncoderSpec("alexnet32", {}, 16, models.MEAN, models.STD)
    optimizer = optax.sgd(0.05, momentum=0.9)
    setup = Setup(spec, crop, 100, 4, 3, optimizer, dtype="float64", view_hflip=0.5)
    objective = OBJECTIVES["rotnet"].make(setup)
    atlas = images.build_atlas(
        [np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)],
    )
    state: Any = jax.jit(objective.init)(jax.random.key(0), atlas)
    state = jax.tree.map(
        lambda x: np.asarray(x, np.float64) if x.dtype == np.float32 else np.asarray(x), state
    )
    step = compile_step(objective.step, split_inputs=False, devices=None)
    taken = [jax.tree.leaves(state.params)]
    for _ in range(2):
        state, _ = step(state, jax.random.key(1), atlas)
        state = jax.device_get(state)
        taken.append(jax.tree.leaves(state.params))
    return taken


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    distributed.initialize()
    flat = [np.concatenate([np.ravel(leaf) for leaf in leaves]) for leaves in parameters()]
    if jax.process_index() == 0:
        np.save(sys.argv[1], np.stack(flat))
