"""Convolution by minimal filtering: fewer products than outputs times taps, for CPUs.

The method is that of Lavin and Gray 2016, "Fast algorithms for convolutional neural networks", section 4, with the
transforms of Toom and Cook. An r x r kernel gives a tile of 4 x 4 outputs. This takes (r + 3)^2 products for each pair
of channels instead of 16 r^2, and they are plain matrix products. Both gradients take as few. The rows of transformed
tiles are computed in a loop, one program for all. It compiles in half the time of a program with every row written out.
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

from ssl_single_image.ops import tiles

TILE = 4
"""Outputs a tile, along each direction."""
_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5)
"""Where the polynomials are evaluated, infinity besides; in the order that keeps rounding small."""
MAX_KERNEL = len(_POINTS) + 2 - TILE


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

    def row_of_tiles(inputs: tuple[jax.Array, jax.Array]) -> jax.Array:
        pixels, weights = inputs
        products = [
            _matrix(cell) @ weight for cell, weight in zip(_columns(b, pixels, len(b)), weights, strict=True)
        ]
        cells = [cell.reshape(len(x), *counts, features) for cell in _combine(a, products)]
        return tiles.interleave(cells, 2)

    rows = lax.map(row_of_tiles, (_input_rows(x, b, counts, padding), _transformed_kernel(kernel, g)))
    y = tiles.interleave(_combine(a, rows), 1)
    return y[:, : sides[0], : sides[1]], (x, kernel)


def _backward(
    padding: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    a, g, b = transforms(TILE, len(kernel))
    _, counts = _sizes(x.shape, len(kernel), padding)
    for axis in (1, 2):
        gradient = tiles.padded(gradient, axis, 0, TILE, TILE, counts[axis - 1])
    gradient_rows = jnp.stack(_combine(a.T, tiles.split(gradient, 1, TILE, TILE)))

    def row_of_tiles(inputs: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        pixels, weights, outputs = inputs
        products = [_matrix(cell) for cell in _columns(a.T, outputs, TILE)]
        dweights = [
            _matrix(cell).T @ product
            for cell, product in zip(_columns(b, pixels, len(b)), products, strict=True)
        ]
        cells = [
            (product @ weight.T).reshape(len(x), *counts, -1)
            for product, weight in zip(products, weights, strict=True)
        ]
        dpixels = tiles.overlap_add(_combine(b.T, cells), 2, TILE, start=padding, size=x.shape[2])
        return jnp.stack(_combine(g.T, dweights)), dpixels

    rows = (_input_rows(x, b, counts, padding), _transformed_kernel(kernel, g), gradient_rows)
    dweights, dpixels = lax.map(row_of_tiles, rows)
    dx = tiles.overlap_add(_combine(b.T, dpixels), 1, TILE, start=padding, size=x.shape[1])
    return dx, jnp.stack(_combine(g.T, dweights))


convolve.defvjp(_forward, _backward)


def _sizes(shape: Sequence[int], taps: int, padding: int) -> tuple[list[int], list[int]]:
    """Of the output, in pixels and in tiles."""
    sides = [side + 2 * padding - taps + 1 for side in shape[1:3]]
    return sides, [-(-side // TILE) for side in sides]


def _input_rows(x: jax.Array, b: np.ndarray, counts: Sequence[int], padding: int) -> jax.Array:
    """x transformed along its columns: (n, B, tiles, padded W, C)."""
    for axis in (1, 2):
        x = tiles.padded(x, axis, padding, len(b), TILE, counts[axis - 1])
    return jnp.stack(_combine(b, tiles.split(x, 1, len(b), TILE)))


def _transformed_kernel(kernel: jax.Array, g: np.ndarray) -> jax.Array:
    """(r, r, C, D) -> (n, n, C, D)."""
    rows = jnp.stack(_combine(g, kernel))
    return jnp.stack(_combine(g, rows.swapaxes(0, 1)), 1)


def _columns(matrix: np.ndarray, row: jax.Array, width: int) -> list[jax.Array]:
    """A row of pixels of each tile, transformed along the row."""
    return _combine(matrix, tiles.split(row, 2, width, TILE))


def _matrix(cell: jax.Array) -> jax.Array:
    """(..., C) -> (tiles, C)."""
    return cell.reshape(-1, cell.shape[-1])


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
