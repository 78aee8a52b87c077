"""A run that is resumed on another number of devices: the same global batch, the same crops in the same order."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from precision import distance, float64

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup, pirl
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, Objective, PyTree, State

CROP = augment.CropSpec(16, min_area=0.1, rotation=30.0)


OPTIONS = {
    "rotnet": None,
    "pirl": pirl.Options(negatives=20, dimension=8, tile=8, board=24, input_size=16),  # has a divided bank
}


def objective(name: str) -> Objective:
    """With variables in float64, where programs that differ in the order of their sums agree."""
    spec = EncoderSpec("alexnet32", {}, 16, models.MEAN, models.STD)
    setup = Setup(
        spec, CROP, 100, 4, 3, optax.sgd(0.05, momentum=0.9), dtype="float64", options=OPTIONS[name]
    )
    made = OBJECTIVES[name].make(setup)

    def init(key: jax.Array, inputs: PyTree) -> State:
        return jax.tree.map(
            lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            made.init(key, inputs),
        )

    return made._replace(init=init)


def train(name: str, workdir: Path, data: loop.Data, steps: int, devices: int) -> PyTree:
    plan = loop.PretrainPlan(
        steps=steps, batch_size=4, log_every=1, eval_every=0, checkpoint_every=2, sinks=()
    )
    state = loop.train(
        objective(name), plan, data, seed=3, workdir=workdir, config={}, devices=jax.devices()[:devices]
    )
    return jax.device_get((state.params, state.extras))


@pytest.mark.parametrize("name", OPTIONS)
def test_a_run_goes_on_with_other_devices(name: str, tmp_path: Path) -> None:
    with float64():
        noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
        atlas = images.build_atlas([noise])
        data = loop.Data(atlas, lambda step: iter(lambda: atlas, None), lambda: [], split=False)
        before = train(name, tmp_path / "whole", data, 2, devices=1)
        whole = train(name, tmp_path / "whole", data, 4, devices=1)
        train(name, tmp_path / "parts", data, 2, devices=4)
        parts = train(name, tmp_path / "parts", data, 4, devices=1)
        assert distance(parts, whole) < 1e-9 * distance(before, whole)
        other = train(name, tmp_path / "back", data, 2, devices=1)
        other = train(name, tmp_path / "back", data, 4, devices=4)
        assert distance(other, whole) < 1e-9 * distance(before, whole)
