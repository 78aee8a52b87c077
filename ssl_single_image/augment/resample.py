"""One antialiased lookup per pixel: the crop's affine map picks the mip level, four taps give the colour.

Pixels leave as packed words of three times ten bits, a quarter of a level of the source: what follows reads 4 bytes a
pixel instead of 12, and on a CPU the arithmetic of four taps takes two lanes of one integer at a time.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from ssl_single_image.augment.stage import stage
from ssl_single_image.images.atlas import Atlas

Planes = tuple[jax.Array, jax.Array, jax.Array]
"""Red, green and blue, (B, S, S) float32 in [0, 1] each: XLA:CPU computes with planes several times faster than with
interleaved channels."""

_FULL = 1020
"""The largest value of a channel in a packed word: 255, with two fractional bits."""
_BITS, _MASK = 10, 1023
_TWO_LANES = 0xFF00FF
_STEPS = 16
"""Parts of a pixel that taps are weighted by: the four weights of 1 / 256 fit beside 8 bits into a lane."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Place:
    """Where B crops lie in the mip level that each is read from; all that is computed once a crop.

    Attributes:
      matrix: (B, 2, 2) float32, crop pixels to pixels of the level, in (y, x) order.
      centre: (B, 2) float32, the index of the level's pixel under the crop's centre, fractional.
      offset: (B,) int32, where the level starts in `Atlas.words`.
      stride: (B,) int32, from a pixel to the one below it.
      last: (B, 2) int32, index of the level's last row and column.
    """

    matrix: jax.Array
    centre: jax.Array
    offset: jax.Array
    stride: jax.Array
    last: jax.Array


def locate(atlas: Atlas, image: jax.Array, matrix: jax.Array, centre: jax.Array) -> Place:
    """Picks the mip levels of crops.

    Args:
      atlas: the source images.
      image: (B,) int32, which image each crop is taken from.
      matrix: (B, 2, 2), crop to source, in (y, x) order.
      centre: (B, 2), the source point under the crop's centre.
    """
    determinant = matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]
    footprint = jnp.log2(
        jnp.maximum(jnp.abs(determinant), 1e-12)
    )  # of an area in octaves: of a length in levels
    level = jnp.clip(jnp.floor(footprint), 0, atlas.levels - 1).astype(jnp.int32)
    scale = jnp.exp2(-0.5 * level.astype(jnp.float32))[:, None]
    sides = jnp.stack([atlas.height[image, level], atlas.width[image, level]], -1)
    return Place(
        matrix * scale[..., None],
        centre * scale - 0.5,
        atlas.offset[image, level],
        atlas.stride[image, level],
        sides - 1,
    )


