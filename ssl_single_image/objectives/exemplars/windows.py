"""Windows of a source as a layer sees them: their values, where they lie in the image, and which are exemplars."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from ssl_single_image import augment, models
from ssl_single_image.errors import InputError

CROPS = 160
"""Upright crops of the source that windows are taken from, as many as k-means initialisation sees."""
PLACES = 40
"""Windows of each crop; with CROPS they leave 5,000 negatives to every exemplar."""
NEGATIVES = 5000
"""Most negatives of an exemplar."""
OVERLAP = 0.2
"""Intersection over union with the exemplar from which on a window is no negative."""
ADDED = 3e-3
"""Added to the variance of a window before it is divided by: 10 squared grey levels, as by Coates, Lee and Ng 2011
(section 3.2), in units of the normalised input. A window whose values vary by less from place to place is flat."""


class Field(NamedTuple):
    """What value r of a map sees along an axis: pixels [start + step r, start + step r + size) of the input."""

    start: int
    step: int
    size: int


@dataclasses.dataclass(frozen=True)
class Windows:
    """Square windows of the maps that enter a layer.

    Attributes:
      values: (n, h, h, C) float32.
      margin: how much wider than the kernel they are, on every side: h = kernel + 2 margin.
      at: where the central windows, of the kernel's size, lie in the source images.
      wide: where the whole windows lie.
    """

    values: jax.Array
    margin: int
    at: augment.Geometry
    wide: augment.Geometry

    @property
    def central(self) -> Float[Array, "n k k C"]:
        """The windows of the kernel's size."""
        inner = slice(self.margin, self.values.shape[1] - self.margin)
        return self.values[:, inner, inner]


def upright(crop: augment.CropSpec) -> augment.CropSpec:
    """A recipe whose crops have the scales and places of another's, but neither turns nor changes of colour."""
    return crop.replace(
        rotation=0.0,
        shear=0.0,
        hflip=0.0,
        vflip=0.0,
        jitter_probability=0.0,
        blur_probability=0.0,
        noise=0.0,
    )


def margin(kernel: int) -> int:
    """By how much a correlation filter is learnt wider than its kernel, on every side: half of it, rounded up."""
    return (kernel + 1) // 2


def field(trunk: models.ConvTrunk, number: int) -> Field:
    """What a value of the map that enters layer `number` of a chain, from 1, sees of the input; padding included."""
    found = Field(-1, 1, 3) if trunk.sobel_front else Field(0, 1, 1)
    for layer in trunk.layers[: number - 1]:
        found = _behind(found, layer.kernel, layer.stride, layer.padding)
        if layer.pool:
            found = _behind(found, *(*layer.pool, 0)[:3])
    return found


def _behind(before: Field, window: int, stride: int, padding: int) -> Field:
    start, step, size = before
    return Field(start - padding * step, step * stride, size + (window - 1) * step)


