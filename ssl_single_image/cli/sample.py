"""`sample`: draws crops as the network sees them, labelled, beside the source, or exports them as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags, logging
from PIL import Image
from tabulate import tabulate

from ssl_single_image import augment, images
from ssl_single_image.analysis import grids
from ssl_single_image.cli import common
from ssl_single_image.images import builtin
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.training import workdir
from ssl_single_image.types import InputError

_LEGEND = "number, area, height/width; rotation, shear, flips; brightness, contrast, saturation, hue"
_MAX_PANELS = 4
_MAX_TILES = 10_000
_ROW = 12
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


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    if args.image == f"{builtin.PREFIX}list":
        print(_list_of_photographs())
        return
    if not args.out and not args.export:
        raise InputError(
            "--out: missing; give the image file to write, or --export and a folder for the crops"
        )
    if args.out and args.export:
        raise InputError("--out and --export: give one of them")
    most = 2**32 if args.export else _MAX_TILES
    if not 1 <= args.count <= most:
        raise InputError(f"--count={args.count}: must lie in [1, {most}]")
    if not 0 <= args.scale <= 64:
        raise InputError(f"--scale={args.scale}: must lie in [0, 64]")
    if not 0 <= args.seed < 2**32:
        raise InputError(f"--seed={args.seed}: must lie in [0, 2**32)")
    preset = augment.CropSpec.preset(args.preset, args.size)
    spec = augment.CropSpec.from_config(common.parse_arg(args.crop, **preset.to_config()))
    sources = images.load_source(args.image)
    augment.check_source(spec, [s.pixels.shape for s in sources], [s.name for s in sources])
    if args.export:
        _export(args, spec, sources)
        return
    images.image_format(args.out)
    heading = f"{args.count} crops of {spec.size} x {spec.size}, preset {args.preset}, seed {args.seed}"
    heading += f"   ({_LEGEND})"
    sheet = crop_sheet(sources, spec, args.count, args.seed, scale=args.scale, heading=heading)
    if args.alone:
        sheet = grids.stacked([sheet, alone_sheet(sources, spec, args.seed, scale=args.scale)])
    images.save_image(sheet, args.out)
    logging.info("wrote %s (%d x %d pixels)", args.out, sheet.width, sheet.height)


def _export(args: flags.FlagValues, spec: augment.CropSpec, sources: Sequence[images.SourceImage]) -> None:
    # Not above: it takes half a second, which every pretraining run would pay for its sheet of crops.
    from ssl_single_image.cli import export

    layout = export.choose_layout(Path(args.export), args.format, spec, args.count)
    record = {
        "crop": spec.to_config(),
        "seed": args.seed,
        "count": args.count,
        "format": type(layout).__name__,
    }
    record |= {"encoding": layout.encoding, "sources": [source.record() for source in sources]}
    workdir.claim(layout.root, record)
    export.export(images.build_atlas([s.pixels for s in sources]), spec, args.seed, args.count, layout)
    logging.info("%d crops are in %s", args.count, args.export)


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
    scale = scale or max(1, round(96 / spec.size))
    labels = [_label(place, jitter, i) for i in range(count)]
    columns = min(count, max(4, round((1.6 * count) ** 0.5)))
    sheet = grids.contact_sheet(list(crops), labels, columns=columns, scale=scale, heading=heading)
    return grids.side_by_side([grids.stacked(_panels(sources, spec, place)), sheet])


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

    def draw(atlas: images.Atlas, key: jax.Array) -> list[jax.Array]:
        return [augment.render_crops(atlas, key, jnp.arange(_ROW), each) for each in rows.values()]

    # Runs once, on a few crops: the compiler's time is all there is.
    crops = jax.jit(draw, compiler_options={"xla_backend_optimization_level": 0})(atlas, crops_key(seed))
    labels = [name if i == 0 else "" for name in rows for i in range(_ROW)]
    return grids.contact_sheet(
        list(np.concatenate([np.asarray(row, np.float32) for row in crops])),
        labels,
        columns=_ROW,
        scale=scale or max(1, round(64 / spec.size)),
        heading="The same crops with one augmentation at a time",
    )


def _draw(
    atlas: images.Atlas, spec: augment.CropSpec, count: int, seed: int
) -> tuple[augment.Geometry, augment.Jitter, np.ndarray]:
    """What was drawn, and the crops (count, S, S, 3), all as NumPy arrays."""

    @jax.jit
    def draw(atlas: images.Atlas, key: jax.Array) -> tuple[augment.Geometry, augment.Jitter, jax.Array]:
        keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
        params = jax.vmap(lambda k: augment.sample_params(k, atlas, spec))(keys)
        return params.geometry, params.jitter, augment.render(atlas, params, spec)

    return jax.tree.map(np.asarray, draw(atlas, crops_key(seed)))


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
    return f"#{i} {area} {height / width:.2f}\n{float(place.angle[i]):+.0f}°{shear} {flips}\n{colour}"


def _list_of_photographs() -> str:
    rows = [
        (builtin.PREFIX + p.name, f"{p.height} x {p.width}", p.kind, p.licence)
        for p in builtin.PHOTOGRAPHS.values()
    ]
    return tabulate(rows, headers=("name", "height x width", "kind", "licence"))


if __name__ == "__main__":
    common.run("sample", main)