def points(matrix: jax.Array, centre: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Where all pixel centres of crops of `size` pixels lie: y and x, (B, S, S) float32 each.

    Args:
      matrix: (B, 2, 2), from crop pixels, in (y, x) order.
      centre: (B, 2), the point under the crop's centre.
      size: side S of the crop.
    """
    steps = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    rows, columns = steps[None, :, None], steps[None, None, :]
    y, x = (
        _each(matrix[:, i, 0]) * rows + _each(matrix[:, i, 1]) * columns + _each(centre[:, i]) for i in (0, 1)
    )
    return y, x


def lookup(words: jax.Array, place: Place, always: jax.Array, *, size: int, interpolation: str) -> jax.Array:
    """Renders crops; beyond the border of an image its nearest edge pixel is seen.

    Args:
      words: those of the atlas.
      place: where the crops lie.
      always: see `stage`.
      size: side S of the crop.
      interpolation: "bilinear" or "bicubic".

    Returns:
      (B, S, S) uint32 packed pixels, see `unpack`.
    """
    if interpolation == "bicubic":
        return stage(always, partial(_bicubic, size=size), words, place)
    # XLA:CPU gathers slowly where it has to compute the index on the way, and fast where it finds it in memory.
    corner, parts = stage(always, partial(_corners, size=size), place)
    return stage(always, _bilinear, words, place.stride, corner, parts)


def unpack(words: jax.Array) -> Planes:
    """Packed pixels -> their channels, float32 in [0, 1]."""
    signed = words.astype(jnp.int32)  # x86 converts signed integers to floats several times faster
    red, green, blue = (
        (signed >> shift & _MASK).astype(jnp.float32) * (1 / _FULL) for shift in (0, _BITS, 2 * _BITS)
    )
    return red, green, blue


def pack(planes: Planes) -> jax.Array:
    """The inverse of `unpack`, to rounding; channels within [0, 1]."""
    red, green, blue = ((plane * _FULL + 0.5).astype(jnp.int32) for plane in planes)
    return (red | green << _BITS | blue << 2 * _BITS).astype(jnp.uint32)


def interleave(words: jax.Array) -> jax.Array:
    """Packed pixels (B, S, S) -> (B, S, S, 3) float32 in [0, 1]."""
    shifts = jnp.arange(0, 3 * _BITS, _BITS, dtype=jnp.int32)
    return (words.astype(jnp.int32)[..., None] >> shifts & _MASK).astype(jnp.float32) * (1 / _FULL)


def _corners(place: Place, size: int) -> tuple[jax.Array, jax.Array]:
    """Of each pixel of (B, S, S), unsigned: the index of its upper left tap, and the weights of the lower and of the
    right taps in parts of _STEPS, 16 bits each."""
    (top, lower), (left, right) = (_split(at, last) for at, last in _coordinates(place, size))
    corner = _each(place.offset) + top * _each(place.stride) + left
    return corner.astype(jnp.uint32), lower << 16 | right


def _bilinear(words: jax.Array, stride: jax.Array, corner: jax.Array, parts: jax.Array) -> jax.Array:
    lower, right = parts >> 16, parts & 0xFFFF

    def row(first: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        # In an image one pixel wide or high the second tap is some other pixel, and its weight is 0.
        here, there = _tap(words, first), _tap(words, first + 1)
        red_blue = (here & _TWO_LANES) * (_STEPS - right) + (there & _TWO_LANES) * right
        green = (here >> 8 & 0xFF) * (_STEPS - right) + (there >> 8 & 0xFF) * right
        return red_blue & 0xFFFF, green, red_blue >> 16

    above, below = row(corner), row(corner + _each(stride).astype(jnp.uint32))
    # 8 whole and 8 fractional bits, of which two are kept.
    red, green, blue = (
        (a * (_STEPS - lower) + b * lower + 32) >> 6 for a, b in zip(above, below, strict=True)
    )
    return red | green << _BITS | blue << 2 * _BITS


def _coordinates(place: Place, size: int) -> list[tuple[jax.Array, jax.Array]]:
    """For rows, then columns: (B, S, S) positions in the level, and its last one (B, 1, 1)."""
    at = points(place.matrix, place.centre, size)
    return [(at[i], _each(place.last[:, i])) for i in (0, 1)]


def _split(position: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
    """First of the two taps around a coordinate (int32), and the weight of the second in parts of _STEPS (uint32)."""
    at = jnp.clip(position, 0, last.astype(jnp.float32))
    first = jnp.minimum(at.astype(jnp.int32), jnp.maximum(last - 1, 0))
    return first, ((at - first) * _STEPS + 0.5).astype(jnp.int32).astype(jnp.uint32)


def _tap(words: jax.Array, index: jax.Array) -> jax.Array:
    return words.at[index].get(mode="promise_in_bounds")


def _bicubic(words: jax.Array, place: Place, size: int) -> jax.Array:
    (rows, row_weights), (columns, column_weights) = (
        _cubic_taps(at, last) for at, last in _coordinates(place, size)
    )
    totals = [jnp.zeros(row_weights[0].shape, jnp.float32)] * 3
    for row, weight in zip(rows, row_weights, strict=True):
        start = _each(place.offset) + row * _each(place.stride)
        for column, factor in zip(columns, column_weights, strict=True):
            word = _tap(words, start + column)
            channels = (word >> shift & 0xFF for shift in (0, 8, 16))
            totals = [
                total + weight * factor * channel.astype(jnp.float32)
                for total, channel in zip(totals, channels, strict=True)
            ]
    red, green, blue = (jnp.clip(total * (1 / 255), 0, 1) for total in totals)
    return pack((red, green, blue))


def _cubic_taps(at: jax.Array, last: jax.Array) -> tuple[list[jax.Array], list[jax.Array]]:
    """Indices and weights of the four taps of Keys' cubic (a = -1/2, as Pillow's)."""
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
