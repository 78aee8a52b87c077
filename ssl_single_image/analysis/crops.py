"""Sheets of crops as the network sees them, labelled, beside the source they were cut from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ssl_single_image import augment, images
from ssl_single_image.analysis import augmentations, grids
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.types import Rows

MOST_PANELS = 4
"""Source images that a sheet shows."""
_ROW, _MOST_COLUMNS = 1500, 12
"""Of rows with one augmentation at a time: pixels, about, and crops."""
_PIXELS_AT_ONCE = 1 << 22
MOST_PIXELS = 64_000_000
"""Of the crops on a sheet: a few GB of memory."""
_MAX_WINDOWS = 16
SMALL, TINY = 160, 64
"""Below this width in pixels, captions tell the most telling alone, and nothing but the crop's number."""
_TELLING = 3


def crop_sheet(
    sources: Sequence[images.SourceImage],
    spec: augment.CropSpec,
    count: int,
    seed: int,
    *,
    scale: int = 0,
    heading: str = "",
    atlas: images.Atlas | None = None,
) -> Image.Image:
    """Crops 0..count-1 of the virtual data set that training with `seed` sees, beside their sources.

    Up to four sources are shown, and the windows of the first 16 crops, which are framed in the same colours.

    Args:
      sources: the source images, or the first of them where there is an atlas of all.
      spec: how crops are made.
      count: how many.
      seed: names the virtual data set.
      scale: whole factor that crops are shown at; 0 picks one.
      heading: above the crops.
      atlas: of the source images; None: it is built.
    """
    atlas = atlas or images.build_atlas([source.pixels for source in sources])
    drawn, crops = _draw(atlas, spec, count, seed)
    scale = scale or default_scale(spec.size)
    labels = [caption(i, {name: v[i] for name, v in drawn.items()}, spec, scale) for i in range(count)]
    columns = min(count, max(4, round((1.6 * count) ** 0.5)))
    frames = [_colour(i) if owner < MOST_PANELS else "" for i, owner in enumerate(drawn["image"])]
    sheet = grids.contact_sheet(
        list(crops), labels, columns=columns, scale=scale, heading=heading, frames=frames[:_MAX_WINDOWS]
    )
    return grids.side_by_side([grids.stacked(_panels(sources, drawn)), sheet])


def caption(number: int, drawn: Mapping[str, Any], spec: augment.CropSpec, scale: int) -> str:
    """What a sheet says below a crop: its number and what was done to it, as much as suits the size of the tile.

    Args:
      number: of the crop.
      drawn: what was drawn for it, as `augmentations.values` gives.
      spec: the one that it was drawn from.
      scale: factor that it is shown at.
    """
    width = spec.size * scale
    if width < TINY:
        return str(number)
    first, *rest = augmentations.words(drawn, spec, _TELLING if width < SMALL else None)
    return grids.in_lines([f"{number}: {first}", *rest], width)


def default_scale(size: int) -> int:
    """The whole factor at which crops of a size are shown."""
    return max(1, round(96 / size))


def alone_sheet(
    sources: Sequence[images.SourceImage],
    spec: augment.CropSpec,
    seed: int,
    *,
    scale: int = 0,
    atlas: images.Atlas | None = None,
) -> Image.Image:
    """The first crops of the virtual data set in their windows alone, then with each augmentation alone, then with all.

    A column shows one crop, from the same window in all rows, see `augmentations.one_at_a_time`. The arguments are
    those of `crop_sheet`.
    """
    atlas = atlas or images.build_atlas([source.pixels for source in sources])
    rows = augmentations.rows(spec)
    wide = spec.size * (scale or grids.default_scale(spec.size))
    columns = max(1, min(max(4, _ROW // wide), _MOST_COLUMNS, MOST_PIXELS // (len(rows) * spec.size**2)))

    def draw(atlas: images.Atlas, key: jax.Array) -> list[jax.Array]:
        params = augmentations.one_at_a_time(_params(atlas, key, jnp.arange(columns), spec), atlas, spec)
        return [augment.render(atlas, p, own) for p, (_, own) in zip(params, rows.values(), strict=True)]

    # Runs once, on a few crops: the compiler's time is all there is.
    crops = jax.jit(draw, compiler_options={"xla_backend_optimization_level": 0})(atlas, crops_key(seed))
    first, *others = rows
    heading = (
        f"The first {columns} crops, with one augmentation at a time" if columns > 1 else "The first crop"
    )
    return grids.titled_rows(Rows(tuple(crops), (f"{heading}\n{first}", *others)), scale=scale)


def _params(
    atlas: images.Atlas, key: jax.Array, indices: jax.Array, spec: augment.CropSpec
) -> augment.CropParams:
    """What is drawn for crops of the virtual data set, as `augment.render_crops` draws it."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
    return jax.vmap(lambda k: augment.sample_params(k, atlas, spec))(keys)


def _draw(
    atlas: images.Atlas, spec: augment.CropSpec, count: int, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """What was drawn, by name, with "corners" (count, 4, 2); and the crops (count, S, S, 3)."""
    at_once = min(count, max(1, _PIXELS_AT_ONCE // spec.size**2))

    @jax.jit
    def draw(atlas: images.Atlas, key: jax.Array, first: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        params = _params(atlas, key, first + jnp.arange(at_once), spec)
        drawn = augmentations.values(params)
        # Of the photograph: what is drawn is a share of the initial crop, where there is one.
        source = jnp.stack([atlas.height[drawn["image"], 0], atlas.width[drawn["image"], 0]], axis=-1)
        drawn["area"] = (drawn["extent"] / source.astype(drawn["extent"].dtype)).prod(axis=-1)
        drawn["corners"] = augment.crop_corners(params.geometry, spec.size)
        return drawn, augment.render(atlas, params, spec)

    key = crops_key(seed)
    parts = [jax.device_get(draw(atlas, key, jnp.int32(first))) for first in range(0, count, at_once)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def _panels(sources: Sequence[images.SourceImage], drawn: Mapping[str, np.ndarray]) -> list[Image.Image]:
    corners, owner = drawn["corners"][:_MAX_WINDOWS], drawn["image"][:_MAX_WINDOWS]
    panels = []
    for i, source in enumerate(sources[:MOST_PANELS]):
        mine = np.flatnonzero(owner == i)
        side = 640 if len(sources) == 1 else 400
        labels, colours = [str(k) for k in mine], [_colour(int(k)) for k in mine]
        panels.append(grids.draw_windows(source.pixels, corners[mine], labels, colours, longest_side=side))
    return panels


def _colour(number: int) -> str:
    """Of the frame of a crop and of its window."""
    return grids.WINDOW_COLOURS[number % len(grids.WINDOW_COLOURS)]
