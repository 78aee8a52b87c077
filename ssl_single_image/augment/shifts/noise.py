"""Noise of CIFAR-10-C (Hendrycks & Dietterich 2019), with the severities of its code for images of 32 pixels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key, UInt32
from scipy import special

from ssl_single_image.augment.shifts.base import SEVERITIES, Images, Shift, at, levels

GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
"""Standard deviations."""
SHOT = (500, 250, 100, 75, 50)
"""Photons of a pixel of full brightness."""
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)
"""Shares of the values that are replaced."""
SPECKLE = (0.06, 0.10, 0.12, 0.16, 0.20)
"""Standard deviations, as parts of a value."""

_COUNTS = 256
"""Photon counts of a level that can occur, a power of two: those within 5.6 standard deviations of its mean."""


def gaussian(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Adds independent normal noise to every value."""
    return jnp.clip(x + at(GAUSSIAN, severity) * _normal(keys, x), 0, 1)


def speckle(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Adds normal noise that is proportional to the value."""
    return jnp.clip(x + x * at(SPECKLE, severity) * _normal(keys, x), 0, 1)


def impulse(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Replaces values of single channels, half of them by 0 and half by 1."""
    u = jax.vmap(lambda key: jax.random.uniform(key, x.shape[1:]))(keys)
    amount = at(IMPULSE, severity)
    return jnp.where(u < amount, (u < amount / 2).astype(x.dtype), x)


def shot(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Photon counts: Poisson(c x) / c, of x rounded to 256 levels as in the published code.

    Each count is the quantile of one random number, found in a table of the distribution by bisection. JAX's own
    sampler, which rejects, takes a CPU a hundred times as long.
    """
    first, cumulative = (at(table, severity) for table in _poisson())
    level = levels(x)
    u = jax.vmap(lambda key: jax.random.bits(key, x.shape[1:], jnp.uint32))(keys)
    row = level * _COUNTS
    below = _bisect(cumulative.reshape(-1), row, u)
    count = first[level] + below
    return jnp.clip(count.astype(x.dtype) / at(np.array(SHOT, float), severity), 0, 1)


def _bisect(table: UInt32[Array, " N"], row: Array, u: Array) -> Array:
    """How many of the _COUNTS ascending entries from table[row] on are at most u; the last one counts as infinite."""
    found = jnp.zeros_like(row)
    step = _COUNTS // 2
    while step:
        at_most = table.at[row + found + (step - 1)].get(mode="promise_in_bounds") <= u
        found = found + jnp.where(at_most, step, 0)
        step //= 2
    return found


@functools.cache
def _poisson() -> tuple[np.ndarray, np.ndarray]:
    """Of each severity and level: the smallest count, and P(count at most k) in parts of 2**32 for _COUNTS counts.

    Returns:
      (SEVERITIES, 256) int32 and (SEVERITIES, 256, _COUNTS) uint32.
    """
    rate = np.array(SHOT)[:, None] * np.arange(256)[None] / 255
    first = np.maximum(np.floor(rate) - _COUNTS // 2, 0)
    counts = first[..., None] + np.arange(_COUNTS)
    share = special.pdtr(counts, rate[..., None])
    parts = np.minimum(np.ceil(share * 2.0**32), 2.0**32 - 1)
    assert parts.shape == (SEVERITIES, 256, _COUNTS)
    return first.astype(np.int32), parts.astype(np.uint32)


def _normal(keys: Key[Array, " B"], x: Images) -> Images:
    return jax.vmap(lambda key: jax.random.normal(key, x.shape[1:], x.dtype))(keys)


SHIFTS = {
    "gaussian_noise": Shift(gaussian),
    "shot_noise": Shift(shot),
    "impulse_noise": Shift(impulse),
    "speckle_noise": Shift(speckle),
}
