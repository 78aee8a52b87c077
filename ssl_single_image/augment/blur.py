"""Gaussian blur with a width of its own for each crop."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp

from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.ops.materialise import materialise

UNIFORMS = 2
_REACH = 3.0
"""Kernel radius in standard deviations: 99.7 % of a Gaussian."""


def sample_sigma(u: jax.Array, spec: CropSpec) -> jax.Array:
    """Standard deviation () float32 in crop pixels from (UNIFORMS,) uniform numbers; 0: no blur."""
    low, high = spec.blur_sigma
    return jnp.where(u[0] < spec.blur_probability, low + (high - low) * u[1], 0.0)


def blur(x: jax.Array, sigma: jax.Array, spec: CropSpec, always: jax.Array) -> jax.Array:
    """Separable Gaussian blur; edge pixels are repeated beyond the border, as PIL does.

    Args:
      x: (B, S, S, 3) float32.
      sigma: (B,) float32; 0 leaves a crop as it is.
      spec: its largest sigma sets the number of taps.
      always: see `materialise`.
    """
    radius = math.ceil(_REACH * spec.blur_sigma[1])
    taps = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    weights = jnp.exp(-0.5 * jnp.square(taps[None] / jnp.maximum(sigma, 1e-2)[:, None]))
    weights = weights / weights.sum(axis=-1, keepdims=True)
    for axis in (1, 2):
        x = materialise(always, partial(convolve, axis=axis), x, weights)
    return x


def convolve(x: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """Each image convolved along an axis with weights of its own; edge pixels are repeated beyond the border.

    Args:
      x: (B, S, S, 3) float32.
      weights: (B, taps) float32, an odd number of taps.
      axis: 1 for columns, 2 for rows.
    """
    size, taps = x.shape[axis], weights.shape[1]
    reach = [(taps // 2, taps // 2) if i == axis else (0, 0) for i in range(4)]
    padded = jnp.pad(x, reach, mode="edge")
    total = jnp.zeros_like(x)
    for k in range(taps):
        shifted = jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
        total += weights[:, k, None, None, None] * shifted
    return total
