"""Which place of one picture a layer finds for a place of another, and how often it is right."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

TOLERANCES = (0.05, 0.02)
"""A match is right within this share of the picture's shorter side; the first is the one that pictures show."""


class Matches(NamedTuple):
    """Places that were asked for, in one or several pairs of pictures; points are (y, x) in units of the shorter side.

    Attributes:
      asked: (..., P, 2), in the first picture.
      truth: (..., P, 2), the same points of the scene in the second.
      found: (..., P, 2), what a layer matches with them.
      valid: (..., P), whether the truth is known and in the picture.
    """

    asked: Float[np.ndarray, "*n P 2"]
    truth: Float[np.ndarray, "*n P 2"]
    found: Float[np.ndarray, "*n P 2"]
    valid: Bool[np.ndarray, "*n P"]

    @property
    def error(self) -> Float[np.ndarray, "*n P"]:
        """Distance from the truth."""
        return np.linalg.norm(self.found - self.truth, axis=-1)


def unit(maps: Float[Array, "h w C"], rows: int, columns: int) -> Float[Array, "rows columns C"]:
    """A map on a grid of places by bilinear interpolation, antialiased where it has more, with vectors of norm 1.

    A vector of zeros stays one.
    """
    placed = jax.image.resize(maps, (rows, columns, maps.shape[-1]), "linear")
    norm = jnp.linalg.norm(placed, axis=-1, keepdims=True)
    return placed / jnp.where(norm > 0, norm, 1)


def match(
    first: Float[Array, "h w C"],
    second: Float[Array, "y x C"],
    asked: Int[Array, " P"],
    grid: tuple[int, int],
) -> Int[Array, " P"]:
    """argmax_v <phi(first, u), phi(second, v)> for places u of the first picture, over all places v of the second.

    Args:
      first: a layer's map of the one picture.
      second: of the other.
      asked: numbers of places on the grid, row by row.
      grid: rows and columns of the places, the same for all layers, so that none is favoured by its resolution.

    Returns:
      Numbers of places. Of equally similar ones the first counts.
    """
    a, b = (unit(each, *grid).reshape(grid[0] * grid[1], -1) for each in (first, second))
    return jnp.argmax(jnp.matmul(a[asked], b.T, precision=lax.Precision.HIGHEST), axis=1)


def places(numbers: Int[np.ndarray, " *n"], grid: tuple[int, int]) -> Float[np.ndarray, "*n 2"]:
    """The centres of places in units of the picture's shorter side, which has the fewer of them."""
    rows, columns = np.divmod(numbers, grid[1])
    return (np.stack([rows, columns], -1) + 0.5) / min(grid)


def rate(matches: Matches, tolerance: float) -> Float[np.ndarray, " *n"]:
    """The percentage of correct keypoints (PCK) of each pair, in [0, 1]; NaN where no place is valid."""
    return _share(matches.error <= tolerance, matches.valid)


def still(matches: Matches, tolerance: float) -> float:
    """The PCK of answering with the place that was asked for, over all pairs: what position alone gives."""
    near = np.linalg.norm(matches.asked - matches.truth, axis=-1) <= tolerance
    return float(np.nanmean(_share(near, matches.valid)))


def chance(matches: Matches, tolerance: float, grid: tuple[int, int]) -> float:
    """The PCK of a random answer: the share of places within the tolerance of the truth, over all points."""
    everywhere = places(np.arange(grid[0] * grid[1]), grid)
    truth = matches.truth[matches.valid]
    near = [
        np.linalg.norm(part[:, None] - everywhere[None], axis=-1) <= tolerance
        for part in np.array_split(truth, max(1, len(truth) // 256))
    ]
    return float(np.concatenate([part.mean(1) for part in near]).mean())


def _share(right: np.ndarray, valid: np.ndarray) -> np.ndarray:
    count = valid.sum(-1)
    return np.where(count > 0, (right & valid).sum(-1) / np.maximum(count, 1), np.nan)
