"""One antialiased lookup per pixel: the affine map picks the mip level, and four taps (its pixels) are blended.

Pixels are returned as packed words of three times ten bits, in quarters of the source's levels. Later stages then read
4 bytes a pixel instead of 12. On a CPU one integer holds two channels of a tap at a time.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from ssl_single_image.images.atlas import Atlas
from ssl_single_image.ops.materialise import materialise

Planes = tuple[jax.Array, jax.Array, jax.Array]
"""Red, green and blue, (B, S, S) float32 in [0, 1] each: XLA:CPU computes with planes several times faster than with
interleaved channels."""

_FULL = 1020
"""The largest value of a channel in a packed word: 255, with two fractional bits."""
_BITS, _MASK = 10, 1023
_TWO_LANES = 0xFF00FF
_STEP_BITS = 4
_STEPS = 2**_STEP_BITS
"""Parts of a pixel that taps are weighted by: the four weights of 1 / 256 fit beside 8 bits into a lane."""
_UNIT_BITS = 16
_UNIT = 2**_UNIT_BITS
"""Parts of a pixel that positions are counted in, from a crop's centre."""
CENTRE_UNIT = 2**12
"""Parts of a pixel that a centre is rounded to, from the border: positions up to 2**19 fit into 32 bits."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Place:
    """Where B crops lie in the mip level that each is read from; computed once for each crop.

    All numbers are whole. The taps of a pixel and their weights are therefore the same on every device, in any batch
    and in any compiled program. Floats would differ in the last bit where a compiler fuses a product and a sum. A pixel
    on the border between two weights would then differ visibly.

    Attributes:
      matrix: (B, 2, 2) int32, half crop pixels to pixels of the level in parts of _UNIT, in (y, x) order.
      centre: (B, 2) int32, where the crop's centre lies in the pixel `index`, in parts of _UNIT.
      index: (B,) int32, that pixel's index in `Atlas.texels`.
      stride: (B,) int32, from a pixel to the one below it.
      first: (B, 2) int32, the level's first row and column, from that pixel.
      last: (B, 2) int32, the level's last row and column, from that pixel.
    """

    matrix: jax.Array
    centre: jax.Array
    index: jax.Array
    stride: jax.Array
    first: jax.Array
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
    at = whole(centre * scale, CENTRE_UNIT) - CENTRE_UNIT // 2
    pixel, stride = at // CENTRE_UNIT, atlas.stride[image, level]
    sides = jnp.stack([atlas.height[image, level], atlas.width[image, level]], -1)
    return Place(
        whole(matrix * scale[..., None], _UNIT // 2),
        at % CENTRE_UNIT * (_UNIT // CENTRE_UNIT),
        atlas.offset[image, level] + pixel[:, 0] * stride + pixel[:, 1],
        stride,
        -pixel,
        sides - 1 - pixel,
    )


def points(matrix: jax.Array, centre: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Where all pixel centres of crops of `size` pixels lie: y and x, (B, S, S) int32 each, in parts of a pixel.

    Args:
      matrix: (B, 2, 2) int32, from half crop pixels, in (y, x) order.
      centre: (B, 2) int32, the point under the crop's centre.
      size: side S of the crop.
    """
    steps = 2 * jnp.arange(size, dtype=jnp.int32) - (size - 1)
    rows, columns = steps[None, :, None], steps[None, None, :]
    y, x = (
        _each(matrix[:, i, 0]) * rows + _each(matrix[:, i, 1]) * columns + _each(centre[:, i]) for i in (0, 1)
    )
    return y, x


def whole(x: jax.Array, unit: int) -> jax.Array:
    """x in parts of 1 / unit, a power of two, as int32. A product alone: no compiler rounds it in two ways."""
    return jnp.round(x * unit).astype(jnp.int32)


def lookup(texels: jax.Array, place: Place, always: jax.Array, *, size: int, interpolation: str) -> jax.Array:
    """Renders crops; beyond the border of an image its nearest edge pixel is seen.

    Args:
      texels: those of the atlas.
      place: where the crops lie.
      always: see `materialise`.
      size: side S of the crop.
      interpolation: "bilinear" or "bicubic".

    Returns:
      (B, S, S) uint32 packed pixels, see `unpack`.
    """
    if interpolation == "bicubic":
        return materialise(always, partial(_bicubic, size=size), texels, place)
    # XLA:CPU gathers slowly where it has to compute the index on the way, and fast where it finds it in memory.
    corner, parts = materialise(always, partial(_corners, size=size), place)
    return materialise(always, _bilinear, texels, place.stride, corner, parts)


def unpack(packed: jax.Array) -> Planes:
    """Packed pixels -> their channels, float32 in [0, 1]."""
    signed = packed.astype(jnp.int32)  # x86 converts signed integers to floats several times faster
    red, green, blue = (
        (signed >> shift & _MASK).astype(jnp.float32) * (1 / _FULL) for shift in (0, _BITS, 2 * _BITS)
    )
    return red, green, blue


