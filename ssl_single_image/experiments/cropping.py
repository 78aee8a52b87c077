"""Sheets of crops to look at, and crops as files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from ssl_single_image import augment, images
from ssl_single_image.analysis import crops, grids
from ssl_single_image.datasets import sources
from ssl_single_image.errors import InputError
from ssl_single_image.runs import progress, workdir

if TYPE_CHECKING:
    from ssl_single_image.experiments.layouts import Layout

MOST_SHOWN = 10_000


def crop_spec(
    preset: str = "paper", size: int = 32, changes: Mapping[str, Any] | None = None
) -> augment.CropSpec:
    """A published recipe with some fields changed.

    Raises:
      InputError: an unknown preset or field, or a value out of range.
    """
    return augment.CropSpec.from_config(
        augment.CropSpec.preset(preset, size).to_config() | dict(changes or {})
    )


def show_crops(
    source: str,
    spec: augment.CropSpec | None = None,
    *,
    count: int = 48,
    seed: int = 0,
    scale: int = 0,
    alone: bool = False,
    title: str = "",
    max_pixels: int = 0,
    data_dir: str = "",
    shrink: int = 1,
) -> Image.Image:
    """A sheet of the first crops that training with this seed sees, beside the source; a notebook shows it.

    Args:
      source: the image or images, as `load_source` takes them.
      spec: how crops are made; None: the paper's recipe at 32 px.
      count: how many.
      seed: names the virtual data set.
      scale: whole factor that crops are shown at; 0 picks one.
      alone: adds a row for each augmentation alone.
      title: put before the seed in the heading.
      max_pixels: most pixels that a source image may have; 0: Pillow's limit, 89 million.
      data_dir: where prepared labelled sets lie, for `unlabelled:DATASET`.
      shrink: what the sides of every source image are divided by.

    Raises:
      InputError: a source that can't be read or is too small, or a count out of range.
    """
    if not 1 <= count <= MOST_SHOWN:
        raise InputError(f"count = {count}: must lie in [1, {MOST_SHOWN}]")
    if not 0 <= scale <= 64:
        raise InputError(f"scale = {scale}: must lie in [0, 64]")
    spec = spec or augment.CropSpec.preset("paper", 32)
    pixels = count * (spec.size * (scale or crops.default_scale(spec.size))) ** 2
    if pixels > crops.MOST_PIXELS:
        raise InputError(
            f"count = {count} crops of {spec.size} px: {pixels:,} pixels are too many for one sheet, at most"
            f" {crops.MOST_PIXELS:,}; show fewer, smaller ones or at a lower scale"
        )
    found = checked_source(source, spec, seed, max_pixels, data_dir, shrink)
    crops_shown = f"{count} crops" if count > 1 else "1 crop"
    heading = f"{crops_shown} of {spec.size} x {spec.size}, {title}seed {seed}"
    with progress.waiting(f"drawing {crops_shown}"):
        atlas = images.build_atlas([image.pixels for image in found])
        sheet = crops.crop_sheet(found, spec, count, seed, scale=scale, heading=heading, atlas=atlas)
    if not alone:
        return sheet
    with progress.waiting("drawing each augmentation alone"):
        return grids.stacked([sheet, crops.alone_sheet(found, spec, seed, scale=scale, atlas=atlas)])


def export_crops(
    source: str,
    target: str | Path,
    count: int,
    spec: augment.CropSpec | None = None,
    *,
    seed: int = 0,
    form: str = "png",
    max_pixels: int = 0,
    data_dir: str = "",
    shrink: int = 1,
) -> Path:
    """Writes crops 0 to count - 1 of a virtual data set as files, to train on the same images elsewhere.

    Args:
      source: the image or images, as `load_source` takes them.
      target: a folder, or NAME.array_record; an interrupted export is continued.
      count: how many; raise it to extend an export.
      spec: how crops are made; None: the paper's recipe at 32 px.
      seed: names the virtual data set.
      form: of a folder: "png", "jpeg" or "jpg", "webp", or "array_record" (a TFDS data set).
      max_pixels: most pixels that a source image may have; 0: Pillow's limit, 89 million.
      data_dir: where prepared labelled sets lie, for `unlabelled:DATASET`.
      shrink: what the sides of every source image are divided by.

    Raises:
      InputError: a bad argument, or a folder that holds other crops.
      Halted: a signal, or no space; the same call continues.
    """
    # Not above: it takes half a second, which every pretraining run would pay for its sheet of crops.
    from ssl_single_image.experiments import export, layouts

    if not 1 <= count <= 2**32:
        raise InputError(f"count = {count}: must lie in [1, {2**32}]")
    spec = spec or augment.CropSpec.preset("paper", 32)
    found = checked_source(source, spec, seed, max_pixels, data_dir, shrink)
    target = Path(os.path.expanduser(target))
    layout = layouts.choose(target, form, spec, count)
    record = {"crop": spec.to_config(), "seed": seed, "count": count, "format": type(layout).__name__}
    record |= {"encoding": layout.encoding, "sources": sources.records(source, found)}
    _refuse_foreign(layout.root)
    with workdir.held(layout.root, lambda: _claim(layout, record)):
        with progress.waiting("building the atlas"):
            atlas = images.build_atlas([image.pixels for image in found])
        export.export(atlas, spec, seed, count, layout)
    return target


def _claim(layout: Layout, record: dict[str, Any]) -> None:
    """Makes the layout that of these crops. An export of the same crops but fewer is extended.

    Raises:
      InputError: it holds other crops, or more of them.
    """
    before = workdir.read(layout.record.parent, layout.record.name) if layout.record.exists() else None
    if before and before.get("count", 0) > record["count"]:
        raise InputError(
            f"count = {record['count']}: {layout.root} is of an export of {before['count']:,} crops already"
        )
    workdir.claim(layout.root, record, ("count",), recorded=before, results=layout.holds())


def _refuse_foreign(folder: Path) -> None:
    """Crops are not mixed into a folder that some other program filled.

    Raises:
      InputError: the folder has files in it, and no record of an export.
    """
    if (
        folder.is_dir()
        and not (folder / workdir.CONFIG).exists()
        and next(folder.iterdir(), None) is not None
    ):
        raise InputError(f"{folder}: holds files that no export wrote; give an empty folder or a new name")


def save_crops(sheet: Image.Image, source: str, out: str | Path) -> None:
    """Writes a sheet as an image file.

    Raises:
      InputError: the file is the source itself, or can't be written.
    """
    place = Path(os.path.expanduser(out)).resolve()
    if any(path.resolve() == place for path in sources.source_files(source)):
        raise InputError(f"{out}: is the source image itself; give another file for the sheet")
    images.save_image(sheet, out)


def checked_source(
    source: str,
    spec: augment.CropSpec,
    seed: int,
    max_pixels: int = 0,
    data_dir: str = "",
    shrink: int = 1,
) -> list[images.SourceImage]:
    """The images of a source, large enough for the spec.

    Raises:
      InputError: they can't be read, are too small or too large, or the seed is out of range.
    """
    if max_pixels < 0:
        raise InputError(f"max_pixels = {max_pixels}: must be 0 or more")
    if not 1 <= shrink < 2**16:
        raise InputError(f"shrink = {shrink}: must lie in [1, 2**16)")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed = {seed}: must lie in [0, 2**32)")
    with progress.waiting(f"decoding {source}"):
        found = sources.load_source(
            source, size=spec.size, data_dir=data_dir, max_pixels=max_pixels, shrink=shrink
        )
    augment.check_source(spec, [image.pixels.shape for image in found], [image.name for image in found])
    return found
