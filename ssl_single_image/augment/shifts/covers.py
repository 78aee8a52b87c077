"""Occlusion and clutter: a part of the image is covered, or it stands small among others. Severities are our own."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int32, Key

from ssl_single_image.augment.shifts.base import Images, Pool, Shift, at

COVERED = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Area of the square that covers the image, as a part of it."""
SHRUNK = (28 / 32, 24 / 32, 20 / 32, 16 / 32, 12 / 32)
"""Side of the image on the mosaic, as a part of the frame's."""
TILES = 4
"""Of a mosaic, along each side."""
GREY = 0.5


def grey(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """A grey square at a random place."""
    return jnp.where(_square(keys, severity, x.shape[1])[..., None], GREY, x)


def noise(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """A square of uniform noise at a random place."""
    drawn = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), x.shape[1:], x.dtype))(keys)
    return jnp.where(_square(keys, severity, x.shape[1])[..., None], drawn, x)


def image(
    x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""], label: Int32[Array, " B"], pool: Pool
) -> Images:
    """A square of an image with another label, at the place that it has there."""
    other = jax.vmap(lambda key, own: _others(jax.random.fold_in(key, 1), own, pool, 1)[0])(keys, label)
    return jnp.where(
        _square(keys, severity, x.shape[1])[..., None], pool.image[other].astype(x.dtype) / 255, x
    )


def clutter(
    x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""], label: Int32[Array, " B"], pool: Pool
) -> Images:
    """The image shrunk, at a random place on a mosaic of parts of images with other labels.

    The mosaic has TILES x TILES tiles. Each is cut from an image drawn for it, at its full resolution.
    """
    size = x.shape[1]
    side = at(_sides(size, SHRUNK), severity)
    corner = jax.vmap(lambda key: _corner(key, size, side))(keys)
    shrink = at(_shrinking(size), severity)
    lines = [
        shrink[jnp.clip(jnp.arange(size, dtype=jnp.int32)[None] - corner[:, axis, None], 0, size - 1)]
        for axis in (0, 1)
    ]
    small = jnp.einsum("bij,bjkc->bikc", lines[0], x, precision="highest")
    small = jnp.einsum("blk,bikc->bilc", lines[1], small, precision="highest")
    mosaic = jax.vmap(lambda key, own: _mosaic(jax.random.fold_in(key, 1), own, pool))(keys, label)
    return jnp.where(_inside(corner, side, size)[..., None], jnp.clip(small, 0, 1), mosaic)


def _square(keys: Key[Array, " B"], severity: Int32[Array, ""], size: int) -> Bool[Array, "B S S"]:
    """Where the square lies that covers an image."""
    side = at(_sides(size, np.sqrt(COVERED)), severity)
    return _inside(jax.vmap(lambda key: _corner(key, size, side))(keys), side, size)


def _sides(size: int, parts: Sequence[float] | np.ndarray) -> list[int]:
    return [max(1, math.floor(size * part + 0.5)) for part in parts]


def _corner(key: Key[Array, ""], size: int, side: Int32[Array, ""]) -> Int32[Array, " two"]:
    """The upper left corner (row, column) of a square that lies in the image."""
    return jax.random.randint(jax.random.fold_in(key, 0), (2,), 0, size - side + 1)


def _inside(corner: Int32[Array, "B 2"], side: Int32[Array, ""], size: int) -> Bool[Array, "B S S"]:
    line = jnp.arange(size, dtype=jnp.int32)[None]
    row, column = ((line >= first[:, None]) & (line < first[:, None] + side) for first in corner.T)
    return row[:, :, None] & column[:, None, :]


def _others(key: Key[Array, ""], own: Int32[Array, ""], pool: Pool, count: int) -> Int32[Array, " count"]:
    """Rows of the pool with labels other than `own`, each as likely as the others; one may come twice."""
    before = jnp.cumsum((pool.label != own).astype(jnp.int32))
    rank = jax.random.randint(key, (count,), 0, before[-1])
    return (before[None] <= rank[:, None]).sum(1).astype(jnp.int32)


def _mosaic(key: Key[Array, ""], own: Int32[Array, ""], pool: Pool) -> Array:
    size = pool.image.shape[1]
    tile = -(-size // TILES)
    rows = _others(jax.random.fold_in(key, 0), own, pool, TILES**2)
    corners = jax.random.randint(jax.random.fold_in(key, 1), (TILES**2, 2), 0, size - tile + 1)

    def cut(row: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(pool.image, (row, corner[0], corner[1], 0), (1, tile, tile, 3))[0]

    tiles = jax.vmap(cut)(rows, corners).reshape(TILES, TILES, tile, tile, 3)
    whole = jnp.moveaxis(tiles, 2, 1).reshape(TILES * tile, TILES * tile, 3)[:size, :size]
    return whole.astype(jnp.float32) / 255


@functools.cache
def _shrinking(size: int) -> np.ndarray:
    """Antialiased bilinear reduction as matrices (SEVERITIES, size, size) float32; rows beyond the small side are 0."""
    found = np.zeros((len(SHRUNK), size, size))
    for matrix, side in zip(found, _sides(size, SHRUNK), strict=True):
        scale = size / side
        centre = (np.arange(side)[:, None] + 0.5) * scale - 0.5
        weights = np.maximum(1 - abs(np.arange(size)[None] - centre) / scale, 0)
        matrix[:side] = weights / weights.sum(1, keepdims=True)
    return found.astype(np.float32)


SHIFTS = {
    "occlusion": Shift(grey, smallest=4),
    "occlusion_noise": Shift(noise, smallest=4),
    "occlusion_image": Shift(image, smallest=4, pool=True),
    "clutter": Shift(clutter, smallest=TILES, pool=True),
}
