"""Equivariance residuals against a least-squares fit by NumPy, and on maps whose residual is known."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssl_single_image.analysis.invariance import equivariance

PICTURES = np.random.default_rng(0).random((16, 6, 6, 3), np.float32)
Maps = Callable[[jax.Array], jax.Array]


def convolved(kernel: np.ndarray) -> Maps:
    """A 3 x 3 convolution over 3 channels with zeros around, and a ReLU."""

    def maps(x: jax.Array) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        found = lax.conv_general_dilated(
            x - 0.5,
            jnp.asarray(kernel),
            (1, 1),
            "SAME",
            dimension_numbers=layout,
            precision=lax.Precision.HIGHEST,
        )
        return jax.nn.relu(found)

    return maps


def parts_of(maps: Maps, motion: str) -> list[equivariance.Moments]:
    move = equivariance.MOTIONS[motion]
    found = []
    for part in range(equivariance.PARTS):
        pictures = jnp.asarray(PICTURES[part :: equivariance.PARTS])
        moments = equivariance.moments(move(maps(pictures)), maps(move(pictures)))
        found.append(equivariance.add(None, jax.device_get(moments)))
    return found


def kernel(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 3, 3, 4)).astype(np.float32)


def symmetric() -> np.ndarray:
    """The mean of a kernel over all turns and reflections of the square."""
    turns = [np.rot90(kernel(), k, (0, 1)) for k in range(4)]
    return np.mean(turns + [turn[:, ::-1] for turn in turns], axis=0)


def test_motions_are_those_of_numpy() -> None:
    expected = {
        "mirrored": PICTURES[:, :, ::-1],
        "turned 90": np.rot90(PICTURES, 1, (1, 2)),
        "turned 180": PICTURES[:, ::-1, ::-1],
        "turned 270": np.rot90(PICTURES, 3, (1, 2)),
    }
    for motion, move in equivariance.MOTIONS.items():
        np.testing.assert_array_equal(move(jnp.asarray(PICTURES)), expected[motion])


@pytest.mark.parametrize("motion", equivariance.MOTIONS)
def test_symmetric_filters_move_with_their_picture_and_others_do_not(motion: str) -> None:
    found = equivariance.residual(parts_of(convolved(symmetric()), motion))
    assert found is not None
    assert found.moved == pytest.approx(0, abs=1e-9)
    assert found.fitted == pytest.approx(0, abs=1e-4)  # the ridge shrinks a little
    other = equivariance.residual(parts_of(convolved(kernel()), motion))
    assert other is not None
    assert other.moved > 0.2
    assert 0.05 < other.fitted < other.moved


def test_a_fitted_map_finds_channels_that_change_places() -> None:
    one, mirrored = symmetric(), kernel()
    both = np.concatenate([mirrored, mirrored[:, ::-1], one], axis=-1)
    found = equivariance.residual(parts_of(convolved(both), "mirrored"))
    assert found is not None
    assert found.moved > 0.2
    assert found.fitted == pytest.approx(0, abs=1e-3)


def test_the_residuals_are_those_of_ridge_regression_by_numpy() -> None:
    maps, move = convolved(kernel()), equivariance.MOTIONS["turned 90"]
    found = equivariance.residual(parts_of(maps, "turned 90"))
    assert found is not None
    rows = []
    for part in range(4):
        pictures = jnp.asarray(PICTURES[part::4])
        x, y = (np.float64(each).reshape(-1, 4) for each in (move(maps(pictures)), maps(move(pictures))))
        rows.append((x, y))
    x, y = (np.concatenate([rows[0][k], rows[1][k]]) for k in (0, 1))
    centred = x - x.mean(0)
    scatter = centred.T @ centred
    weight = np.linalg.solve(
        scatter + found.penalty * np.trace(scatter) / 4 * np.eye(4), centred.T @ (y - y.mean(0))
    )
    test_x, test_y = rows[3]
    spread = np.square(test_y - test_y.mean(0)).sum()
    error = np.square(test_y - y.mean(0) - (test_x - x.mean(0)) @ weight).sum()
    assert found.fitted == pytest.approx(error / spread, rel=1e-4)
    assert found.moved == pytest.approx(np.square(test_y - test_x).sum() / spread, rel=1e-4)


def test_nothing_is_said_of_features_that_do_not_vary() -> None:
    def constant(x: jax.Array) -> jax.Array:
        return jnp.full((*x.shape[:3], 2), 0.3, jnp.float32)

    found = equivariance.residual(parts_of(constant, "mirrored"))
    assert found is None
    assert equivariance.summary({"mirrored": found}) == {"mirrored": None}
