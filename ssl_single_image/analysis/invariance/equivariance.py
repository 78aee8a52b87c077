"""Whether the map of a layer moves as its picture moves: for mirrored and turned pictures.

The moments of features are summed picture by picture, so that no map is kept: residuals follow from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.analysis.invariance.variance import VARIES

Map = Float[Array, "n h w C"]
MOTIONS: dict[str, Callable[[Map], Map]] = {
    "mirrored": lambda x: jnp.flip(x, 2),
    "turned 90": lambda x: jnp.rot90(x, 1, (1, 2)),
    "turned 180": lambda x: jnp.rot90(x, 2, (1, 2)),
    "turned 270": lambda x: jnp.rot90(x, 3, (1, 2)),
}
"""Name -> what is done to pictures (n, S, S, 3), and to square maps (n, h, h, C) alike."""
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Of the ridge map: what a unit of its squared norm costs, as a share of the mean eigenvalue of the features."""
PARTS = 4
"""Of four pictures, two fit the ridge map, one chooses its penalty and one measures it."""


class Moments(NamedTuple):
    """Sums over places of a moved map x = M_g f(p) and of the map of the moved picture y = f(g p).

    Attributes:
      places: how many.
      x: (C,) sum.
      y: (C,) sum.
      xx: (C, C) sum of outer products.
      xy: (C, C).
      yy: () sum of squares.
      moved: () sum of |y - x|^2.
    """

    places: Array | np.ndarray
    x: Array | np.ndarray
    y: Array | np.ndarray
    xx: Array | np.ndarray
    xy: Array | np.ndarray
    yy: Array | np.ndarray
    moved: Array | np.ndarray


class Residual(NamedTuple):
    """sum |f(g p) - M_g f(p)|^2 / sum |f(g p) - mean f|^2 on held-out pictures: 0 is exact, 1 is as bad as the mean.

    Attributes:
      moved: with M_g the permutation of places alone; it has no upper bound.
      fitted: with a ridge map of channels after it, fitted to other pictures.
      penalty: of that map.
    """

    moved: float
    fitted: float
    penalty: float


def moments(x: Map, y: Map) -> Moments:
    """The sums over all pictures and places of two maps of one shape, in float32 products of full precision."""
    flat = [each.reshape(-1, each.shape[-1]) for each in (x, y)]
    xx, xy = (jnp.matmul(flat[0].T, other, precision=lax.Precision.HIGHEST) for other in flat)
    count = jnp.asarray(len(flat[0]), jnp.float32)
    return Moments(
        count,
        flat[0].sum(0),
        flat[1].sum(0),
        xx,
        xy,
        jnp.square(flat[1]).sum(),
        jnp.square(flat[1] - flat[0]).sum(),
    )


def add(total: Moments | None, more: Moments) -> Moments:
    """The sum of two moments, in float64 on the host."""
    found = [np.asarray(each, np.float64) for each in more]
    return Moments(*found) if total is None else Moments(*(a + b for a, b in zip(total, found, strict=True)))


def residual(parts: Sequence[Moments]) -> Residual | None:
    """The residuals of one motion at one layer.

    Args:
      parts: the moments of PARTS groups of pictures, in float64.

    Returns:
      None where the features of the last part do not vary.
    """
    fit, choice, test = add(parts[0], parts[1]), parts[2], parts[3]
    spread = _spread(test)
    if spread <= VARIES**2 * float(test.yy):
        return None
    mean_x, mean_y = (np.asarray(total / fit.places) for total in (fit.x, fit.y))
    values, vectors = np.linalg.eigh(fit.xx - np.outer(fit.x, mean_x))
    target = vectors.T @ (fit.xy - np.outer(fit.x, mean_y))
    scale = max(float(values.mean()), np.finfo(float).tiny)

    def kernel(penalty: float) -> np.ndarray:
        return vectors @ (target / (np.maximum(values, 0) + penalty * scale)[:, None])

    errors = {penalty: _error(choice, kernel(penalty), mean_x, mean_y) for penalty in PENALTIES}
    best = min(PENALTIES, key=lambda penalty: (errors[penalty], -penalty))
    error = _error(test, kernel(best), mean_x, mean_y)
    return Residual(float(test.moved) / spread, max(error, 0.0) / spread, best)


def summary(found: Mapping[str, Residual | None]) -> dict[str, dict[str, float] | None]:
    """JSON-able."""
    return {motion: None if each is None else each._asdict() for motion, each in found.items()}


def _spread(of: Moments) -> float:
    """The sum of |y - mean y|^2, with one mean for all places."""
    return float(of.yy - of.y @ of.y / of.places)


def _error(of: Moments, kernel: np.ndarray, mean_x: np.ndarray, mean_y: np.ndarray) -> float:
    """The sum of |y - b - W'x|^2 with b = mean_y - W'mean_x, from the moments."""
    shift = mean_y - kernel.T @ mean_x
    square = of.yy + np.sum(kernel * (of.xx @ kernel)) + of.places * (shift @ shift)
    return float(square - 2 * np.sum(kernel * of.xy) - 2 * shift @ of.y + 2 * shift @ (kernel.T @ of.x))
