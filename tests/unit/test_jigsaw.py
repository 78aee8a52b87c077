"""Jigsaw: the sets of permutations, where tiles come from and go to, and that puzzles are solved by what is seen."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import Setup, find, jigsaw
from ssl_single_image.objectives.jigsaw import objective as module
from ssl_single_image.objectives.jigsaw import tiles
from ssl_single_image.objectives.jigsaw.permutations import choose, permutations
from ssl_single_image.types import EncoderSpec, InputError, State

CROP = augment.CropSpec(30, min_area=0.2, jitter_probability=0.0)
OPTIONS = jigsaw.Options(permutations=4, tile=8, chromatic=0, grey=0.0, tile_features=16, hidden=32)


def setup(options=OPTIONS, **changes):
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    made = Setup(spec, CROP, 1000, 8, seed=3, optimizer=optax.sgd(0.05, momentum=0.9), options=options)
    return dataclasses.replace(made, **changes)


def distances(rows):
    each = (rows[:, None] != rows[None]).sum(-1)
    return each[np.triu_indices(len(rows), 1)]


@pytest.mark.parametrize(("count", "nearest"), [(24, 7), (64, 7), (100, 6), (1000, 5)])
def test_the_nearest_permutations_of_a_set_are_as_far_apart_as_is_known(count, nearest):
    rows = permutations(count, "max_min")
    assert rows.shape == (count, 9)
    assert (np.sort(rows, 1) == np.arange(9)).all()
    assert distances(rows).min() == nearest


def test_the_first_nine_of_the_largest_mean_are_a_latin_square():
    rows = permutations(9, "max_avg")
    for position in range(9):
        assert sorted(rows[:, position]) == list(range(9))
    assert distances(permutations(64, "max_avg")).min() == 2  # its known flaw


@pytest.mark.parametrize("rule", ["max_min", "max_avg"])
def test_the_table_is_what_the_choice_gives(rule):
    np.testing.assert_array_equal(choose(30, rule), permutations(30, rule))
    np.testing.assert_array_equal(permutations(1000, rule)[:30], permutations(30, rule))


def numbered(side=30):
    """A crop whose cell n has the grey n / 10, and a darker pixel in its upper left corner."""
    cell = side // 3
    grey = np.kron(np.arange(9).reshape(3, 3) / 10 + 0.05, np.ones((cell, cell)))
    grey[::cell, ::cell] -= 0.03
    return np.repeat(grey[None, :, :, None], 3, -1).astype(np.float32)


def drawn(label=0, offset=(0, 0), shift=((0, 0),) * 3, grey=False):
    offsets = np.broadcast_to(np.asarray(offset, np.int32), (1, 9, 2))
    return tiles.Draw(
        jnp.asarray([label], jnp.int32),
        jnp.asarray(offsets),
        jnp.asarray([shift], jnp.int32),
        jnp.asarray([grey]),
    )


def test_tiles_are_cut_row_by_row_and_place_k_shows_the_tile_that_the_permutation_names():
    shown = tiles.cut(jnp.asarray(numbered()), drawn(), 8)
    assert shown.shape == (1, 9, 8, 8, 3)
    order = jnp.asarray([[7, 5, 1, 6, 2, 3, 8, 0, 4]], jnp.int32)
    seen = np.asarray(tiles.arranged(shown, order))[0, :, 4, 4, 0]
    np.testing.assert_allclose(seen, np.array([7, 5, 1, 6, 2, 3, 8, 0, 4]) / 10 + 0.05, rtol=1e-6)
    corner = np.asarray(shown)[0, :, 0, 0, 0]
    np.testing.assert_allclose(corner, np.arange(9) / 10 + 0.02, rtol=1e-5)


def test_offsets_and_shifts_of_channels_move_the_window_down_and_right():
    noise = np.random.default_rng(0).random((1, 30, 30, 3)).astype(np.float32)
    shift = ((0, 0), (1, 0), (0, 1))
    shown = np.asarray(tiles.cut(jnp.asarray(noise), drawn(offset=(1, 0), shift=shift), 8))
    for number in range(9):
        for channel, (down, right) in enumerate(shift):
            y, x = 10 * (number // 3) + 1 + down, 10 * (number % 3) + right
            np.testing.assert_array_equal(
                shown[0, number, :, :, channel], noise[0, y : y + 8, x : x + 8, channel]
            )


def test_a_puzzle_without_colours_has_the_luma_in_all_channels():
    noise = np.random.default_rng(0).random((1, 30, 30, 3)).astype(np.float32)
    shown = np.asarray(tiles.cut(jnp.asarray(noise), drawn(grey=True), 8))
    luma = noise @ np.array([0.299, 0.587, 0.114], np.float32)
    for channel in range(3):
        np.testing.assert_allclose(shown[0, 4, :, :, channel], luma[0, 10:18, 10:18], rtol=1e-5)


def test_each_channel_of_each_tile_is_normalised_and_a_flat_one_is_nothing():
    noise = np.random.default_rng(1).normal(3, 2, (2, 9, 8, 8, 3)).astype(np.float32)
    noise[0, 3, :, :, 1] = 0.25
    faint = noise[1, 0, :, :, 2] = 0.25 + 2e-4 * np.sign(noise[1, 0, :, :, 0])
    x = np.asarray(tiles.normalised(jnp.asarray(noise)))
    flat = np.zeros((2, 9, 3), bool)
    flat[0, 3, 1] = flat[1, 0, 2] = True
    np.testing.assert_allclose(x.mean((2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(x.std((2, 3))[~flat], 1, rtol=1e-5)
    np.testing.assert_array_equal(x[0, 3, :, :, 1], 0)
    np.testing.assert_allclose(x[1, 0, :, :, 2], faint - faint.mean(), atol=1e-6)  # rounding is not blown up


def test_draws_cover_their_ranges_and_stay_in_the_cell():
    keys = jax.random.split(jax.random.key(0), 2000)
    some = jax.vmap(lambda key: tiles.draw(key, 5, room=4, chromatic=1, grey=0.25))(keys)
    assert set(np.unique(some.label)) == set(range(5))
    assert set(np.unique(some.offset)) == set(range(4))
    assert set(np.unique(some.shift)) == {0, 1}
    assert abs(np.asarray(some.grey).mean() - 0.25) < 0.04
    together = np.asarray(some.offset)[:, :, None] + np.asarray(some.shift)[:, None]
    assert together.max() == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (OPTIONS.replace(tile=10, chromatic=1), "crop of 30 pixels has cells of 10.*tiles of at most 9"),
        (OPTIONS.replace(tile=11), "tiles of at most 10"),
        (OPTIONS.replace(tile=6), "alexnet32"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        jigsaw.make(setup(options))


@pytest.mark.parametrize("count", [1, 362_881, 10_001])
def test_a_number_of_permutations_that_there_is_not_is_refused(count):
    with pytest.raises(InputError, match=f"permutations = {count}"):
        jigsaw.Options(permutations=count)


@pytest.fixture(scope="module")
def atlas():
    """A smooth ramp: where a tile lies can be seen in it."""
    y, x = np.mgrid[:90, :120]
    ramp = np.stack([2 * x, 2.5 * y, 60 + x + y], -1)
    return images.build_atlas([ramp.clip(0, 255).astype(np.uint8)])


def trained(atlas, options, steps):
    """Accuracy on held-out puzzles of an easy image."""
    objective = jigsaw.make(setup(options, crop=CROP.replace(rotation=0.0, hflip=0.0), batch_size=32))
    state = jax.jit(objective.init)(jax.random.key(0), atlas)
    step = jax.jit(lambda state, key: objective.step(state, key, atlas, axis_name=None))
    for number in range(steps):
        state, _ = step(state, jax.random.key(number))
    evaluate = jax.jit(lambda state, key: objective.evaluate(state, key, atlas, axis_name=None))
    measured = [evaluate(state, jax.random.key(1000 + number))["accuracy"] for number in range(4)]
    right, count = (sum(float(pair[i]) for pair in measured) for i in (0, 1))
    return right / count


@pytest.mark.slow
def test_puzzles_are_solved_by_what_is_in_the_tiles_and_not_by_where_they_come_from(atlas):
    """Tiles in their colours tell where they lie in a ramp; nine equal tiles tell nothing, and end at chance."""
    plain, chance = OPTIONS.replace(normalise=False, permutations=64), 1 / 64
    assert trained(atlas, plain, 60) > 10 * chance
    assert (
        trained(atlas, plain.replace(equal_tiles=True), 60) < 4 * chance
    )  # of 128: four standard deviations


def test_the_encoder_is_that_of_the_size_that_probes_use(atlas):
    made = setup()
    objective = jigsaw.make(made)
    state = jax.jit(objective.init)(jax.random.key(0), atlas)
    encoder = objective.encoder(state)
    assert encoder.spec.size == 32
    assert find("jigsaw").input_size(CROP, OPTIONS) == 32
    assert objective.views == 9
    assert models.activation_shapes(encoder.spec)["conv1"][:2] == (32, 32)


def test_the_picture_shows_crops_and_their_tiles(atlas):
    made, unused = setup(), State(jnp.int32(0), {}, {}, {}, {})
    pictures = module.picture(made, OPTIONS, 2, unused, jax.random.key(0), atlas)
    crops, boards = pictures["puzzles"].tiles
    assert crops.shape == (10, 30, 30, 3)
    assert boards.shape == (10, 30, 30, 3)
    assert float(boards.min()) >= 0
