"""Source images as one packed mip pyramid on the device.

Level l of an image is the source reduced by sqrt(2)**l with an antialiasing cubic filter (the one of Pillow's bicubic
resize). With two levels an octave, the next finer one is never sqrt(2) finer than a crop, so four taps in it are
enough. Each level but the source itself is softened by a narrow kernel. It stands for half of what the second,
bilinear resampling of a two-step pipeline (PIL's resize, then affine) blurs on average.

Pixel (i, j) of level l stands for the source over [i, i + 1) x [j, j + 1), scaled by sqrt(2)**l. A point (y, x) of the
source lies at exactly (y, x) / sqrt(2)**l in level l, for sizes of any parity. Sides are rounded up, over repeated edge
pixels. Filtering is integer arithmetic: NumPy and every JAX backend give the same bits.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, UInt8

from ssl_single_image.types import InputError

_MAX_PIXELS = 2**31 - 1
_MAX_SIDE = 2**19 - 1  # positions are counted in parts of 2**-12 of a pixel
_STRIP = 512
_PIXELS_AT_ONCE = 1 << 20
"""Of small images of one size, which are reduced together: 50,000 of CIFAR one by one would take minutes."""
_FRACTION = 8
"""Fractional bits that pixels are carried with from octave to octave."""
_UNIT = 1 << 12
"""What the integer weights of a filter sum to."""
_Array = TypeVar("_Array", np.ndarray, jax.Array)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Atlas:
    """N images with all their mip levels, a pytree; pass it to compiled functions as an argument.

    Images with fewer levels than the largest repeat their last one (a single pixel).

    Attributes:
      texels: (R,) uint32, the pixels of all levels of all images, row by row, each `red + (green << 8) + (blue << 16)`:
        one load a pixel.
      offset: (N, L) int32, where in `texels` a level starts.
      height: (N, L) int32, pixels.
      width: (N, L) int32, pixels.
      stride: (N, L) int32, distance in `texels` from a pixel to the one below it.
    """

    texels: jax.Array
    offset: jax.Array
    height: jax.Array
    width: jax.Array
    stride: jax.Array

    @property
    def count(self) -> int:
        """Number of images."""
        return self.offset.shape[0]

    @property
    def levels(self) -> int:
        """Number of mip levels of the largest image."""
        return self.offset.shape[1]


def build_atlas(pixels: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Atlas:
    """Packs images of any sizes into an atlas, on the device.

    Args:
      pixels: (H, W, 3) uint8 each, at least one.

    Raises:
      InputError: no image, one of another shape or type, a side of more than 524,287 pixels, or more pixels in all
        than int32 can address.
    """
    if not len(pixels):
        raise InputError("an atlas needs at least one image")
    for i, image in enumerate(pixels):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
            raise InputError(f"image {i}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
        if max(image.shape) > _MAX_SIDE:
            raise InputError(f"image {i} is {max(image.shape):,} pixels long; the limit is {_MAX_SIDE:,}")
    depth = max(_depth(max(image.shape[:2])) for image in pixels)
    sizes = np.array([_level_sizes(image.shape[:2], depth) for image in pixels])
    counts = _stored(sizes)
    _check_count(int(counts.sum()))
    texels, filled = np.empty(counts.sum(), np.uint32), 0
    for images in _alike(pixels):
        part = _texels(images)
        texels[filled : filled + part.size] = part
        filled += part.size
    starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    offset = np.maximum.accumulate(np.where(counts > 0, starts, 0), axis=1)
    height, width = (jnp.asarray(sizes[..., axis], jnp.int32) for axis in (0, 1))
    return Atlas(jnp.asarray(texels), jnp.asarray(offset, jnp.int32), height, width, stride=width)


def atlas_from_batch(image: UInt8[Array, "B M M 3"], extent: Int32[Array, "B 2"]) -> Atlas:
    """Builds an atlas of a batch of images on equal canvases. It is pure JAX, for use inside a step.

    Args:
      image: (B, M, M, 3) uint8, each image in the top left corner of its canvas.
      extent: (B, 2) int32, (height, width) that each image fills, at least 1.

    Returns:
      An atlas whose crops equal, bit for bit, those of `build_atlas` on the cut-out images.

    Raises:
      InputError: more pixels than int32 can address.
    """
    batch, side = image.shape[:2]
    depth = _depth(side)
    sides = np.array([[level_side(n, level) for level in range(depth)] for n in range(side + 1)])
    strides = sides[side]
    _check_count(batch * int((strides**2).sum()))
    extents = jnp.asarray(sides, jnp.int32)[extent]  # (B, 2, L)
    fixed = _extend(image, extent).astype(jnp.int32) << _FRACTION
    levels = []
    for level in range(0, depth, 2):
        levels.append(_to_bytes(_soften(fixed) if level else fixed))
        if level + 1 < depth:
            between = _extend(_reduce_both(fixed, math.sqrt(2)), extents[..., level + 1])
            levels.append(_to_bytes(_soften(between)))
            fixed = _extend(_reduce_both(fixed, 2), extents[..., level + 2])
    counts = batch * strides**2
    offset = np.cumsum(counts) - counts + np.arange(batch)[:, None] * strides**2
    return Atlas(
        texels=jnp.concatenate([_pack(level).ravel() for level in levels]),
        offset=jnp.asarray(offset, jnp.int32),
        height=extents[:, 0],
        width=extents[:, 1],
        stride=jnp.broadcast_to(jnp.asarray(strides, jnp.int32), (batch, depth)),
    )


def _extend(image: jax.Array, extent: jax.Array) -> jax.Array:
    """Fills the canvas of (B, M, M, 3) outside each image, of size `extent`, with the nearest edge pixel."""
    steps = jnp.arange(image.shape[1], dtype=extent.dtype)[None]
    rows = jnp.minimum(steps, extent[:, :1] - 1)
    columns = jnp.minimum(steps, extent[:, 1:] - 1)
    return jax.vmap(lambda one, i, j: one[i][:, j])(image, rows, columns)


def _alike(pixels: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """The images in order as (B, H, W, 3), those of one size that follow each other together."""
    for (height, width, _), group in itertools.groupby(pixels, key=lambda image: image.shape):
        while part := list(itertools.islice(group, max(1, _PIXELS_AT_ONCE // (height * width)))):
            yield np.stack(part) if len(part) > 1 else part[0][None]


def _texels(images: np.ndarray) -> np.ndarray:
    """All levels of (B, H, W, 3) uint8, image by image."""
    return np.concatenate(
        [_pack(level).reshape(len(images), -1) for level in _pyramid(images)], axis=1
    ).ravel()


def _pyramid(octave: np.ndarray) -> list[np.ndarray]:
    """Levels of (B, H, W, 3) uint8 down to one pixel. Between octaves, values are neither rounded nor clipped."""
    levels = [octave]
    while max(octave.shape[1:3]) > 1:
        levels.append(_to_bytes(_soften(_reduce_both(octave, math.sqrt(2)))))
        octave = _reduce_both(octave, 2)
        levels.append(_to_bytes(_soften(octave)))
    return levels


def _soften(a: _Array) -> _Array:
    """Rows and columns of (B, H, W, 3) fixed point blurred by (1, 10, 1) / 12, repeating edge pixels."""
    library: Any = np if isinstance(a, np.ndarray) else jnp
    b = library.pad(a, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    a = (b[:, :-2] + 10 * a + b[:, 2:] + 6) // 12
    b = library.pad(a, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    return (b[:, :, :-2] + 10 * a + b[:, :, 2:] + 6) // 12


def _reduce_both(a: _Array, factor: float) -> _Array:
    """Reduces height and width of (B, H, W, 3), uint8 or fixed point; the result is fixed point."""
    if isinstance(a, np.ndarray) and a.dtype == np.uint8:
        # The source in int32 would take four times its size, so its first reduction takes it in strips.
        strips = np.array_split(a, -(-a.shape[1] // _STRIP), axis=1)
        narrow = [_reduce(strip.astype(np.int32) << _FRACTION, factor, axis=2) for strip in strips]
        return _reduce(np.concatenate(narrow, axis=1), factor, axis=1)
    return _reduce(_reduce(a, factor, axis=2), factor, axis=1)


def _reduce(a: _Array, factor: float, axis: int) -> _Array:
    """Reduces one axis of (B, H, W, 3) int32 by `factor`, 2 or sqrt(2), repeating edge pixels beyond the borders."""
    first, weights = _filter(a.shape[axis], factor)
    count, taps = weights.shape
    pad = [(0, 0)] * 4
    pad[axis] = (taps, taps)
    library: Any = np if isinstance(a, np.ndarray) else jnp
    padded = library.pad(a, pad, mode="edge")
    shape = [1] * 4
    shape[axis] = count
    total: Any = _UNIT // 2  # rounds to nearest
    for k in range(taps):
        if factor == 2:  # equal steps: a slice is faster than a gather
            start = int(first[0]) + taps + k
            along = [slice(None)] * 4
            along[axis] = slice(start, start + 2 * count - 1, 2)
            values = padded[tuple(along)]
        else:
            values = library.take(padded, first + taps + k, axis=axis)
        total = total + values * weights[:, k].reshape(shape)
    return total // _UNIT


@functools.lru_cache(maxsize=256)
def _filter(side: int, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """First taps (n,) and integer weights (n, T) of Keys' cubic (a = -1/2), stretched by `factor`, for a side's pixels.

    Pixel i of the n = ceil(side / factor) looks at the source around (i + 1/2) factor.
    """
    count = _reduced(side, factor)
    centre = (np.arange(count) + 0.5) * factor - 0.5
    taps = math.ceil(4 * factor)
    first = np.floor(centre - 2 * factor).astype(int) + 1
    distance = np.abs(first[:, None] + np.arange(taps) - centre[:, None]) / factor
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    exact = np.where(distance < 1, near, np.where(distance < 2, far, 0))
    exact *= _UNIT / exact.sum(axis=1, keepdims=True)
    weights = np.rint(exact).astype(np.int32)
    largest = weights.argmax(axis=1)
    weights[np.arange(count), largest] += _UNIT - weights.sum(axis=1)
    return first, weights


def _to_bytes(fixed: _Array) -> _Array:
    whole = (fixed + (1 << _FRACTION - 1)) >> _FRACTION
    return whole.clip(0, 255).astype(np.uint8)


@functools.lru_cache(maxsize=256)
def _level_sizes(shape: tuple[int, int], depth: int) -> list[list[int]]:
    return [[level_side(side, level) for side in shape] for level in range(depth)]


def level_side(side: int, level: int) -> int:
    """Pixels of a source's side of `side` pixels in level `level`."""
    octave = -(-side // 2 ** (level // 2))
    return _reduced(octave, math.sqrt(2)) if level % 2 else octave


def _reduced(side: int, factor: float) -> int:
    """ceil(side / factor) for a factor of 2 or sqrt(2), exactly."""
    return -(-side // 2) if factor == 2 else math.isqrt((side * side - 1) // 2) + 1 if side else 0


def _depth(side: int) -> int:
    """Number of levels from `side` pixels down to one, two an octave."""
    return 2 * (side - 1).bit_length() + 1


def _pack(pixels: _Array) -> _Array:
    """(..., 3) uint8 -> (...) uint32."""
    red, green, blue = (pixels[..., i].astype(np.uint32) for i in range(3))
    return red | green << 8 | blue << 16


def _stored(sizes: np.ndarray) -> np.ndarray:
    """(N, L) pixels that each level adds; 0 for the repeated single pixel."""
    counts = sizes.prod(axis=-1)
    repeated = np.zeros_like(counts, dtype=bool)
    repeated[:, 1:] = (counts[:, 1:] == 1) & (counts[:, :-1] == 1)
    return np.where(repeated, 0, counts)


def _check_count(count: int) -> None:
    if count > _MAX_PIXELS:
        raise InputError(
            f"the images have {count:,} pixels with their mip levels; the limit is {_MAX_PIXELS:,}"
        )
