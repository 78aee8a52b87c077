"""Blurs of CIFAR-10-C (Hendrycks & Dietterich 2019), with the severities of its code for images of 32 pixels."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32, Key

from ssl_single_image.augment.blur import convolve
from ssl_single_image.augment.shifts.base import SEVERITIES, Images, Shift, at

GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)
"""Standard deviations in pixels."""
_TRUNCATE = 4.0
"""Where a Gaussian ends, in standard deviations; SciPy's default."""
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
"""Radius of a disk, and standard deviation of the Gaussian of 3 x 3 taps that softens it."""
_DISK = 2
"""Pixels from the centre of a softened disk to its edge, at most."""
ZOOM = (1.06, 1.11, 1.16, 1.21, 1.26)
"""Where the zooms 1, 1.01, 1.02, ... end."""


def gaussian(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Gaussian blur; edge pixels are repeated beyond the border."""
    del keys
    radius = round(_TRUNCATE * max(GAUSSIAN))
    taps = np.arange(-radius, radius + 1)
    weights = [
        np.exp(-0.5 * (taps / sigma) ** 2) * (abs(taps) <= int(_TRUNCATE * sigma + 0.5)) for sigma in GAUSSIAN
    ]
    row = at(np.array([one / one.sum() for one in weights]), severity)
    each = jnp.broadcast_to(row[None], (len(x), len(taps)))
    return jnp.clip(convolve(convolve(x, each, 1), each, 2), 0, 1)


def defocus(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Convolution with a softened disk; the image is mirrored beyond the centres of its edge pixels."""
    del keys
    kernel = at(np.array([_disk(*one) for one in DEFOCUS]), severity)
    size = x.shape[1]
    padded = jnp.pad(x, ((0, 0), (_DISK, _DISK), (_DISK, _DISK), (0, 0)), mode="reflect")
    total = jnp.zeros_like(x)
    for i in range(2 * _DISK + 1):
        for j in range(2 * _DISK + 1):
            total += kernel[i, j] * padded[:, i : i + size, j : j + size]
    return jnp.clip(total, 0, 1)


def zoom(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """The mean of the image, once more than its zooms into the centre, and of these."""
    del keys
    stops = [len(np.arange(1, stop, 0.01)) for stop in ZOOM]
    matrices = jnp.asarray(_zooms(x.shape[1]))
    count = at(stops, severity)

    def add(number: jax.Array, total: jax.Array) -> jax.Array:
        matrix = matrices[number]
        rows = jnp.einsum("ij,bjkc->bikc", matrix, x, precision="highest")
        return total + jnp.einsum("lk,bikc->bilc", matrix, rows, precision="highest")

    total = lax.fori_loop(0, count, add, x)
    return jnp.clip(total / (count + 1).astype(x.dtype), 0, 1)


def _disk(radius: float, alias: float) -> np.ndarray:
    """The kernel, (5, 5) with sum 1: a disk of whole pixels, softened."""
    reach = np.arange(-_DISK, _DISK + 1)
    disk = (reach[:, None] ** 2 + reach[None] ** 2 <= radius**2).astype(float)
    taps = np.exp(-0.5 * (np.arange(-1, 2) / alias) ** 2)
    taps /= taps.sum()
    for axis in (0, 1):
        disk = np.apply_along_axis(np.convolve, axis, disk, taps, mode="same")
    return disk / disk.sum()


@functools.cache
def _zooms(size: int) -> np.ndarray:
    """Every zoom as a matrix (size, size) on rows or columns, stacked: float32.

    The central ceil(size / zoom) pixels are enlarged by linear interpolation with fixed corners, and the excess is cut
    off, as in the published code.
    """
    matrices = []
    for factor in np.arange(1, ZOOM[-1], 0.01):
        side = math.ceil(size / factor)
        wide = round(side * factor)
        at = (np.arange(size) + (wide - size) // 2) * ((side - 1) / max(wide - 1, 1))
        low = np.minimum(np.floor(at), max(side - 2, 0)).astype(int)
        matrix = np.zeros((size, size))
        rows, first = np.arange(size), (size - side) // 2
        matrix[rows, first + low] += 1 - (at - low)
        matrix[rows, first + np.minimum(low + 1, side - 1)] += at - low
        matrices.append(matrix)
    return np.array(matrices, np.float32)


assert len(GAUSSIAN) == len(DEFOCUS) == len(ZOOM) == SEVERITIES

SHIFTS = {
    "gaussian_blur": Shift(gaussian),
    "defocus_blur": Shift(defocus, smallest=_DISK + 1),
    "zoom_blur": Shift(zoom, smallest=2),
}
