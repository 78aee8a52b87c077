"""Thin-plate splines: smooth random warps of a picture that are known at every point.

Points are (y, x) as shares of the picture's sides, in [0, 1].
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

OVERSAMPLED = 2
"""A warped pixel is the mean of so many samples squared, taken from a picture with as many times its resolution."""


class Spline(NamedTuple):
    """A map from points to points, see `fit`.

    Attributes:
      centres: (..., K, 2).
      weights: (..., K, 2), of the radial functions r^2 log r^2 about the centres.
      affine: (..., 3, 2), of 1, y and x.
    """

    centres: Float[Array | np.ndarray, "... K 2"]
    weights: Float[Array | np.ndarray, "... K 2"]
    affine: Float[Array | np.ndarray, "... 3 2"]


def fit(centres: Float[np.ndarray, "... K 2"], targets: Float[np.ndarray, "... K 2"]) -> Spline:
    """The map of least bending that takes each centre exactly to its target (Bookstein 1989).

    Args:
      centres: three or more that are on no line; leading axes are splines of their own. Computed in float64.
      targets: of the same shape.

    Returns:
      In float32.
    """
    centres, targets = np.asarray(centres, np.float64), np.asarray(targets, np.float64)
    count = centres.shape[-2]
    square = np.square(centres[..., :, None, :] - centres[..., None, :, :]).sum(-1)
    radial = square * np.log(np.where(square > 0, square, 1))
    linear = np.concatenate([np.ones((*centres.shape[:-1], 1)), centres], -1)
    system = np.zeros((*centres.shape[:-2], count + 3, count + 3))
    system[..., :count, :count] = radial
    system[..., :count, count:] = linear
    system[..., count:, :count] = np.swapaxes(linear, -1, -2)
    right = np.concatenate([targets, np.zeros((*centres.shape[:-2], 3, 2))], -2)
    found = np.linalg.solve(system, right).astype(np.float32)
    return Spline(centres.astype(np.float32), found[..., :count, :], found[..., count:, :])


def evaluate(spline: Spline, points: Float[Array, "P 2"]) -> Float[Array, "P 2"]:
    """Where one spline takes points."""
    square = jnp.square(points[:, None] - spline.centres[None]).sum(-1)
    radial = square * jnp.log(jnp.where(square > 0, square, 1))
    linear = jnp.concatenate([jnp.ones_like(points[:, :1]), points], 1)
    precise = jax.lax.Precision.HIGHEST
    return jnp.matmul(radial, spline.weights, precision=precise) + jnp.matmul(
        linear, spline.affine, precision=precise
    )


def warp(picture: Float[Array, "H W 3"], spline: Spline, size: int) -> Float[Array, "size size 3"]:
    """The picture whose point p shows the point spline(p) of another.

    Args:
      picture: with OVERSAMPLED times `size` pixels a side, so that the warped one is as sharp; its edge goes on.
      spline: one.
      size: side of the result in pixels.
    """
    side = OVERSAMPLED * size
    at = evaluate(spline, centres_of(side, side)).reshape(side, side, 2)
    scale = jnp.asarray(picture.shape[:2], at.dtype)
    place = at * scale[None, None] - 0.5
    fine = [
        map_coordinates(picture[..., c], [place[..., 0], place[..., 1]], 1, mode="nearest") for c in range(3)
    ]
    return halved(jnp.stack(fine, -1))


def halved(picture: Float[Array, "H W 3"]) -> Float[Array, "h w 3"]:
    """The picture with 1 / OVERSAMPLED of its resolution; a pixel is the mean of those that it stands for."""
    height, width = (side // OVERSAMPLED for side in picture.shape[:2])
    return picture.reshape(height, OVERSAMPLED, width, OVERSAMPLED, 3).mean((1, 3))


def centres_of(rows: int, columns: int) -> Float[Array, "P 2"]:
    """The centres of the cells of a grid, row by row."""
    y, x = (jnp.arange(n, dtype=jnp.float32) + 0.5 for n in (rows, columns))
    grid = jnp.meshgrid(y / rows, x / columns, indexing="ij")
    return jnp.stack([each.ravel() for each in grid], -1)


def lattice(side: int, margin: float) -> Float[np.ndarray, "K 2"]:
    """side x side points, `margin` away from the picture's edges."""
    steps = np.linspace(margin, 1 - margin, side)
    return np.stack(np.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
