"""Convolution by minimal filtering: fewer products than outputs times taps, for CPUs.

The method is that of Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4, with the
transforms of Toom and Cook. An r x r kernel gives a tile of 4 x 4 outputs. This takes (r + 3)^2 products for each pair
of channels instead of 16 r^2, and they are plain matrix products. Both gradients take as few. A few images at a time
are transformed, multiplied and transformed back, so that their tiles stay in the cache (see `parts`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.ops import parts, tiles

TILE = 4
"""Outputs a tile, along each direction."""
_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
"""Where the polynomials are evaluated, infinity besides; in the order that keeps rounding small."""
MAX_KERNEL = len(_POINTS) + 2 - TILE
TARGET = 5 << 20
"""Bytes of transformed tiles, of inputs and outputs, that are kept at once; no less than the transformed kernel has."""
FEWEST_ROWS = 64
"""Rows that a product has at least, if the batch is large enough."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve(
    x: Float[Array, "B H W C"], kernel: Float[Array, "r r C D"], padding: int
) -> Float[Array, "B Y X D"]:
    """Convolution without a stride.

    Its relative error in float32 is about 2e-6 for kernels of 3 and 4e-6 for kernels of 5 (root mean square). A plain
    sum of products has 3e-7.

    Args:
      x: (B, H, W, C) float32.
      kernel: (r, r, C, D) float32, 2 <= r <= MAX_KERNEL.
      padding: rows and columns of zeros on each side, less than r.

    Returns:
      (B, H + 2 padding - r + 1, likewise W, D).
    """
    return _forward(x, kernel, padding)[0]


