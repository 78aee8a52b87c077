"""JPEG compression of CIFAR-10-C (Hendrycks & Dietterich 2019), with the bits of libjpeg.

Encoding and decoding are those of libjpeg's defaults, which Pillow uses: 8-bit YCbCr, colours at half the resolution
(4:2:0), the accurate integer DCT, the tables of the standard (ITU T.81, annex K) scaled by quality, and colours
enlarged by triangular weights. Entropy coding loses nothing and is left out. All is integer arithmetic, so no
processor rounds differently.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from ssl_single_image.augment.shifts.base import Images, Shift, at, levels

QUALITY = (80, 65, 58, 50, 40)

# fmt: off
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61,
    12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,
    24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99,
    18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99,
    *[99] * 32,
)
# fmt: on
_COLOUR_BITS, _DCT_BITS, _PASS_BITS = 16, 13, 2
"""Fractional bits of the weights of colours, of those of the DCT, and of what its first pass leaves to its second."""

Plane = Int32[Array, "B H W"]


def compress(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """What Pillow makes of an image that it saves as JPEG at a quality and reads again."""
    del keys
    size = x.shape[1]
    luminance, blue, red = _to_ycc(levels(x))
    tables = at(np.array([(_table(_LUMINANCE, q), _table(_CHROMINANCE, q)) for q in QUALITY]), severity)
    luminance = _coded(luminance, tables[0])[:, :size, :size]
    blue, red = (_enlarged(_coded(_halved(plane), tables[1]), size) for plane in (blue, red))
    return _to_rgb(luminance, blue, red).astype(jnp.float32) / 255


def _table(base: tuple[int, ...], quality: int) -> np.ndarray:
    """A table of steps (8, 8) by quality, as in libjpeg's `jpeg_quality_scaling`."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return np.clip((np.array(base) * scale + 50) // 100, 1, 255).reshape(8, 8)


def _fixed(value: float) -> int:
    return int(value * (1 << _COLOUR_BITS) + 0.5)


def _to_ycc(rgb: Int32[Array, "B H W 3"]) -> tuple[Plane, Plane, Plane]:
    """Channels in [0, 255] -> luminance and the two colours, in [0, 255]."""
    half, middle = 1 << (_COLOUR_BITS - 1), 128 << _COLOUR_BITS
    r, g, b = (rgb[..., channel] for channel in range(3))
    y = r * _fixed(0.29900) + g * _fixed(0.58700) + b * _fixed(0.11400) + half
    blue = b * half - r * _fixed(0.16874) - g * _fixed(0.33126) + (middle + half - 1)
    red = r * half - g * _fixed(0.41869) - b * _fixed(0.08131) + (middle + half - 1)
    return y >> _COLOUR_BITS, blue >> _COLOUR_BITS, red >> _COLOUR_BITS


def _to_rgb(y: Plane, blue: Plane, red: Plane) -> Int32[Array, "B H W 3"]:
    half = 1 << (_COLOUR_BITS - 1)
    blue, red = blue - 128, red - 128
    r = y + (red * _fixed(1.40200) + half >> _COLOUR_BITS)
    g = y + (half - blue * _fixed(0.34414) - red * _fixed(0.71414) >> _COLOUR_BITS)
    b = y + (blue * _fixed(1.77200) + half >> _COLOUR_BITS)
    return jnp.clip(jnp.stack([r, g, b], -1), 0, 255)


def _halved(x: Plane) -> Plane:
    """Means of 2 x 2 pixels; rounding alternates by column, so that it adds nothing on average.

    libjpeg repeats the last column until the blocks are full, and the last row until its number is even.
    """
    size = x.shape[1]
    x = jnp.pad(x, ((0, 0), (0, size % 2), (0, -size % 16)), mode="edge")
    total = x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]
    bias = 1 + np.arange(total.shape[2], dtype=np.int32) % 2
    return total + jnp.asarray(bias)[None, None] >> 2


def _coded(x: Plane, table: Int32[Array, "8 8"]) -> Plane:
    """A plane in [0, 255] after DCT, rounding to a table's steps, and back; sides are filled up to whole blocks."""
    x = jnp.pad(x, ((0, 0), (0, -x.shape[1] % 8), (0, -x.shape[2] % 8)), mode="edge")
    count, height, width = x.shape
    blocks = (x - 128).reshape(count, height // 8, 8, width // 8, 8)
    cosines = jnp.asarray(_COSINES)
    blocks = _descale(jnp.einsum("bhiwj,vj->bhiwv", blocks, cosines), _DCT_BITS - _PASS_BITS)
    blocks = _descale(jnp.einsum("bhiwv,ui->bhuwv", blocks, cosines), _DCT_BITS + _PASS_BITS)
    steps = 8 * table[None, None, :, None]  # this DCT is eight times the orthonormal one
    rounded = jnp.sign(blocks) * ((jnp.abs(blocks) + steps // 2) // steps)
    blocks = rounded * table[None, None, :, None]
    blocks = _descale(jnp.einsum("bhuwv,ui->bhiwv", blocks, cosines), _DCT_BITS - _PASS_BITS)
    blocks = _descale(jnp.einsum("bhiwv,vj->bhiwj", blocks, cosines), _DCT_BITS + _PASS_BITS + 3)
    return jnp.clip(blocks + 128, 0, 255).reshape(count, height, width)


def _descale(x: Array, bits: int) -> Array:
    return x + (1 << (bits - 1)) >> bits


def _enlarged(x: Plane, size: int) -> Plane:
    """Twice the sides, by the weights 3/4 and 1/4 along each: libjpeg's "fancy upsampling", and its rounding."""
    half = -(-size // 2)
    x = x[:, :half, :half]
    rows = 3 * x
    rows = jnp.stack([rows + _neighbours(x, 1, -1), rows + _neighbours(x, 1, 1)], 2)
    rows = rows.reshape(len(x), 2 * half, half)
    left = 3 * rows + _neighbours(rows, 2, -1) + 8 >> 4
    right = 3 * rows + _neighbours(rows, 2, 1) + 7 >> 4
    return jnp.stack([left, right], -1).reshape(len(x), 2 * half, 2 * half)[:, :size, :size]


def _neighbours(x: Plane, axis: int, step: int) -> Plane:
    """The neighbour before (-1) or after (1) each entry along an axis; of those at the ends, they themselves."""
    places = np.clip(np.arange(x.shape[axis]) + step, 0, x.shape[axis] - 1)
    return jnp.take(x, jnp.asarray(places, jnp.int32), axis)


def _cosines() -> np.ndarray:
    """The rows of libjpeg's accurate DCT (jfdctint.c, after Loeffler, Ligtenberg & Moschytz 1989), in 2**-13.

    It reaches each weight by sums of rounded constants; some are therefore one off the rounded cosine. Both of its
    passes are linear before they round, and the inverse is the transpose.
    """
    even = [
        [8192] * 4,
        [10703, 4433, -4433, -10703],
        [8192, -8192, -8192, 8192],
        [4433, -10704, 10704, -4433],
    ]
    odd = [[11363, 9633, 6437, 2260], [9633, -2259, -11362, -6436], [6437, -11362, 2261, 9633]]
    odd.append([2260, -6436, 9633, -11363])
    halves = np.array([row for pair in zip(even, odd, strict=True) for row in pair], np.int32)
    signs = np.array([1, -1] * 4, np.int32)[:, None]
    return np.concatenate([halves, signs * halves[:, ::-1]], 1)


_COSINES = _cosines()

SHIFTS = {
    "jpeg": Shift(compress, smallest=5)
}  # libjpeg enlarges the colours of smaller images in another way
