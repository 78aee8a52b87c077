"""Thin-plate splines against SciPy's, and warped pictures against pictures that are known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RBFInterpolator

from ssl_single_image.analysis.invariance import pairs, thin_plate, warped_landmarks

RNG = np.random.default_rng(0)


def test_splines_are_scipys() -> None:
    centres, targets = RNG.random((2, 3, 10, 2))
    splines = thin_plate.fit(centres, targets)
    points = RNG.random((50, 2))
    for i in range(3):
        spline = jax.tree.map(lambda x, i=i: jnp.asarray(x[i]), splines)
        expected = RBFInterpolator(centres[i], targets[i], kernel="thin_plate_spline")(points)
        np.testing.assert_allclose(
            thin_plate.evaluate(spline, jnp.asarray(points, jnp.float32)), expected, atol=2e-4
        )
        at_centres = thin_plate.evaluate(spline, jnp.asarray(centres[i], jnp.float32))
        np.testing.assert_allclose(at_centres, targets[i], atol=2e-4)


def test_a_picture_warped_by_the_identity_is_the_halved_one() -> None:
    picture = jnp.asarray(RNG.random((16, 16, 3)), jnp.float32)
    spline = jax.tree.map(jnp.asarray, thin_plate.fit(pairs.controls(), pairs.controls()))
    halved = np.asarray(picture).reshape(8, 2, 8, 2, 3).mean((1, 3))
    np.testing.assert_allclose(thin_plate.halved(picture), halved, atol=1e-6)
    np.testing.assert_allclose(thin_plate.warp(picture, spline, 8), halved, atol=1e-3)


def test_a_warped_ramp_shows_where_its_points_come_from() -> None:
    side = 32
    points = np.asarray(thin_plate.centres_of(2 * side, 2 * side)).reshape(2 * side, 2 * side, 2)
    ramp = jnp.asarray(np.concatenate([points, points[..., :1]], -1))
    spline = jax.tree.map(
        jnp.asarray, thin_plate.fit(pairs.controls(), np.asarray(pairs.targets(jax.random.key(3))))
    )
    shown = np.asarray(thin_plate.warp(ramp, spline, side))[..., :2].reshape(-1, 2)
    expected = np.asarray(thin_plate.evaluate(spline, thin_plate.centres_of(side, side)))
    inside = ((expected > 0.03) & (expected < 0.97)).all(1)
    assert inside.mean() > 0.8
    np.testing.assert_allclose(shown[inside], expected[inside], atol=2e-3)


def test_warps_stay_within_the_photograph_and_differ() -> None:
    drawn = np.stack([pairs.targets(key) for key in jax.random.split(jax.random.key(0), 40)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.std(0).min() > 0.03
    placed = np.stack([warped_landmarks.points(key) for key in jax.random.split(jax.random.key(0), 40)])
    assert placed.min() >= 0
    assert placed.max() <= 1
    assert placed.std(0).min() > 0.02
    assert len(warped_landmarks.names()) == placed.shape[1]
