"""Pooling over square windows."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.ops import backend, tiles


def max_pool(
    x: Float[Array, "B H W C"], window: int, stride: int, padding: int = 0, *, separable: bool | None = None
) -> Float[Array, "B Y X C"]:
    """Maximum over windows; cells of the padding never win.

    Where cells of a window are equal, the first in reading order gets the gradient.

    Args:
      x: (B, H, W, C) float.
      window: side of the square window.
      stride: step in pixels.
      padding: cells added on each side.
      separable: True takes the maximum along rows, then along columns, whose gradient XLA:CPU computes many times
        faster than `reduce_window`'s; None decides by the default backend.

    Returns:
      (B, (H + 2 padding - window) // stride + 1, likewise W, C).
    """
    if separable is None:
        separable = backend.fastest("max_pool") == "separable"
    if separable:
        return _max_along(_max_along(x, 2, window, stride, padding), 1, window, stride, padding)
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


def average_pool(
    x: Float[Array, "B H W C"], window: int, stride: int, padding: int = 0
) -> Float[Array, "B Y X C"]:
    """Mean over windows, the zeros of the padding included; sizes as `max_pool`'s."""
    for axis in (2, 1):
        x = functools.reduce(jnp.add, _cells(x, axis, window, stride, padding, 0.0))
    return x / window**2


def adaptive_pool(
    x: Float[Array, "B H W C"], side: int, reduce: Callable[..., jax.Array] = jnp.mean
) -> Float[Array, "B Y X C"]:
    """Pools to side x side bins that cover the map evenly and overlap where its sides don't divide.

    Bin i of n along an axis of H cells is [floor(i H / n), ceil((i + 1) H / n)), as in PyTorch's adaptive pooling.

    Args:
      x: (B, H, W, C) float, with at least `side` rows and columns.
      side: bins along each axis.
      reduce: `jnp.mean` or `jnp.max`, which is taken along one axis and then along the other.
    """
    for axis in (1, 2):
        cells = x.shape[axis]
        bounds = ((i * cells // side, -(-(i + 1) * cells // side)) for i in range(side))
        x = jnp.stack([_reduced(x, axis, a, b, reduce) for a, b in bounds], axis)
    return x


def _reduced(x: jax.Array, axis: int, first: int, end: int, reduce: Callable[..., jax.Array]) -> jax.Array:
    if reduce is jnp.max:  # slice by slice takes XLA:CPU a quarter of the time
        cells = (lax.index_in_dim(x, i, axis, keepdims=False) for i in range(first, end))
        return functools.reduce(jnp.maximum, cells)
    return reduce(lax.slice_in_dim(x, first, end, axis=axis), axis=axis)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_along(x: jax.Array, axis: int, window: int, stride: int, padding: int) -> jax.Array:
    return functools.reduce(jnp.maximum, _cells(x, axis, window, stride, padding, -jnp.inf))


def _max_along_forward(
    x: jax.Array, axis: int, window: int, stride: int, padding: int
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    largest = _max_along(x, axis, window, stride, padding)
    return largest, (x, largest)


def _max_along_backward(
    axis: int, window: int, stride: int, padding: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    x, largest = saved
    given = jnp.zeros(largest.shape, bool)
    shares = []
    for cell in _cells(x, axis, window, stride, padding, -jnp.inf):
        wins = (cell == largest) & ~given
        given |= wins
        shares.append(jnp.where(wins, gradient, 0))
    return (tiles.overlap_add(shares, axis, stride, start=padding, size=x.shape[axis]),)


_max_along.defvjp(_max_along_forward, _max_along_backward)


def _cells(x: jax.Array, axis: int, window: int, stride: int, padding: int, fill: float) -> list[jax.Array]:
    """Each cell of all windows along one axis, see `tiles.split`."""
    count = (x.shape[axis] + 2 * padding - window) // stride + 1
    return tiles.split(tiles.padded(x, axis, padding, window, stride, count, fill), axis, window, stride)
