"""The tiles of a crop, cut from the crop that was rendered: one lookup in the source serves all nine."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Key

from ssl_single_image.augment import greyed

SIDE = 3
"""Cells in a row and in a column."""
TILES = SIDE * SIDE


class Draw(NamedTuple):
    """What is drawn for one puzzle (or for many, with a leading axis).

    Attributes:
      label: () int32, the permutation.
      offset: (9, 2) int32, where each tile begins in its cell, down and right.
      shift: (3, 2) int32, by how much each colour channel is moved beyond that.
      grey: () bool, whether it has no colours.
    """

    label: Int32[Array, "*B"]
    offset: Int32[Array, "*B 9 2"]
    shift: Int32[Array, "*B 3 2"]
    grey: Bool[Array, "*B"]


def draw(key: Key[Array, ""], puzzles: int, room: int, chromatic: int, grey: float) -> Draw:
    """One puzzle.

    Args:
      key: all its randomness.
      puzzles: how many permutations there are.
      room: pixels by which a tile is smaller than its cell.
      chromatic: pixels by which colour channels are moved apart, at most `room`.
      grey: probability of a puzzle without colours.
    """
    label_key, offset_key, shift_key, grey_key = jax.random.split(key, 4)
    return Draw(
        jax.random.randint(label_key, (), 0, puzzles),
        jax.random.randint(offset_key, (TILES, 2), 0, room - chromatic + 1),
        jax.random.randint(shift_key, (3, 2), 0, chromatic + 1),
        jax.random.bernoulli(grey_key, grey),
    )


def cut(crops: Float[Array, "B S S 3"], drawn: Draw, tile: int) -> Float[Array, "B 9 t t 3"]:
    """The tiles of every crop, row by row, from cells of S // 3 pixels."""
    cell = crops.shape[1] // SIDE
    crops = greyed(crops, drawn.grey)
    corner = cell * jnp.stack(jnp.divmod(jnp.arange(TILES, dtype=jnp.int32), SIDE), -1)
    start = corner[None, :, None] + drawn.offset[:, :, None] + drawn.shift[:, None]  # (B, 9, 3, 2)

    def one(channel: jax.Array, at: jax.Array) -> jax.Array:
        return lax.dynamic_slice(channel, (at[0], at[1]), (tile, tile))

    of_channels = jax.vmap(one, (-1, 0), -1)  # (S, S, 3), (3, 2) -> (t, t, 3)
    return jax.vmap(jax.vmap(of_channels, (None, 0)))(crops, start)


def normalised(tiles: Float[Array, "... t t 3"]) -> Float[Array, "... t t 3"]:
    """Each channel of each tile with mean 0 and standard deviation 1; one without any contrast is 0.

    Without it the colours and the brightness at the borders tell which tiles are neighbours.
    """
    centred = tiles - tiles.mean((-3, -2), keepdims=True)
    std = jnp.sqrt(jnp.square(centred).mean((-3, -2), keepdims=True))
    return centred / jnp.where(std > FLAT, std, 1)


FLAT = 1e-3
"""Standard deviation, of values in [0, 1], below which a channel has no contrast: a quarter of a step of 8 bits."""


def arranged(tiles: Float[Array, "B 9 t t 3"], order: Int32[Array, "B 9"]) -> Float[Array, "B 9 t t 3"]:
    """Place k of puzzle b shows tile order[b, k]."""
    return jnp.take_along_axis(tiles, order[:, :, None, None, None], axis=1)


def boards(tiles: Float[Array, "B 9 t t 3"]) -> Float[Array, "B T T 3"]:
    """The tiles of each puzzle side by side in three rows, with white lines between them."""
    tiles = jnp.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1)
    count, side = len(tiles), tiles.shape[2]
    grid = tiles.reshape(count, SIDE, SIDE, side, side, 3)
    return grid.transpose(0, 1, 3, 2, 4, 5).reshape(count, SIDE * side, SIDE * side, 3)
