"""Depthwise convolution: each channel by a kernel of its own.

XLA's CPU backend is slow at it, and slower at its gradients. There it is written as a sum of shifted arrays, each times
a row of the kernel. On GPU and TPU it stays `lax.conv_general_dilated`. Both give the same numbers to rounding.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.ops import backend

IMAGES = 4
"""Images that are added up at once in the gradient of a kernel."""

Pads = tuple[tuple[int, int], tuple[int, int]]
"""Cells of zeros before and behind the rows, and the columns; below zero, cells that are cut off."""


def depthwise_conv2d(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k 1 C"],
    stride: int,
    padding: int,
    *,
    shifted: bool | None = None,
) -> Float[Array, "B Y X C"]:
    """Two-dimensional convolution (cross-correlation) of each channel with its own kernel.

    Args:
      x: (B, H, W, C) float.
      kernel: (k, k, 1, C), same dtype.
      stride: step in pixels, both directions.
      padding: rows and columns of zeros on each side.
      shifted: True computes by shifted arrays, in float32 at least. False computes by XLA's convolution. None takes
        the faster for the default backend, decided when traced.

    Returns:
      (B, (H + 2 padding - k) // stride + 1, likewise W, C), dtype of x.
    """
    if shifted is None:
        shifted = backend.fastest("depthwise") == "shifted"
    if not shifted:
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )
    wide = np.promote_types(x.dtype, np.float32)
    taps, pads = kernel[:, :, 0].astype(wide), []
    for axis, side in enumerate(x.shape[1:3]):
        first, end, pad = _reach(side, len(kernel), stride, padding)
        taps = lax.slice_in_dim(taps, first, end, axis=axis)
        pads.append(pad)
    return _shifted(x.astype(wide), taps, stride, (pads[0], pads[1])).astype(x.dtype)


def _reach(side: int, size: int, stride: int, padding: int) -> tuple[int, int, tuple[int, int]]:
    """The first row of a kernel that meets the image anywhere, the end of such rows, and the padding for these alone.

    On small maps most of a large kernel never does: of 5 x 5 values on 2 x 2 cells, 3 x 3 do.
    """
    last = (side + 2 * padding - size) // stride * stride  # where the last window begins, in the padded image
    first, end = max(0, padding - last), min(size, padding + side)
    return first, end, (padding - first, last + end - padding - side)


def _sum(x: jax.Array, taps: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """x (B, H, W, C), taps (r, q, C) -> (B, Y, X, C)."""
    rows, columns, _ = taps.shape
    cells = _cells(_padded(x, pads), rows, columns, stride)
    weights = taps.reshape(rows * columns, 1, 1, 1, -1)
    return functools.reduce(jnp.add, (cell * weight for cell, weight in zip(cells, weights, strict=True)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifted(x: jax.Array, taps: jax.Array, stride: int, pads: Pads) -> jax.Array:
    return _sum(x, taps, stride, pads)


def _forward(
    x: jax.Array, taps: jax.Array, stride: int, pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _shifted(x, taps, stride, pads), (x, taps)


def _backward(
    stride: int, pads: Pads, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Both gradients, of a few images at a time.

    Products for a tap are added to one map (Y, X, C), image by image, and then over this map. A sum over images, rows
    and columns at once takes XLA:CPU four times as long. The loop also keeps XLA from computing what `gradient` comes
    from anew for each tap.
    """
    x, taps = saved
    rows, columns, channels = taps.shape
    batch, height, width, _ = gradient.shape
    images = math.gcd(batch, IMAGES)

    def parts(y: jax.Array) -> jax.Array:
        return y.reshape(batch // images, images, *y.shape[1:])

    def add(sums: list[jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        pixels, weights = part
        found = []
        for total, cell in zip(sums, _cells(_padded(pixels, pads), rows, columns, stride), strict=True):
            products = [cell[image] * weights[image] for image in range(images)]
            found.append(functools.reduce(jnp.add, products, total))
        (change,) = jax.linear_transpose(lambda x: _sum(x, taps, stride, pads), pixels)(weights)
        return found, change

    start = [jnp.zeros((height, width, channels), x.dtype)] * (rows * columns)
    sums, changes = lax.scan(add, start, (parts(x), parts(gradient)))
    ones = jnp.ones((1, height * width), x.dtype)
    found = jnp.concatenate([ones @ total.reshape(-1, channels) for total in sums])
    return changes.reshape(x.shape), found.reshape(taps.shape)


_shifted.defvjp(_forward, _backward)


def _padded(x: jax.Array, pads: Pads) -> jax.Array:
    borders = [(0, 0, 0), *((before, behind, 0) for before, behind in pads), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), borders)


def _cells(x: jax.Array, rows: int, columns: int, stride: int) -> list[jax.Array]:
    """Cell (i, j) of each window of rows x columns in x (B, H, W, C), row by row."""
    batch, height, width, channels = x.shape
    below, right = ((side - size) // stride * stride for side, size in ((height, rows), (width, columns)))

    def at(row: int, column: int) -> jax.Array:
        limit = (batch, row + below + 1, column + right + 1, channels)
        return lax.slice(x, (0, row, column, 0), limit, (1, stride, stride, 1))

    return [at(row, column) for row in range(rows) for column in range(columns)]
