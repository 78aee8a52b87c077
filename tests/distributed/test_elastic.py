"""A run that is resumed on another number of devices: the same global batch, the same crops in the same order."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from precision import distance, float64

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, Objective, PyTree, State

CROP = augment.CropSpec(16, min_area=0.1, rotation=30.0)


def rotnet() -> Objective:
    """With variables in float64, where programs that differ in the order of their sums agree."""
    spec = EncoderSpec("alexnet32", {}, 16, models.MEAN, models.STD)
    optimizer = optax.sgd(0.05, momentum=0.9)
    made = OBJECTIVES["rotnet"].make(Setup(spec, CROP, 100, 4, 3, optimizer, dtype="float64"))

    def init(key: jax.Array, inputs: PyTree) -> State:
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            made.init(key, inputs),
        )

    return made._replace(init=init)


def train(workdir: Path, data: loop.Data, steps: int, devices: int) -> PyTree:
    plan = loop.PretrainPlan(
        steps=steps, batch_size=4, log_every=1, eval_every=0, checkpoint_every=2, sinks=()
    )
    state = loop.train(
        rotnet(), plan, data, seed=3, workdir=workdir, config={}, devices=jax.devices()[:devices]
    )
    return jax.device_get(state.params)


def test_a_run_goes_on_with_other_devices(tmp_path: Path) -> None:
    with float64():
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        atlas = images.build_atlas([noise])
        data = loop.Data(atlas, lambda step: iter(lambda: atlas, None), lambda: [], split=False)
        before = train(tmp_path / "whole", data, 2, devices=1)
        whole = train(tmp_path / "whole", data, 4, devices=1)
        train(tmp_path / "parts", data, 2, devices=4)
        parts = train(tmp_path / "parts", data, 4, devices=1)
        assert distance(parts, whole) < 1e-9 * distance(before, whole)
        other = train(tmp_path / "back", data, 2, devices=1)
        other = train(tmp_path / "back", data, 4, devices=4)
        assert distance(other, whole) < 1e-9 * distance(before, whole)
