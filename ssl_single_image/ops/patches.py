"""Convolution by patches: the windows of a few images at a time, as rows of one matrix product, for CPUs.

Windows are written anew for the gradients. They would take the kernel's k^2 times the memory of the input.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.ops import parts, tiles

TARGET = 8 << 20
"""Bytes of the windows that are kept at once."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C D"], stride: int, padding: int
) -> Float[Array, "B Y X D"]:
    """Convolution as products of windows with the kernel.

    Args:
      x: (B, H, W, C) float.
      kernel: (k, k, C, D), same dtype.
      stride: step in pixels, both directions.
      padding: rows and columns of zeros on each side.

    Returns:
      (B, (H + 2 padding - k) // stride + 1, likewise W, D).
    """
    counts, size = _sizes(x, kernel, stride, padding)
    features = kernel.shape[-1]
    weights = kernel.reshape(-1, features)

    def convolved(pixels: jax.Array) -> jax.Array:
        return (_rows(pixels, len(kernel), stride, padding, counts) @ weights).reshape(-1, *counts, features)

    return parts.join(lax.map(convolved, parts.split(x, size)), len(x))


def _forward(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve(x, kernel, stride, padding), (x, kernel)


def _backward(
    stride: int, padding: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    counts, size = _sizes(x, kernel, stride, padding)
    taps, _, channels, features = kernel.shape
    weights = kernel.reshape(-1, features)
    wide = np.promote_types(x.dtype, np.float32)

    def add(total: jax.Array, part: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        pixels, outputs = part[0], part[1].reshape(-1, features)
        rows = _rows(pixels, taps, stride, padding, counts)
        total += lax.dot(rows.T, outputs, preferred_element_type=wide)
        cells = (outputs @ weights.T).reshape(-1, *counts, taps, taps, channels)
        lines = [
            tiles.overlap_add(
                [cells[:, :, :, row, column] for column in range(taps)],
                2,
                stride,
                start=padding,
                size=x.shape[2],
            )
            for row in range(taps)
        ]
        return total, tiles.overlap_add(lines, 1, stride, start=padding, size=x.shape[1])

    inputs = parts.split(x, size), parts.split(gradient, size)
    total, changes = lax.scan(add, jnp.zeros(weights.shape, wide), inputs)
    return parts.join(changes, len(x)), total.reshape(kernel.shape).astype(kernel.dtype)


convolve.defvjp(_forward, _backward)


def _sizes(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> tuple[tuple[int, int], int]:
    """Rows and columns of the output, and images of a part."""
    taps, _, channels, _ = kernel.shape
    height, width = ((side + 2 * padding - taps) // stride + 1 for side in x.shape[1:3])
    image = height * width * taps**2 * channels * x.dtype.itemsize
    return (height, width), parts.images(len(x), image, TARGET)


def _rows(x: jax.Array, taps: int, stride: int, padding: int, counts: tuple[int, int]) -> jax.Array:
    """The windows of x (B, H, W, C) as rows (B Y X, k k C)."""
    for axis in (1, 2):
        x = tiles.padded(x, axis, padding, taps, stride, counts[axis - 1])
    cells = [cell for line in tiles.split(x, 1, taps, stride) for cell in tiles.split(line, 2, taps, stride)]
    columns = jnp.concatenate(cells, -1)
    return columns.reshape(-1, columns.shape[-1])
