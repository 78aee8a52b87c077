"""Sheets of crops as the network sees them, labelled, beside the source they were cut from."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from ssl_single_image import augment, images
from ssl_single_image.analysis import grids
from ssl_single_image.objectives.common import crops_key

_MAX_PANELS = 4
_ROW = 12
_PIXELS_AT_ONCE = 1 << 22
MOST_PIXELS = 64_000_000
"""Of the crops on a sheet: a few GB of memory."""
_CROPPING = (
    "size",
    "min_area",
    "max_area",
    "area_law",
    "aspect",
    "initial_crop",
    "border",
    "interpolation",
    "image_choice",
)
_ALONE = {
    "rotation": ("rotation",),
    "shear": ("shear",),
    "horizontal flip": ("hflip",),
    "vertical flip": ("vflip",),
    "brightness": ("brightness",),
    "contrast": ("contrast",),
    "saturation": ("saturation",),
    "hue": ("hue",),
    "blur": ("blur_probability", "blur_sigma"),
    "noise": ("noise",),
}
"""Row -> the fields that it takes from the spec; it is shown if the first is not 0."""
_MAX_WINDOWS = 24


def crop_sheet(
    sources: Sequence[images.SourceImage],
    spec: augment.CropSpec,
    count: int,
    seed: int,
    *,
    scale: int = 0,
    heading: str = "",
) -> Image.Image:
    """Crops 0..count-1 of the virtual data set that training with `seed` sees, beside their sources.

    Up to four sources are shown, and the windows of the first 24 crops.
    """
    atlas = images.build_atlas([source.pixels for source in sources])
    place, jitter, crops = _draw(atlas, spec, count, seed)
    scale = scale or default_scale(spec.size)
    labels = [_label(place, jitter, i) for i in range(count)]
    columns = min(count, max(4, round((1.6 * count) ** 0.5)))
    sheet = grids.contact_sheet(list(crops), labels, columns=columns, scale=scale, heading=heading)
    return grids.side_by_side([grids.stacked(_panels(sources, spec, place)), sheet])


def default_scale(size: int) -> int:
    """The whole factor at which crops of a size are shown."""
    return max(1, round(96 / size))


def alone_sheet(
    sources: Sequence[images.SourceImage], spec: augment.CropSpec, seed: int, *, scale: int = 0
) -> Image.Image:
    """The first crops of the virtual data set with no augmentation but cropping, then a row for each one alone."""
    bare = augment.CropSpec(**{field: getattr(spec, field) for field in _CROPPING})
    rows = {"crop only": bare}
    for name, fields in _ALONE.items():
        if any(getattr(spec, field) for field in fields[:1]):
            rows[name] = bare.replace(**{field: getattr(spec, field) for field in fields})
    rows["all"] = spec
    atlas = images.build_atlas([source.pixels for source in sources])

    columns = max(1, min(_ROW, MOST_PIXELS // (len(rows) * spec.size**2)))

    def draw(atlas: images.Atlas, key: jax.Array) -> list[jax.Array]:
        return [augment.render_crops(atlas, key, jnp.arange(columns), each) for each in rows.values()]

    # Runs once, on a few crops: the compiler's time is all there is.
    crops = jax.jit(draw, compiler_options={"xla_backend_optimization_level": 0})(atlas, crops_key(seed))
    labels = [name if i == 0 else "" for name in rows for i in range(columns)]
    return grids.contact_sheet(
        list(np.concatenate([np.asarray(row, np.float32) for row in crops])),
        labels,
        columns=columns,
        scale=scale or max(1, round(64 / spec.size)),
        heading="The same crops with one augmentation at a time",
    )


def _draw(
    atlas: images.Atlas, spec: augment.CropSpec, count: int, seed: int
) -> tuple[augment.Geometry, augment.Jitter, np.ndarray]:
    """What was drawn, and the crops (count, S, S, 3), all as NumPy arrays."""

    at_once = min(count, max(1, _PIXELS_AT_ONCE // spec.size**2))

    @jax.jit
    def draw(
        atlas: images.Atlas, key: jax.Array, first: jax.Array
    ) -> tuple[augment.Geometry, augment.Jitter, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(first + jnp.arange(at_once))
        params = jax.vmap(lambda k: augment.sample_params(k, atlas, spec))(keys)
        return params.geometry, params.jitter, augment.render(atlas, params, spec)

    key = crops_key(seed)
    parts = [jax.device_get(draw(atlas, key, jnp.int32(first))) for first in range(0, count, at_once)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)


def _panels(
    sources: Sequence[images.SourceImage], spec: augment.CropSpec, place: augment.Geometry
) -> list[Image.Image]:
    corners = np.asarray(augment.crop_corners(place, spec.size))[:_MAX_WINDOWS]
    owner = place.image[:_MAX_WINDOWS]
    panels = []
    for i, source in enumerate(sources[:_MAX_PANELS]):
        mine = np.flatnonzero(owner == i)
        side = 640 if len(sources) == 1 else 400
        panels.append(
            grids.draw_windows(source.pixels, corners[mine], [str(k) for k in mine], longest_side=side)
        )
    return panels


def _label(place: augment.Geometry, jitter: augment.Jitter, i: int) -> str:
    """Three lines: number, area and aspect; rotation, shear and flips; colour factors."""
    height, width = (float(v) for v in place.extent[i])
    area = f"{100 * float(place.area[i]):.2g}%"
    flips = "H" * bool(place.hflip[i]) + "V" * bool(place.vflip[i])
    shear = f" s{float(place.shear[i]):+.0f}" if float(place.shear[i]) else ""
    factors = [float(v[i]) for v in (jitter.brightness, jitter.contrast, jitter.saturation)]
    hue = float(jitter.hue[i])
    changed = hue != 0 or any(f != 1 for f in factors)
    colour = " ".join(f"{f:.1f}" for f in factors) + f" {hue:+.2f}" if changed else "true colours"
    turn = f"{round(float(place.angle[i])) + 0:+d}°" if round(float(place.angle[i])) else "0°"
    return f"#{i} {area} {height / width:.2f}\n{turn}{shear} {flips}\n{colour}"
