"""PIRL: its bank and losses against NumPy, whom a crop is compared with, and the same bits after a resume."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import Setup, common, pirl
from ssl_single_image.objectives.pirl import bank
from ssl_single_image.objectives.pirl import objective as module
from ssl_single_image.parallel import Shards, replicas
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import EncoderSpec, InputError, State

CROP = augment.CropSpec(24, min_area=0.02, area_law="log", jitter_probability=0.0)
OPTIONS = pirl.Options(negatives=20, dimension=8, tile=8, board=30)


def setup(options=OPTIONS, **changes):
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    made = Setup(spec, CROP, 50, 8, seed=3, optimizer=optax.sgd(0.05), options=options)
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def atlas():
    rng = np.random.default_rng(0)
    return images.build_atlas([rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_entries_begin_with_length_one_in_all_directions():
    entries = np.asarray(bank.fresh(jax.random.key(0), 4000, 16))
    np.testing.assert_allclose(np.linalg.norm(entries, axis=1), 1, rtol=1e-5)
    assert np.abs(entries.mean(0)).max() < 0.02
    assert [bank.rows(50, 8), bank.rows(48, 8)] == [56, 48]


def test_a_seen_entry_moves_and_keeps_its_length_and_others_stay(float64):
    rng = np.random.default_rng(0)
    entries, seen = unit(rng.normal(size=(10, 4))), unit(rng.normal(size=(3, 4)))
    numbers = np.array([7, 0, 7], np.int32)  # the seventh comes twice, and is moved once, by the first
    moved = bank.moved(
        jnp.asarray(entries), jnp.asarray(numbers), entries[numbers], jnp.asarray(seen), 0.25, None
    )
    expected = entries.copy()
    for number, by in ((7, 0), (0, 1)):
        expected[number] = unit(0.25 * entries[number] + 0.75 * seen[by])
    np.testing.assert_allclose(moved, expected, rtol=1e-12)


def test_rows_are_put_into_the_share_that_holds_them():
    """Four shares of three rows, by vmap in place of devices."""
    x, rows = np.zeros((4, 3, 2), np.float32), np.arange(6, dtype=np.float32).reshape(3, 2) + 1
    numbers = np.array([11, 4, 99], np.int32)
    put = jax.vmap(
        lambda part: replicas.put(part, jnp.asarray(numbers), jnp.asarray(rows), "d"), axis_name="d"
    )(x)
    expected = np.zeros((12, 2), np.float32)
    expected[11], expected[4] = rows[0], rows[1]
    np.testing.assert_array_equal(np.asarray(put).reshape(12, 2), expected)


def logits_and_mask(rng):
    logits = rng.normal(size=(5, 8))
    left_out = rng.random((5, 8)) < 0.3
    left_out[:, 0] = False
    return logits, left_out


def test_infonce_is_the_cross_entropy_of_the_positive(float64):
    logits, left_out = logits_and_mask(np.random.default_rng(0))
    losses, right = bank.info_nce(jnp.asarray(logits), jnp.asarray(left_out))
    terms = np.where(left_out, 0, np.exp(logits))
    np.testing.assert_allclose(losses, -np.log(terms[:, 0] / terms.sum(1)), rtol=1e-12)
    np.testing.assert_array_equal(right, terms.argmax(1) == 0)


def test_nce_is_that_of_the_equations(float64):
    crops, (logits, left_out) = 90, logits_and_mask(np.random.default_rng(1))
    z = np.exp(logits).mean() * crops
    log_normaliser = bank.first_normaliser(jnp.asarray(logits), crops, None)
    np.testing.assert_allclose(log_normaliser, np.log(z), rtol=1e-12)
    p = np.exp(logits) / z
    h = p / (p + 7 / crops)
    expected = -np.log(h[:, 0]) - np.where(left_out, 0, np.log(1 - h))[:, 1:].sum(1)
    found = bank.nce(jnp.asarray(logits), jnp.asarray(left_out), log_normaliser, crops)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def state_with(entries, step=0):
    return State(jnp.int32(step), {}, {}, {}, {module.BANK: Shards(jnp.asarray(entries))})


@pytest.mark.parametrize("threshold", [1.0, 0.3])
def test_no_crop_is_compared_with_itself_nor_with_those_that_overlap(atlas, threshold):
    """Entry i of the bank is the number i, so that the negatives tell who they are."""
    options = OPTIONS.replace(negatives=49, mask_overlap=threshold)
    made = setup(options)
    state = state_with(np.arange(56, dtype=np.float32)[:, None], step=2)
    compared = jax.jit(lambda: module.compare(made, options, state, jax.random.key(4), atlas, None))()
    own = np.asarray(common.training_indices(made, jnp.int32(2), None))
    np.testing.assert_array_equal(compared.positives[:, 0], own)
    others = np.asarray(compared.negatives)[:, 0].astype(np.int32)
    assert len(others) == 49
    assert others.max() < 50  # rows beyond the crops are nobody's
    assert np.isin(own, others).any()
    key = common.crops_key(made.seed)
    one, two = (augment.crop_params(atlas, key, jnp.asarray(some), CROP).geometry for some in (own, others))
    expected = np.asarray(augment.window_overlap(one, two)) > threshold
    np.testing.assert_array_equal(compared.left_out[:, 1:], expected | (own[:, None] == others[None]))
    assert not compared.left_out[:, 0].any()


def test_logits_are_cosines_over_the_temperature_the_positive_first(float64):
    rng = np.random.default_rng(0)
    z, positives, negatives = (unit(rng.normal(size=(n, 4))) for n in (3, 3, 5))
    nothing = np.zeros((3, 6), bool)
    compared = module.Compared(*map(jnp.asarray, (positives, negatives, nothing)))
    expected = np.concatenate([np.diag(z @ positives.T)[:, None], z @ negatives.T], 1) / 0.1
    np.testing.assert_allclose(compared.logits(jnp.asarray(z), 0.1), expected, rtol=1e-12)


def test_tiles_are_those_of_the_board_in_a_random_order(atlas):
    """Each tile is found in the board, mirrored or not, at one of the nine places."""
    options = OPTIONS.replace(grey=0.0, tile=10)
    made, key = setup(options), jax.random.key(1)

    @jax.jit
    def both(key):
        crops = common.held_out_crops(made, jax.random.key(0), atlas, None)
        board_key = jax.random.split(key, 4)[0]
        seen = common.as_atlas(crops)
        boards = common.views_of(made, board_key, seen, module.board_spec(made, options), None)
        return boards, module.tile_views(made, options, key, seen, None)

    boards, tiles = (np.asarray(x) for x in both(key))
    assert tiles.shape == (8, 9, 10, 10, 3)
    cells = boards.reshape(8, 3, 10, 3, 10, 3).transpose(0, 1, 3, 2, 4, 5).reshape(8, 9, 10, 10, 3)
    orders = set()
    for own, shown in zip(cells, tiles, strict=True):
        apart = [np.abs(own[:, None] - each[None]).max((2, 3, 4)) for each in (shown, shown[:, :, ::-1])]
        found = np.minimum(*apart).argmin(1)
        assert np.minimum(*apart).min(1).max() < 1.01 / 255  # boards are kept in 8 bits
        assert sorted(found) == list(range(9))
        orders.add(tuple(found))
    assert len(orders) > 6


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        (OPTIONS.replace(negatives=50), {}, "negatives = 50: must be less than crops, which is 50"),
        (OPTIONS.replace(negatives=5), {"crops": 7}, "batch_size = 8: must be at most crops"),
        (OPTIONS.replace(tile=6), {}, "alexnet32: an input of 6 pixels is too small"),
        (
            OPTIONS,
            {"crops": 2**32 - 1},
            r"4 x crops x objective_options.dimension = 137\.4 GB.*have 10\.0 GB",
        ),
    ],
)
def test_what_does_not_fit_is_refused(options, changes, message, monkeypatch):
    monkeypatch.setattr("ssl_single_image.parallel.memory_limit", lambda devices: 10e9 / len(devices))
    with pytest.raises(InputError, match=message):
        pirl.make(setup(options, **changes))


def test_tiles_larger_than_their_cells_are_refused():
    with pytest.raises(InputError, match="tile = 11: a board of 30 pixels has cells of 10"):
        OPTIONS.replace(tile=11)


@pytest.fixture(scope="module", params=["infonce", "nce"])
def run(request, atlas):
    """A compiled step and the states after none, one and two of them."""
    objective = pirl.make(setup(OPTIONS.replace(loss=request.param)))
    step = jax.jit(
        lambda state: objective.step(
            state, jax.random.fold_in(jax.random.key(1), state.step), atlas, axis_name=None
        )[0]
    )
    states = [jax.jit(objective.init)(jax.random.key(0), atlas)]
    for _ in range(2):
        states.append(step(states[-1]))
    return objective, step, states


def test_a_step_moves_the_entries_of_its_crops_alone(run):
    _, _, states = run
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        one, two = (np.asarray(state.extras[module.BANK].parts) for state in (before, after))
        moved = np.nonzero((one != two).any(1))[0]
        own = np.asarray(common.training_indices(setup(), jnp.int32(number), None))
        np.testing.assert_array_equal(moved, np.sort(own))
        np.testing.assert_allclose(np.linalg.norm(two, axis=1)[:50], 1, rtol=1e-5)


def test_the_normaliser_is_that_of_the_first_step(run):
    _, _, states = run
    held = [state.extras.get(module.NORMALISER) for state in states]
    if held[0] is not None:
        np.testing.assert_array_equal(held[1], held[2])
        assert (np.asarray(held[1]) > 0).all()


def test_a_resumed_run_has_the_same_bits_with_its_bank(run, atlas, tmp_path):
    objective, step, states = run
    store = CheckpointStore(tmp_path)
    store.save(states[1], objective.encoder(states[1]), {}, {})
    store.wait()
    restored = store.restore(jax.eval_shape(objective.init, jax.random.key(0), atlas))
    store.close()
    assert str(jax.tree.structure(restored)) == str(jax.tree.structure(states[1]))
    for ours, theirs in zip(jax.tree.leaves(step(restored)), jax.tree.leaves(states[2]), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_picture_shows_crops_images_and_tiles(atlas):
    unused = State(jnp.int32(0), {}, {}, {}, {})
    objective = pirl.make(setup())
    assert objective.pictures is not None
    shown = jax.eval_shape(objective.pictures, unused, jax.random.key(0), atlas)["pairs"].tiles
    assert [x.shape for x in shown] == [(10, 96, 96, 3)] * 3