def products(rows: int, columns: int, taps: int) -> int:
    """Products for each image and pair of channels, of an output of rows x columns and a kernel of taps x taps."""
    return math.prod(-(-side // TILE) * (TILE + taps - 1) for side in (rows, columns))


def transforms(outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Matrices of y = A [(G g) * (B d)]: `outputs` values of the correlation of `taps` values g with d.

    Returns:
      A (outputs, n), G (n, taps) and B (n, n), float64, n = outputs + taps - 1.
    """
    n = outputs + taps - 1
    points = _POINTS[: n - 1]
    a, g, b = np.zeros((outputs, n)), np.zeros((n, taps)), np.zeros((n, n))
    for i, point in enumerate(points):
        others = [other for other in points if other != point]
        a[:, i] = np.power(float(point), np.arange(outputs))
        g[i] = np.power(float(point), np.arange(taps)) / np.prod([point - other for other in others])
        b[i, :-1] = np.poly(others)[::-1]
    a[-1, -1] = g[-1, -1] = 1
    b[-1] = np.poly(points)[::-1]
    return a, g, b


def _forward(x: jax.Array, kernel: jax.Array, padding: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    taps, _, _, features = kernel.shape
    a, g, b = transforms(TILE, taps)
    sides, counts = _sizes(x.shape, taps, padding)
    weights = _transformed_kernel(kernel, g)

    def convolved(pixels: jax.Array) -> jax.Array:
        inputs = _input_cells(pixels, b, counts, padding)
        products = [_product(cell, weight, 2, 1) for cell, weight in zip(inputs, weights, strict=True)]
        cells = [cell.reshape(len(b), -1, *counts, features) for cell in _combine(a, products)]
        y = tiles.interleave(_combine(a, tiles.interleave(cells, 3)), 1)
        return y[:, : sides[0], : sides[1]]

    y = lax.map(convolved, parts.split(x, _images(x, kernel, counts)))
    return parts.join(y, len(x)), (x, kernel)


def _backward(
    padding: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    taps, _, channels, features = kernel.shape
    a, g, b = transforms(TILE, taps)
    _, counts = _sizes(x.shape, taps, padding)
    weights = _transformed_kernel(kernel, g)

    def add(totals: list[jax.Array], part: tuple[jax.Array, jax.Array]) -> tuple[list[jax.Array], jax.Array]:
        inputs = _input_cells(part[0], b, counts, padding)
        outputs = _output_cells(part[1], a, counts)
        totals = [
            total + _product(cell, output, 1, 1)
            for total, cell, output in zip(totals, inputs, outputs, strict=True)
        ]
        products = [_product(output, weight, 2, 2) for output, weight in zip(outputs, weights, strict=True)]
        cells = [cell.reshape(len(b), -1, *counts, channels) for cell in _combine(b.T, products)]
        lines = tiles.overlap_add(cells, 3, TILE, start=padding, size=x.shape[2])
        return totals, tiles.overlap_add(_combine(b.T, lines), 1, TILE, start=padding, size=x.shape[1])

    size = _images(x, kernel, counts)
    nothing = [jnp.zeros((len(b), channels, features), x.dtype)] * len(b)
    totals, changes = lax.scan(add, nothing, (parts.split(x, size), parts.split(gradient, size)))
    change = jnp.stack(_combine(g.T, jnp.stack(_combine(g.T, totals), 1)))
    return parts.join(changes, len(x)), change


convolve.defvjp(_forward, _backward)


def _sizes(shape: Sequence[int], taps: int, padding: int) -> tuple[list[int], list[int]]:
    """Of the output, in pixels and in tiles."""
    sides = [side + 2 * padding - taps + 1 for side in shape[1:3]]
    return sides, [-(-side // TILE) for side in sides]


def _images(x: jax.Array, kernel: jax.Array, counts: Sequence[int]) -> int:
    """How many are computed at once."""
    taps, _, channels, features = kernel.shape
    cells, rows = (TILE + taps - 1) ** 2 * x.dtype.itemsize, math.prod(counts)
    target = max(TARGET, cells * channels * features)
    return parts.images(len(x), cells * rows * (channels + features), target, -(-FEWEST_ROWS // rows))


def _input_cells(x: jax.Array, b: np.ndarray, counts: Sequence[int], padding: int) -> list[jax.Array]:
    """Transformed tiles of x, by columns: n of (n rows, B tiles, C)."""
    for axis in (1, 2):
        x = tiles.padded(x, axis, padding, len(b), TILE, counts[axis - 1])
    return _cells(x, b, len(b))


def _output_cells(gradient: jax.Array, a: np.ndarray, counts: Sequence[int]) -> list[jax.Array]:
    """Tiles of the outputs' gradient, as those of `_input_cells`."""
    for axis in (1, 2):
        gradient = tiles.padded(gradient, axis, 0, TILE, TILE, counts[axis - 1])
    return _cells(gradient, a.T, TILE)


def _cells(x: jax.Array, matrix: np.ndarray, width: int) -> list[jax.Array]:
    rows = jnp.stack(_combine(matrix, tiles.split(x, 1, width, TILE)))
    columns = _combine(matrix, tiles.split(rows, 3, width, TILE))
    return [cell.reshape(len(matrix), -1, x.shape[-1]) for cell in columns]


def _transformed_kernel(kernel: jax.Array, g: np.ndarray) -> list[jax.Array]:
    """(r, r, C, D) -> n columns of (n rows, C, D)."""
    rows = jnp.stack(_combine(g, kernel))
    return _combine(g, rows.swapaxes(0, 1))


def _product(x: jax.Array, y: jax.Array, x_axis: int, y_axis: int) -> jax.Array:
    """Matrix products for all rows of a tile at once: a sum over an axis of each, which are (n, ..., ...)."""
    return lax.dot_general(x, y, (((x_axis,), (y_axis,)), ((0,), (0,))))


def _combine(matrix: np.ndarray, arrays: Sequence[jax.Array] | jax.Array) -> list[jax.Array]:
    """Linear combinations of arrays (or of one array's slices), one for each row of the matrix."""

    def total(row: np.ndarray) -> jax.Array:
        terms = [
            array if factor == 1 else lax.mul(array, array.dtype.type(factor))
            for factor, array in zip(row, arrays, strict=True)
            if factor
        ]
        return functools.reduce(lax.add, terms)

    return [total(row) for row in matrix]