def pack(planes: Planes) -> jax.Array:
    """The inverse of `unpack`, to rounding; channels within [0, 1]."""
    red, green, blue = ((plane * _FULL + 0.5).astype(jnp.int32) for plane in planes)
    return (red | green << _BITS | blue << 2 * _BITS).astype(jnp.uint32)


def interleave(packed: jax.Array) -> jax.Array:
    """Packed pixels (B, S, S) -> (B, S, S, 3) float32 in [0, 1]."""
    shifts = jnp.arange(0, 3 * _BITS, _BITS, dtype=jnp.int32)[None, None, None]
    return (packed.astype(jnp.int32)[..., None] >> shifts & _MASK).astype(jnp.float32) * (1 / _FULL)


def _corners(place: Place, size: int) -> tuple[jax.Array, jax.Array]:
    """Of each pixel of (B, S, S), unsigned: the index of its upper left tap, and the weights of the lower and of the
    right taps in parts of _STEPS, 16 bits each."""
    (top, lower), (left, right) = (_split(*axis) for axis in _coordinates(place, size))
    corner = _each(place.index) + top * _each(place.stride) + left
    return corner.astype(jnp.uint32), (lower << 16 | right).astype(jnp.uint32)


def _bilinear(texels: jax.Array, stride: jax.Array, corner: jax.Array, parts: jax.Array) -> jax.Array:
    lower, right = parts >> 16, parts & 0xFFFF

    def row(first: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        # In an image one pixel wide or high the second tap is some other pixel, and its weight is 0.
        here, there = _tap(texels, first), _tap(texels, first + 1)
        red_blue = (here & _TWO_LANES) * (_STEPS - right) + (there & _TWO_LANES) * right
        green = (here >> 8 & 0xFF) * (_STEPS - right) + (there >> 8 & 0xFF) * right
        return red_blue & 0xFFFF, green, red_blue >> 16

    above, below = row(corner), row(corner + _each(stride).astype(jnp.uint32))
    # 8 whole and 8 fractional bits, of which two are kept.
    red, green, blue = (
        (a * (_STEPS - lower) + b * lower + 32) >> 6 for a, b in zip(above, below, strict=True)
    )
    return red | green << _BITS | blue << 2 * _BITS


def _coordinates(place: Place, size: int) -> list[tuple[jax.Array, jax.Array, jax.Array]]:
    """For rows, then columns: (B, S, S) int32 positions in parts of _UNIT, and the level's first and last, (B, 1, 1);
    all from the pixel `place.index`."""
    at = points(place.matrix, place.centre, size)
    return [(at[i], _each(place.first[:, i]), _each(place.last[:, i])) for i in (0, 1)]


def _split(position: jax.Array, first: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The first of the two taps around a position, and the weight of the second in parts of _STEPS."""
    bits = _UNIT_BITS - _STEP_BITS  # shifts: XLA's division of signed integers asks for signs and remainders
    at = jnp.clip(position + 2 ** (bits - 1) >> bits, first * _STEPS, last * _STEPS)
    tap = jnp.minimum(at >> _STEP_BITS, jnp.maximum(last - 1, first))
    return tap, at - tap * _STEPS


def _tap(texels: jax.Array, index: jax.Array) -> jax.Array:
    return texels.at[index].get(mode="promise_in_bounds")


def _bicubic(texels: jax.Array, place: Place, size: int) -> jax.Array:
    (rows, row_weights), (columns, column_weights) = (
        _cubic_taps(*axis) for axis in _coordinates(place, size)
    )
    totals = [jnp.zeros(row_weights[0].shape, jnp.float32)] * 3
    for row, weight in zip(rows, row_weights, strict=True):
        start = _each(place.index) + row * _each(place.stride)
        for column, factor in zip(columns, column_weights, strict=True):
            texel = _tap(texels, start + column)
            channels = (texel >> shift & 0xFF for shift in (0, 8, 16))
            totals = [
                total + weight * factor * channel.astype(jnp.float32)
                for total, channel in zip(totals, channels, strict=True)
            ]
    red, green, blue = (jnp.clip(total * (1 / 255), 0, 1) for total in totals)
    return pack((red, green, blue))


def _cubic_taps(
    position: jax.Array, first: jax.Array, last: jax.Array
) -> tuple[list[jax.Array], list[jax.Array]]:
    """The four taps of Keys' cubic (a = -1/2, as Pillow's) and their weights."""
    base = position >> _UNIT_BITS
    t = (position & _UNIT - 1).astype(jnp.float32) * (1 / _UNIT)
    weights = [
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    ]
    return [jnp.clip(base + k, first, last) for k in (-1, 0, 1, 2)], weights


def _each(values: jax.Array) -> jax.Array:
    return values[:, None, None]
