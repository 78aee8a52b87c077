"""Another pose of the camera: rotation, distance, perspective. Severities are this project's own.

The image is read by bilinear interpolation, once. Beyond its border it is mirrored.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key

from ssl_single_image.augment.shifts.base import Images, Shift, at

ROTATION = (10, 20, 30, 45, 60)
"""Degrees, to either side."""
SCALE = (0.9, 0.8, 0.7, 0.6, 0.5)
"""Sides of the image within its frame."""
PERSPECTIVE = (0.1, 0.2, 0.3, 0.4, 0.5)
"""How far a corner moves inwards at most along each axis, as a part of half the side."""

Places = Float[Array, "B S S"]


class Homography(NamedTuple):
    """Maps (x, y) to ((a x + b y + c) / w, (d x + e y + f) / w) with w = g x + h y + i; each is (B,)."""

    a: Array
    b: Array
    c: Array
    d: Array
    e: Array
    f: Array
    g: Array
    h: Array
    i: Array


def rotation(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Turns the image about its centre, to the left or to the right."""
    radians = np.radians(ROTATION)
    sine, cosine = at(np.sin(radians), severity), at(np.cos(radians), severity)
    sine = jnp.where(jax.vmap(jax.random.bernoulli)(keys), sine, -sine)[:, None, None]
    row, column = _grid(x.shape[1])
    return bilinear(x, cosine * row + sine * column, cosine * column - sine * row)


def scale(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Shrinks the image about its centre."""
    del keys
    row, column = (jnp.broadcast_to(part / at(SCALE, severity), x.shape[:3]) for part in _grid(x.shape[1]))
    return bilinear(x, row, column)


def perspective(x: Images, keys: Key[Array, " B"], severity: Int32[Array, ""]) -> Images:
    """Moves each corner of the image inwards, by distances drawn for it."""
    moved = jax.vmap(lambda key: jax.random.uniform(key, (4, 2), x.dtype))(keys)
    inwards = jnp.asarray([[1, 1], [-1, 1], [-1, -1], [1, -1]], x.dtype)[None]
    corners = inwards * (moved * at(PERSPECTIVE, severity) - 1)  # (x, y), of a frame from -1 to 1
    back = inverse(to_corners(corners))
    row, column = (2 * part / x.shape[1] for part in _grid(x.shape[1]))

    def sum_of(*weights: Array) -> Places:
        across, down, constant = (weight[:, None, None] for weight in weights)
        return across * column + down * row + constant

    w = sum_of(back.g, back.h, back.i)
    # The map back is to the unit square.
    side = x.shape[1]
    right, below = sum_of(back.a, back.b, back.c) / w, sum_of(back.d, back.e, back.f) / w
    return bilinear(x, (below - 0.5) * side, (right - 0.5) * side)


def to_corners(corner: Float[Array, "B 4 2"]) -> Homography:
    """The map of the unit square to four corners (x, y): those of (0, 0), (1, 0), (1, 1), (0, 1) (Heckbert 1989)."""
    (x0, y0), (x1, y1), (x2, y2), (x3, y3) = ((corner[:, k, 0], corner[:, k, 1]) for k in range(4))
    dx1, dx2, dx3 = x1 - x2, x3 - x2, x0 - x1 + x2 - x3
    dy1, dy2, dy3 = y1 - y2, y3 - y2, y0 - y1 + y2 - y3
    area = dx1 * dy2 - dx2 * dy1
    g, h = (dx3 * dy2 - dx2 * dy3) / area, (dx1 * dy3 - dx3 * dy1) / area
    return Homography(
        x1 - x0 + g * x1,
        x3 - x0 + h * x3,
        x0,
        y1 - y0 + g * y1,
        y3 - y0 + h * y3,
        y0,
        g,
        h,
        jnp.ones_like(x0),
    )


def inverse(m: Homography) -> Homography:
    """The adjugate, which is the inverse but for a factor: enough for a homography."""
    return Homography(
        m.e * m.i - m.f * m.h,
        m.c * m.h - m.b * m.i,
        m.b * m.f - m.c * m.e,
        m.f * m.g - m.d * m.i,
        m.a * m.i - m.c * m.g,
        m.c * m.d - m.a * m.f,
        m.d * m.h - m.e * m.g,
        m.b * m.g - m.a * m.h,
        m.a * m.e - m.b * m.d,
    )


def bilinear(x: Images, row: Places, column: Places) -> Images:
    """Images read at places, in pixels from their centres; mirrored beyond the border, edge pixels once more.

    Args:
      x: (B, S, S, 3).
      row: (B, S, S), downwards.
      column: (B, S, S), to the right.
    """
    size = x.shape[1]
    (top, below), (left, right) = (_two_taps(part, size) for part in (row, column))
    flat = x.reshape(len(x), size * size, 3)

    def tap(i: Array, j: Array) -> Images:
        places = (i * size + j).reshape(len(x), -1, 1)
        return jnp.take_along_axis(flat, places, 1).reshape(x.shape)

    upper, lower = (
        tap(i, left[0]) * (1 - right)[..., None] + tap(i, left[1]) * right[..., None] for i in top
    )
    return upper * (1 - below)[..., None] + lower * below[..., None]


def _two_taps(place: Places, size: int) -> tuple[tuple[Array, Array], Places]:
    """The pixels before and after each place along an axis, and the weight of the second."""
    period = 2.0 * size
    folded = jnp.mod(place + size / 2, period)
    position = jnp.minimum(folded, period - folded) - 0.5
    first = jnp.floor(position)
    taps = (jnp.clip(first + k, 0, size - 1).astype(jnp.int32) for k in (0, 1))
    low, high = taps
    return (low, high), position - first


def _grid(size: int) -> tuple[Float[Array, "1 S 1"], Float[Array, "1 1 S"]]:
    """Centres of pixels, from the centre of the image: rows and columns."""
    line = jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2
    return line[None, :, None], line[None, None, :]


SHIFTS = {
    "rotation": Shift(rotation),
    "scale": Shift(scale),
    "perspective": Shift(perspective, smallest=2),
}
