"""RotNet: the rotations and their labels, the walk through the virtual data set, and that it learns."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import Setup, common, rotnet
from ssl_single_image.types import EncoderSpec

CROP = augment.CropSpec.preset("paper", 32).replace(min_area=0.01)


@pytest.fixture(scope="module")
def atlas():
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(12, 16, 3)).cumsum(0).cumsum(1)
    smooth = 255 * (smooth - smooth.min()) / np.ptp(smooth)
    return images.build_atlas([np.kron(smooth, np.ones((8, 8, 1))).astype(np.uint8)])


def setup(crops=1000, batch_size=8):
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    return Setup(spec, CROP, crops, batch_size, seed=3, optimizer=optax.sgd(0.05, momentum=0.9))


def test_labels_count_quarter_turns_counter_clockwise():
    crops = np.random.default_rng(0).random((3, 8, 8, 3)).astype(np.float32)
    views, labels = rotnet.rotations(jnp.asarray(crops)), rotnet.rotation_labels(3)
    assert labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    for place, turns in enumerate(labels.tolist()):
        np.testing.assert_array_equal(views[place], np.rot90(crops[place % 3], turns))


def test_the_published_code_turns_the_same_way():
    """RotNet's 90 degrees is flipud of the transpose, its 270 the transpose of flipud."""
    crop = np.random.default_rng(1).random((1, 6, 6, 3)).astype(np.float32)
    views = rotnet.rotations(jnp.asarray(crop))
    np.testing.assert_array_equal(views[1], np.flipud(crop[0].transpose(1, 0, 2)))
    np.testing.assert_array_equal(views[2], np.fliplr(np.flipud(crop[0])))
    np.testing.assert_array_equal(views[3], np.flipud(crop[0]).transpose(1, 0, 2))


@pytest.mark.usefixtures("float64")
def test_an_epoch_shows_every_crop_once_and_the_next_in_another_order(atlas):
    few = setup(crops=24, batch_size=8)
    key = common.crops_key(few.seed)
    everything = jax.jit(lambda: augment.render_crops(atlas, key, jnp.arange(24), few.crop))()
    crops = jax.jit(lambda step: common.training_crops(few, step, atlas, None))
    order = []
    for step in range(6):
        distance = np.abs(np.asarray(crops(step))[:, None] - np.asarray(everything)[None]).max((2, 3, 4))
        assert distance.min(1).max() == 0
        order += distance.argmin(1).tolist()
    assert sorted(order[:24]) == sorted(order[24:]) == list(range(24))
    assert order[:24] != order[24:]


def test_held_out_crops_are_not_training_crops(atlas):
    few = setup(crops=8, batch_size=8)
    seen = np.asarray(jax.jit(lambda: common.training_crops(few, jnp.int32(0), atlas, None))())
    held_out = np.asarray(jax.jit(lambda: common.held_out_crops(few, jax.random.key(0), atlas, None))())
    assert np.abs(seen[:, None] - held_out[None]).max((2, 3, 4)).min() > 0.05


def test_training_fits_the_rotations_of_a_few_crops(atlas):
    objective = rotnet.make(setup(crops=16, batch_size=16))
    state = jax.jit(objective.init)(jax.random.key(0), atlas)
    step = jax.jit(lambda state, key: objective.step(state, key, atlas, axis_name=None))
    losses = []
    for number in range(20):
        state, metrics = step(state, jax.random.key(number))
        losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
    assert losses[0] == pytest.approx(np.log(4), abs=0.1)
    assert losses[-1] < 0.7
    assert int(state.step) == 20
    assert metrics["accuracy"][1] == 64
    encoder = objective.encoder(state)
    assert set(encoder.params) == {f"{kind}{n}" for kind in ("conv", "bn") for n in range(1, 6)}


def test_bfloat16_rounds_the_computation_and_not_what_is_learnt(atlas):
    exact, rounded = setup(), dataclasses.replace(setup(), dtype="bfloat16")
    key = jax.random.key(0)
    state = jax.jit(rotnet.make(exact).init)(key, atlas)
    steps = [
        jax.jit(partial(rotnet.make(s).step, axis_name=None))(state, key, atlas) for s in (exact, rounded)
    ]
    (_, plain), (state, metrics) = steps
    assert {x.dtype for x in jax.tree.leaves((state.params, state.batch_stats, state.opt_state))} <= {
        jnp.dtype("float32"),
        jnp.dtype("int32"),
    }
    mean, other = (float(m["loss"][0] / m["loss"][1]) for m in (plain, metrics))
    assert mean != other
    assert abs(mean - other) < 0.02
