"""Pixelation of CIFAR-10-C (Hendrycks & Dietterich 2019), with the severities of its code and the bits of Pillow."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from ssl_single_image.augment.shifts.base import Images, Shift, at, levels

PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
"""Sides of the reduced image, as parts of the image's."""
_BITS = 22
"""Fractional bits of Pillow's weights for 8-bit images."""


def pixelate(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Pillow's resize with `BOX` to a smaller side and back, in its integer arithmetic: the same bits.

    Columns are reduced first and rounded to 8 bits, then rows. Enlarging repeats pixels.
    """
    del keys
    places, weights = (at(table, severity) for table in _taps(x.shape[1]))
    x = levels(x)
    for axis in (2, 1):
        shape = [1] * 4
        shape[axis] = x.shape[axis]
        total = jnp.full_like(x, 1 << (_BITS - 1))
        for tap in range(places.shape[1]):
            total += jnp.take(x, places[:, tap], axis) * weights[:, tap].reshape(shape)
        x = jnp.clip(total >> _BITS, 0, 255)
    return x.astype(jnp.float32) / 255


@functools.cache
def _taps(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each severity and pixel of a line: the pixels that it is the mean of, and their weights.

    Returns:
      (SEVERITIES, size, T) int32 each; taps that are not needed have weight 0.
    """
    found = [[_box(size, max(1, int(size * part)), pixel) for pixel in range(size)] for part in PIXELATE]
    most = max(count for one in found for _, count in one)
    places = [[np.minimum(first + np.arange(most), size - 1) for first, _ in one] for one in found]
    weights = [
        [np.where(np.arange(most) < count, int(0.5 + (1 << _BITS) / count), 0) for _, count in one]
        for one in found
    ]
    return np.array(places, np.int32), np.array(weights, np.int32)


def _box(size: int, reduced: int, pixel: int) -> tuple[int, int]:
    """The first pixel under a pixel of the enlarged image, and how many there are, as Pillow's `BOX` takes them."""
    scale = size / reduced
    centre = (int((pixel + 0.5) * (reduced / size)) + 0.5) * scale
    first = max(int(centre - 0.5 * scale + 0.5), 0)
    last = min(int(centre + 0.5 * scale + 0.5), size)
    inside = [at for at in range(first, last) if -0.5 < (at - centre + 0.5) / scale <= 0.5]
    return inside[0], len(inside)


SHIFTS = {"pixelate": Shift(pixelate, smallest=2)}
