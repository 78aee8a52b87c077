"""Source images as one packed mip pyramid on the device.

Level l of an image halves level l - 1 with an antialiasing cubic filter (the one of Pillow's bicubic resize);
odd sides are first extended by their last row or column. So pixel (i, j) of level l stands for the source over
[i, i + 1) x [j, j + 1), scaled by 2**l, and a point (y, x) of the source lies at exactly (y, x) / 2**l in level l,
for sizes of any parity. Filtering is integer arithmetic: NumPy and every JAX backend give the same bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image.types import InputError

_MAX_ROWS = 2**31 - 1
_STRIP = 512
_FRACTION = 8
"""Fractional bits that pixels are carried with from level to level."""
_TAPS = (-3, -9, 29, 111, 111, 29, -9, -3)
_UNIT = sum(_TAPS)
"""Keys' cubic (a = -1/2) stretched by two, at the eight pixels that it covers, in units of 1 / 256."""
_Array = TypeVar("_Array", np.ndarray, jax.Array)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Atlas:
    """N images with all their mip levels, a pytree; pass it to compiled functions as an argument.

    Images with fewer levels than the largest repeat their last one (a single pixel).

    Attributes:
      rows: (R, 3) uint8, the RGB pixels of all levels of all images, row by row.
      offset: (N, L) int32, where in `rows` a level starts.
      height: (N, L) int32, pixels.
      width: (N, L) int32, pixels.
      stride: (N, L) int32, distance in `rows` from a pixel to the one below it.
    """

    rows: jax.Array
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


def build_atlas(pixels: Sequence[np.ndarray]) -> Atlas:
    """Packs images of any sizes.

    Args:
      pixels: (H, W, 3) uint8 each, at least one.

    Raises:
      InputError: no image, one of another shape or type, or more pixels than int32 can address.
    """
    if not len(pixels):
        raise InputError("an atlas needs at least one image")
    for i, image in enumerate(pixels):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or not image.size:
            raise InputError(f"image {i}: expected (H, W, 3) uint8, got {image.shape} {image.dtype}")
    depth = max(_depth(max(image.shape[:2])) for image in pixels)
    sizes = np.array([[_level_size(image.shape[:2], level) for level in range(depth)] for image in pixels])
    counts = _stored_rows(sizes)
    _check_rows(int(counts.sum()))
    rows = np.concatenate([level.reshape(-1, 3) for image in pixels for level in _pyramid(image)])
    starts = (np.cumsum(counts) - counts.ravel()).reshape(counts.shape)
    offset = np.maximum.accumulate(np.where(counts > 0, starts, 0), axis=1)
    height, width = (jnp.asarray(sizes[..., axis], jnp.int32) for axis in (0, 1))
    return Atlas(jnp.asarray(rows), jnp.asarray(offset, jnp.int32), height, width, stride=width)


def atlas_from_batch(image: jax.Array, extent: jax.Array) -> Atlas:
    """The same for a batch of images on equal canvases. Pure JAX: meant for use inside a step.

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
    strides = [-(-side // 2**level) for level in range(depth)]
    _check_rows(batch * sum(stride**2 for stride in strides))
    levels = [_extend(image, extent)]
    fixed = levels[0].astype(jnp.int32) << _FRACTION
    for level in range(1, depth):
        fixed = _halve(_halve(fixed, axis=2), axis=1)
        fixed = _extend(fixed, -(-extent // 2**level))
        levels.append(_to_bytes(fixed))
    starts = np.cumsum([0] + [batch * stride**2 for stride in strides[:-1]])
    offset = starts + np.arange(batch)[:, None] * np.square(strides)
    scale = 2 ** jnp.arange(depth)
    height, width = (-(-extent[:, axis, None] // scale) for axis in (0, 1))
    return Atlas(
        rows=jnp.concatenate([level.reshape(-1, 3) for level in levels]),
        offset=jnp.asarray(offset, jnp.int32),
        height=height.astype(jnp.int32),
        width=width.astype(jnp.int32),
        stride=jnp.broadcast_to(jnp.asarray(strides, jnp.int32), (batch, depth)),
    )


def _extend(image: jax.Array, extent: jax.Array) -> jax.Array:
    """Fills the canvas of (B, M, M, 3) outside each image, of size `extent`, with the nearest edge pixel."""
    steps = jnp.arange(image.shape[1])
    rows = jnp.minimum(steps, extent[:, :1] - 1)
    columns = jnp.minimum(steps, extent[:, 1:] - 1)
    return jax.vmap(lambda one, i, j: one[i][:, j])(image, rows, columns)


def _pyramid(image: np.ndarray) -> list[np.ndarray]:
    """All levels of one image down to one pixel; what is carried on keeps its fraction and its overshoot."""
    levels, fixed = [image], image[None]
    while max(fixed.shape[1:3]) > 1:
        # The source in int32 would take four times its size, so the first halving takes it in strips.
        strips = np.array_split(fixed, -(-fixed.shape[1] // _STRIP), axis=1)
        fixed = np.concatenate([_halve(_to_fixed(strip), axis=2) for strip in strips], axis=1)
        fixed = _halve(fixed, axis=1)
        levels.append(_to_bytes(fixed)[0])
    return levels


def _halve(a: _Array, axis: int) -> _Array:
    """Halves one axis of (B, H, W, 3) int32, repeating edge pixels beyond the borders; odd sides round up."""
    half = -(-a.shape[axis] // 2)
    reach = len(_TAPS) // 2 - 1
    pad = [(0, 0)] * 4
    pad[axis] = (reach, reach + 2 * half - a.shape[axis])
    padded = (np if isinstance(a, np.ndarray) else jnp).pad(a, pad, mode="edge")
    along = [slice(None)] * 4
    total: Any = _UNIT // 2  # rounds to nearest
    for k, tap in enumerate(_TAPS):
        along[axis] = slice(k, k + 2 * half, 2)
        total = total + padded[tuple(along)] * tap
    return total // _UNIT


def _to_fixed(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.int32 else pixels.astype(np.int32) << _FRACTION


def _to_bytes(fixed: _Array) -> _Array:
    whole = (fixed + (1 << _FRACTION - 1)) >> _FRACTION
    return whole.clip(0, 255).astype(np.uint8)


def _depth(side: int) -> int:
    """Number of levels from `side` pixels down to one."""
    return (side - 1).bit_length() + 1


def _level_size(size: Sequence[int], level: int) -> tuple[int, int]:
    return -(-size[0] // 2**level), -(-size[1] // 2**level)


def _stored_rows(sizes: np.ndarray) -> np.ndarray:
    """(N, L) rows that each level adds; 0 for the repeated single pixel."""
    counts = sizes.prod(axis=-1)
    repeated = np.zeros_like(counts, dtype=bool)
    repeated[:, 1:] = (counts[:, 1:] == 1) & (counts[:, :-1] == 1)
    return np.where(repeated, 0, counts)


def _check_rows(rows: int) -> None:
    if rows > _MAX_ROWS:
        raise InputError(f"the images have {rows:,} pixels with their mip levels; the limit is {_MAX_ROWS:,}")
