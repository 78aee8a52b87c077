"""What contrastive objectives share, and SimCLR: against NumPy, by hand, and on windows whose overlap is known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import Setup, common, contrast, simclr
from ssl_single_image.types import EncoderSpec, InputError, State

CROP = augment.CropSpec(24, min_area=0.02, area_law="log", jitter_probability=0.0)
OPTIONS = simclr.Options(dimension=8, hidden=16)


def setup(**changes):
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    made = Setup(spec, CROP, 50, 8, seed=3, optimizer=optax.sgd(0.05), options=OPTIONS)
    return dataclasses.replace(made, **changes)


@pytest.fixture(scope="module")
def atlas():
    rng = np.random.default_rng(0)
    return images.build_atlas([rng.integers(0, 256, (90, 120, 3)).astype(np.uint8) for _ in range(2)])


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def expected_nt_xent(z, temperature, masked):
    """Equation 1 of Chen et al., a term at a time."""
    count = len(z) // 2
    losses = []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        negatives = [
            j for j in range(2 * count) if j not in (i, partner) and not masked[i % count, j % count]
        ]
        terms = [np.exp(z[i] @ z[j] / temperature) for j in [partner, *negatives]]
        losses.append(-np.log(terms[0] / sum(terms)))
    return np.array(losses)


@pytest.mark.parametrize("masking", [False, True])
def test_nt_xent_and_its_gradient_are_those_of_the_equation(masking, float64):
    rng = np.random.default_rng(1)
    z = unit(rng.normal(size=(8, 5)))
    masked = np.zeros((4, 4), bool)
    if masking:
        masked[0, 2] = masked[2, 0] = True
        masked |= np.eye(4, dtype=bool)  # a crop overlaps with itself, and its other view stays the positive

    def mean(z):
        return simclr.nt_xent(z, jnp.asarray(masked), 0.5, None)[0].mean()

    losses, right = simclr.nt_xent(jnp.asarray(z), jnp.asarray(masked), 0.5, None)
    np.testing.assert_allclose(losses, expected_nt_xent(z, 0.5, masked), rtol=1e-12)
    gradient, direction = jax.grad(mean)(jnp.asarray(z)), rng.normal(size=z.shape)
    one, two = (expected_nt_xent(z + s * 1e-6 * direction, 0.5, masked).mean() for s in (1, -1))
    np.testing.assert_allclose((gradient * direction).sum(), (one - two) / 2e-6, rtol=1e-7)
    similar = z @ z.T - 9 * np.eye(8)
    similar[np.tile(masked, (2, 2)) & (np.roll(np.eye(8), 4, 1) == 0)] = -9
    np.testing.assert_array_equal(right, similar.argmax(1) == np.roll(np.arange(8), 4))


def rectangle(top, left, height, width, image=0):
    zero, no = jnp.zeros(1), jnp.zeros(1, bool)
    origin, extent = jnp.array([[top, left]], jnp.float32), jnp.array([[height, width]], jnp.float32)
    image, matrix = jnp.array([image]), jnp.eye(2)[None]
    return augment.Geometry(image, matrix, origin, origin, extent, zero, zero, zero, no, no)


@pytest.mark.parametrize(
    ("other", "overlap"),
    [
        (rectangle(10, 20, 40, 30), 1.0),
        (rectangle(10, 20, 20, 30), 0.5),
        (rectangle(30, 35, 40, 30), 20 * 15 / (2 * 1200 - 20 * 15)),
        (rectangle(50, 20, 10, 10), 0.0),  # they touch
        (rectangle(10, 20, 40, 30, image=1), 0.0),
    ],
)
def test_the_overlap_of_two_windows(other, overlap):
    found = augment.window_overlap(rectangle(10, 20, 40, 30), other)
    np.testing.assert_allclose(found, [[overlap]], rtol=1e-6)


def test_crops_overlap_where_their_windows_do(atlas):
    """Counted on a grid of points, from what was drawn for each crop."""
    made = setup()
    numbers = jnp.arange(30, dtype=jnp.int32)
    at = augment.crop_params(atlas, common.crops_key(made.seed), numbers, CROP).geometry
    y, x = np.mgrid[:90, :120] + 0.5
    covered = [
        (np.abs(y - (o[0] + e[0] / 2)) < e[0] / 2) & (np.abs(x - (o[1] + e[1] / 2)) < e[1] / 2)
        for o, e in zip(np.asarray(at.origin), np.asarray(at.extent), strict=True)
    ]
    counted = np.array([[(a & b).sum() / max((a | b).sum(), 1) for b in covered] for a in covered])
    counted *= np.asarray(at.image)[:, None] == np.asarray(at.image)[None]
    found = np.asarray(contrast.overlapping(made, atlas, numbers, numbers, 0.3))
    clear = np.abs(counted - 0.3) > 0.05  # the grid is coarse
    np.testing.assert_array_equal(found[clear], (counted > 0.3)[clear])
    assert 30 < found.sum() < clear.sum()
    assert not np.asarray(contrast.overlapping(made, atlas, numbers, numbers, 1.0)).any()


def test_two_views_of_a_crop_differ_and_are_drawn_from_its_own_key(atlas):
    made = setup()
    crops = common.held_out_crops(made, jax.random.key(0), atlas, None)
    spec = common.view_spec(made, 32, 0.2)
    see = jax.jit(lambda key: simclr.view(made, OPTIONS, spec, key, common.as_atlas(crops), None))
    one, again, other = see(jax.random.key(1)), see(jax.random.key(1)), see(jax.random.key(2))
    np.testing.assert_array_equal(one, again)
    assert one.shape == (8, 32, 32, 3)
    assert (np.abs(np.asarray(one) - np.asarray(other)).mean((1, 2, 3)) > 0.01).all()


def test_views_without_colours_have_their_luma_in_all_channels():
    x = np.random.default_rng(0).random((200, 2, 2, 3)).astype(np.float32)
    made = setup(batch_size=200)
    seen = np.asarray(contrast.without_colours(made, jax.random.key(0), jnp.asarray(x), 0.25, None))
    grey = (seen == seen[..., :1]).all((1, 2, 3))
    assert 30 < grey.sum() < 70
    luma = x @ np.array([0.299, 0.587, 0.114], np.float32)
    np.testing.assert_allclose(seen[grey, ..., 2], luma[grey], rtol=1e-5)
    np.testing.assert_array_equal(seen[~grey], x[~grey])
    np.testing.assert_array_equal(
        contrast.without_colours(made, jax.random.key(0), jnp.asarray(x), 0.0, None), x
    )


def test_frames_lie_just_inside_the_windows():
    edges = jnp.asarray([[1.0, 2.0, 5.0, 7.0]])
    framed = np.asarray(contrast.framed(jnp.zeros((1, 8, 8, 3)), edges, scale=4))[0]
    yellow = (framed == np.array(contrast.COLOURS[0], np.float32)).all(-1)
    rows, columns = np.nonzero(yellow.any(1))[0], np.nonzero(yellow.any(0))[0]
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (4, 19, 8, 27)
    assert not yellow[6:18, 10:26].any()


def test_windows_are_those_of_the_views(atlas):
    """A crop that is white within the window and black around it gives a white view."""
    made = setup()
    spec = augment.CropSpec(16, min_area=0.2, max_area=0.5)
    key = jax.random.key(5)
    crops = common.held_out_crops(made, jax.random.key(0), atlas, None)
    y = np.arange(24) + 0.5
    rows = []
    for top, left, bottom, right in np.asarray(contrast.windows(key, common.as_atlas(crops), spec)):
        inside = np.outer((y > top - 1) & (y < bottom + 1), (y > left - 1) & (y < right + 1))
        rows.append(np.repeat(inside[..., None], 3, -1))
    white = jnp.asarray(np.stack(rows), jnp.float32)
    assert 0.2 < float(white.mean()) < 0.8
    assert float(common.views_of(made, key, common.as_atlas(white), spec, None).min()) == 1.0


def test_fewer_crops_than_a_batch_are_refused():
    with pytest.raises(InputError, match="batch_size = 8: must be at most crops, which is 7"):
        simclr.make(setup(crops=7))


def test_the_picture_shows_crops_with_windows_and_both_views(atlas):
    objective = simclr.make(setup())
    assert objective.pictures is not None
    unused = State(jnp.int32(0), {}, {}, {}, {})
    crops, one, two = jax.eval_shape(objective.pictures, unused, jax.random.key(0), atlas)["pairs"].tiles
    assert crops.shape == one.shape == two.shape == (10, 96, 96, 3)
