"""Pairs of pictures in which the same points are known: warped photographs, and photographs from two places."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_single_image import augment
from ssl_single_image.analysis.invariance import matching, thin_plate, views
from ssl_single_image.images import Atlas, SourceImage, builtin
from ssl_single_image.keys import unused

GRID = (48, 48)
"""Rows and columns of the places of a warped photograph."""
EVERY = 4
"""Of the places in both directions, one in so many is asked for."""
CONTROLS = 4
"""Control points of a warp along each side."""
ZOOM, TURN, JITTER = 0.7, 15.0, 0.07
"""A warped picture shows the inner ZOOM of the photograph, turned by up to TURN degrees either way. Each control point
is then moved by up to JITTER of the side along each axis. No control point leaves the photograph."""
STEREO_SHRINK = 2
"""What the sides of the stereo pair are divided by before the encoder sees it."""
STEREO_GRID, STEREO_EVERY = (64, 64), 2


class Pairs(NamedTuple):
    """Pairs of one size, and places that are asked for; points are in units of the shorter side.

    Attributes:
      first: (n, H, W, 3) float32 in [0, 1], where places are asked for.
      second: (n, H, W, 3), where they are looked for.
      grid: rows and columns of the places.
      numbers: (P,) the places asked for, on the grid.
      truth: (n, P, 2) float, where they are in the second picture.
      valid: (n, P) bool, whether that is known and in the picture.
    """

    first: Float[Array | np.ndarray, "n H W 3"]
    second: Float[Array | np.ndarray, "n H W 3"]
    grid: tuple[int, int]
    numbers: Int[np.ndarray, " P"]
    truth: Float[np.ndarray, "n P 2"]
    valid: Bool[np.ndarray, "n P"]

    def matches(self, found: Int[np.ndarray, "n P"]) -> matching.Matches:
        """The answers of a layer, numbers of places, beside the truth."""
        asked = np.broadcast_to(matching.places(self.numbers, self.grid), self.truth.shape)
        return matching.Matches(asked, self.truth, matching.places(found, self.grid), self.valid)


def targets(key: Key[Array, ""]) -> Float[Array, "K 2"]:
    """Where one warp takes the control points `controls()`: turned, zoomed and moved at random."""
    angle_key, move_key = jax.random.split(key)
    angle = jnp.deg2rad(TURN) * jax.random.uniform(angle_key, (), minval=-1)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])
    start = jnp.asarray(controls(), jnp.float32) - 0.5
    moved = JITTER * jax.random.uniform(move_key, start.shape, minval=-1)
    return 0.5 + ZOOM * jnp.matmul(start, turn.T, precision=jax.lax.Precision.HIGHEST) + moved


def controls() -> Float[np.ndarray, "K 2"]:
    """The control points of a warp in the warped picture."""
    return thin_plate.lattice(CONTROLS, 0.0)


def warped(atlas: Atlas, squares: views.Squares, key: Key[Array, ""], size: int) -> Pairs:
    """Squares of photographs, the first picture of a pair a warp of the second.

    Args:
      atlas: the photographs.
      squares: one a pair.
      key: of all warps; that of pair i is drawn from `fold_in(key, i)`.
      size: side of the pictures in pixels.
    """
    count = len(squares.side)
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
    moved = np.asarray(jax.jit(jax.vmap(targets))(keys))
    splines = thin_plate.fit(np.broadcast_to(controls(), moved.shape), moved)
    numbers = regular(GRID, EVERY)
    asked = jnp.asarray(matching.places(numbers, GRID), jnp.float32)
    draw = jax.jit(functools.partial(_pair, size=size))
    drawn = [
        draw(atlas, *jax.tree.map(lambda x, i=i: x[i : i + 1], (squares, splines)), asked)
        for i in range(count)
    ]
    first, second, truth = (np.concatenate([np.asarray(one[k]) for one in drawn]) for k in range(3))
    inside = np.all((truth >= 0) & (truth <= 1), axis=-1)
    return Pairs(first, second, GRID, numbers, truth, np.asarray(inside))


def _pair(
    atlas: Atlas, squares: views.Squares, splines: thin_plate.Spline, asked: jax.Array, size: int
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A warped square, the square itself, and where the warped one's places are in it; all with a leading axis."""
    fine = rendered(atlas, squares, thin_plate.OVERSAMPLED * size)
    spline = jax.tree.map(lambda x: x[0], splines)
    first = thin_plate.warp(fine[0], spline, size)
    return first[None], thin_plate.halved(fine[0])[None], thin_plate.evaluate(spline, asked)[None]


def rendered(atlas: Atlas, squares: views.Squares, size: int) -> Float[Array, "n S S 3"]:
    """Whole squares of an atlas, (n, size, size, 3) float32 in [0, 1]."""
    one, none = jnp.ones_like(squares.side), jnp.zeros_like(squares.side)
    order = jnp.zeros((len(squares.side), 4), jnp.int32)
    still = augment.Jitter(brightness=one, contrast=one, saturation=one, hue=none, order=order)
    keys = jnp.broadcast_to(unused(), squares.side.shape)
    params = augment.CropParams(views.whole(squares, size), still, none, keys)
    return augment.render(atlas, params, augment.CropSpec(size=size))


def stereo() -> Pairs:
    """The central square of the built-in stereo pair, whose points are known from its disparity.

    Points that are hidden in the right picture, or lie outside it, are not valid. It is a square because some trunks
    take no other pictures.

    Raises:
      InputError: scikit-image's installation lacks a file.
    """
    pair = builtin.stereo()
    side, width = pair.disparity.shape
    square = slice((width - side) // 2, (width + side) // 2)
    left, right = (
        SourceImage(name, pixels[:, square]).shrunk(STEREO_SHRINK).pixels[None].astype(np.float32) / 255
        for name, pixels in zip(builtin.STEREO, (pair.left, pair.right), strict=True)
    )
    numbers = regular(STEREO_GRID, STEREO_EVERY)
    asked = matching.places(numbers, STEREO_GRID)
    y, x = side * asked.T
    seen = np.where(visible(pair.disparity), pair.disparity, np.nan)[:, square]
    to = (x - seen[np.floor(y).astype(int), np.floor(x).astype(int)]) / side
    valid = np.isfinite(to) & (to >= 0)
    truth = np.stack([asked[:, 0], np.where(valid, to, 0)], -1)
    return Pairs(left, right, STEREO_GRID, numbers, truth[None], valid[None])


def visible(disparity: Float[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Which pixels of the left picture the right one shows too: no nearer point of the scene covers them there.

    Args:
      disparity: in pixels, NaN where it is not known: such pixels do not count as shown.
    """
    height, width = disparity.shape
    known = np.isfinite(disparity)
    near = np.where(known, disparity, 0)
    column = np.rint(np.arange(width)[None] - near).astype(int)
    inside = known & (column >= 0)
    row = np.broadcast_to(np.arange(height)[:, None], disparity.shape)
    nearest = np.full((height, width + 2), -np.inf)
    for beside in (-1, 0, 1):  # neighbours too: a surface seen at a slant leaves gaps between its pixels
        np.maximum.at(nearest, (row[inside], column[inside] + 1 + beside), near[inside])
    covered = near < nearest[row, np.clip(column, 0, width - 1) + 1] - 1
    return inside & ~covered


def regular(grid: tuple[int, int], every: int) -> Int[np.ndarray, " P"]:
    """Numbers of places at even distances, one in `every` along both axes."""
    rows, columns = (np.arange(every // 2, side, every) for side in grid)
    return (rows[:, None] * grid[1] + columns[None]).ravel()