def draw(
    key: Key[Array, ""],
    maps: Float[Array, "B H W C"],
    crops: augment.Geometry,
    size: int,
    seen: Field,
    kernel: int,
) -> Windows:
    """PLACES windows of each crop's map, or as many as there are, all in different places of it and wholly inside it.

    Args:
      key: of the places and of the order of windows, which is random.
      maps: what enters the layer.
      crops: where the crops lie in their source; upright and not mirrored.
      size: side of the crops in pixels.
      seen: what a value of the map sees of the crop.
      kernel: side of the layer's kernel.

    Raises:
      InputError: the map is smaller than a window.
    """
    extra = margin(kernel)
    side = kernel + 2 * extra
    rows, columns = (length - side + 1 for length in maps.shape[1:3])
    if min(rows, columns) < 1:
        raise InputError(
            f"a filter of {kernel} x {kernel} is learnt from windows of {side} x {side}, which a map of"
            f" {maps.shape[1]} x {maps.shape[2]} can't hold; take fewer layers or another backbone"
        )
    place_key, order_key = jax.random.split(key)
    count = min(PLACES, rows * columns)
    chance = jax.random.uniform(place_key, (len(maps), rows * columns))
    place = jax.lax.top_k(chance, count)[1]
    values = jax.jit(functools.partial(_cut, side=side))(maps, place // columns, place % columns)
    order = jax.random.permutation(order_key, len(maps) * count)
    corner = jnp.stack([place // columns, place % columns], -1).reshape(-1, 2)[order]
    of_crop = jax.tree.map(lambda leaf: jnp.repeat(leaf, count, axis=0)[order], crops)
    within = functools.partial(_within, of_crop, size, seen)
    return Windows(values[order], extra, within(corner + extra, kernel), within(corner, side))


def _cut(
    maps: Float[Array, "B H W C"], rows: Int[Array, "B m"], columns: Int[Array, "B m"], side: int
) -> Float[Array, "n side side C"]:
    def one(image: jax.Array, row: jax.Array, column: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (row, column, 0), (side, side, image.shape[-1]))

    found = jax.vmap(jax.vmap(one, (None, 0, 0)))(maps, rows, columns)
    return found.reshape(-1, *found.shape[2:])


def _within(
    crops: augment.Geometry, size: int, seen: Field, corner: Int[Array, "n 2"], side: int
) -> augment.Geometry:
    """Where windows of `side` values lie in the source; what they see of a crop's padding is no part of them."""
    low = (seen.start + seen.step * corner).astype(jnp.float32)
    high = low + (side - 1) * seen.step + seen.size
    low, high = jnp.clip(low, 0, size), jnp.clip(high, 0, size)
    scale = jnp.diagonal(crops.matrix, axis1=1, axis2=2)
    origin = crops.centre + scale * (low - size / 2)
    return dataclasses.replace(crops, origin=origin, extent=scale * (high - low))


def negatives(
    at: augment.Geometry, chosen: Int[np.ndarray, " K"], most: int = NEGATIVES
) -> Bool[np.ndarray, "K n"]:
    """Which windows are negatives of each exemplar: of the same image, with less than OVERLAP of it; the first `most`.

    Args:
      at: where the windows lie.
      chosen: the exemplars among them.
      most: of one exemplar.

    Raises:
      InputError: an exemplar has none.
    """
    exemplars = jax.tree.map(lambda leaf: leaf[chosen], at)
    apart = np.asarray(augment.window_overlap(exemplars, at)) < OVERLAP
    same = np.asarray(exemplars.image)[:, None] == np.asarray(at.image)[None]
    found = apart & same
    if not found.any(1).all():
        raise InputError(
            "a patch overlaps every other one of its image; give larger images, or fewer of them"
        )
    return found & (found.cumsum(1) <= most)


def varies(x: Float[Array, "n k k C"]) -> Bool[Array, " n"]:
    """Which windows are not flat: the variance over places, on average over channels, is at least ADDED."""
    return x.var((1, 2)).mean(-1) >= ADDED


def contrasts(x: Float[Array, "n k k C"]) -> Float[Array, " n"]:
    """What windows are divided by: the root of the variance of all values plus ADDED."""
    return jnp.sqrt(x.var((1, 2, 3)) + ADDED)


def contrast_normalised(x: Float[Array, "n k k C"]) -> Float[Array, "n k k C"]:
    """Windows less the mean of all their values, divided by `contrasts`."""
    return (x - x.mean((1, 2, 3), keepdims=True)) / contrasts(x)[:, None, None, None]


def choose(
    key: Key[Array, ""],
    windows: Windows,
    sides: Sequence[tuple[int, int]],
    count: int,
    what: str,
) -> Int[np.ndarray, " count"]:
    """Exemplars: windows with contrast, spread over the images; rows of `windows`.

    A grid of about count / images cells lies over every image. Flat windows are left out. The others of a cell, by the
    centres of the windows, are brought into a random order. The first ones of all cells are taken in random order, then
    the second ones, and so on.

    Args:
      key: of the order.
      windows: to choose from.
      sides: height and width of each source image.
      count: of exemplars.
      what: whom they are for, in messages.

    Raises:
      InputError: fewer windows than `count` have contrast.
    """
    usable = np.flatnonzero(np.asarray(varies(windows.central)))
    if len(usable) < count:
        raise InputError(
            f"{what}: {len(usable)} of {len(windows.values):,} patches of what enters it have contrast, but {count} are"
            " needed; give an image with more in it, or other options"
        )
    chance = np.asarray(jax.random.uniform(key, (len(windows.values),)))[usable]
    image = np.asarray(windows.at.image)[usable]
    centre = np.asarray(windows.at.origin + windows.at.extent / 2)[usable]
    grid = math.ceil(math.sqrt(count / len(sides)))
    cells = np.clip(centre * grid // np.asarray(sides)[image], 0, grid - 1).astype(int)
    cell = (image * grid + cells[:, 0]) * grid + cells[:, 1]
    by_cell = np.lexsort((chance, cell))
    first = np.searchsorted(cell[by_cell], cell[by_cell])
    place = np.empty(len(cell), int)
    place[by_cell] = np.arange(len(cell)) - first
    return usable[np.lexsort((chance, place))[:count]]
