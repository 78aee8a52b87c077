"""One antialiased lookup per pixel: the crop's affine map picks the mip level, a few taps give the colour."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ssl_single_image.images.atlas import Atlas


def source_points(matrix: jax.Array, centre: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Source coordinates of all pixel centres of crops.

    Args:
      matrix: (B, 2, 2), crop to source, in (y, x) order.
      centre: (B, 2).
      size: side S of the crop.

    Returns:
      y, x: (B, S, S) float32 each, in source pixels.
    """
    steps = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    rows, columns = steps[None, :, None], steps[None, None, :]
    y, x = (
        _each(matrix[:, i, 0]) * rows + _each(matrix[:, i, 1]) * columns + _each(centre[:, i]) for i in (0, 1)
    )
    return y, x


def lookup(
    atlas: Atlas, image: jax.Array, matrix: jax.Array, centre: jax.Array, *, size: int, interpolation: str
) -> jax.Array:
    """Renders crops; beyond the border of an image its nearest edge pixel is seen.

    Args:
      atlas: the source images.
      image: (B,) int32, which image each crop is taken from.
      matrix: (B, 2, 2), crop to source, in (y, x) order.
      centre: (B, 2), the source point under the crop's centre.
      size: side S of the crop.
      interpolation: "bilinear", "trilinear" or "bicubic".

    Returns:
      (B, S, S, 3) float32 in [0, 255].
    """
    y, x = source_points(matrix, centre, size)
    determinant = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    footprint = 0.5 * jnp.log2(jnp.maximum(jnp.abs(determinant), 1e-12))  # mean of the two axes, in octaves
    level = jnp.clip(footprint, 0, atlas.levels - 1)
    if interpolation == "trilinear":
        low = jnp.floor(level).astype(jnp.int32)
        high = jnp.minimum(low + 1, atlas.levels - 1)
        fine, coarse = (_bilinear(_Level(atlas, image, each), y, x) for each in (low, high))
        return fine + (level - low)[:, None, None, None] * (coarse - fine)
    taps = {"bilinear": _bilinear, "bicubic": _bicubic}[interpolation]
    return taps(_Level(atlas, image, jnp.round(level).astype(jnp.int32)), y, x)


class _Level:
    """One mip level per crop: its table entries, shaped (B, 1, 1)."""

    def __init__(self, atlas: Atlas, image: jax.Array, level: jax.Array):
        self.rows = atlas.rows
        self.offset = _each(atlas.offset[image, level])
        self.stride = _each(atlas.stride[image, level])
        self.last_row = _each(atlas.height[image, level]) - 1
        self.last_column = _each(atlas.width[image, level]) - 1
        self.scale = _each(jnp.exp2(-level.astype(jnp.float32)))

    def tap(self, index: jax.Array) -> jax.Array:
        return self.rows.at[index].get(mode="promise_in_bounds").astype(jnp.float32)


def _bilinear(level: _Level, y: jax.Array, x: jax.Array) -> jax.Array:
    top, fy = _split(y, level.scale, level.last_row)
    left, fx = _split(x, level.scale, level.last_column)
    right = jnp.minimum(level.last_column, 1)  # steps of 0 in an image one pixel wide or high
    down = jnp.minimum(level.last_row, 1) * level.stride
    index = level.offset + top * level.stride + left
    upper = _mix(level.tap(index), level.tap(index + right), fx)
    lower = _mix(level.tap(index + down), level.tap(index + down + right), fx)
    return _mix(upper, lower, fy)


def _split(position: jax.Array, scale: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First of the two taps around a coordinate (int32), and the weight (..., 1) of the second."""
    at = jnp.clip(position * scale - 0.5, 0, last.astype(jnp.float32))
    first = jnp.clip(at.astype(jnp.int32), 0, jnp.maximum(last - 1, 0))
    return first, (at - first)[..., None]


def _mix(a: jax.Array, b: jax.Array, weight: jax.Array) -> jax.Array:
    return a + weight * (b - a)


def _bicubic(level: _Level, y: jax.Array, x: jax.Array) -> jax.Array:
    rows, row_weights = _cubic_taps(y, level.scale, level.last_row)
    columns, column_weights = _cubic_taps(x, level.scale, level.last_column)
    total = jnp.zeros((*y.shape, 3), jnp.float32)
    for row, weight in zip(rows, row_weights, strict=True):
        start = level.offset + row * level.stride
        for column, factor in zip(columns, column_weights, strict=True):
            total += (weight * factor)[..., None] * level.tap(start + column)
    return jnp.clip(total, 0, 255)


def _cubic_taps(
    position: jax.Array, scale: jax.Array, last: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """Indices and weights of the four taps of Keys' cubic (a = -1/2, as Pillow's)."""
    at = position * scale - 0.5
    base = jnp.floor(at)
    t = at - base
    weights = [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
    return [jnp.clip(base.astype(jnp.int32) + k, 0, last) for k in (-1, 0, 1, 2)], weights


def _each(values: jax.Array) -> jax.Array:
    return values[:, None, None]
