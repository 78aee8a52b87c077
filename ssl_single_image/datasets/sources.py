"""Source images by name, among them the training images of labelled sets: `unlabelled:DATASET`.

This is the one way from a source's name to its images, for every command. What is no labelled set is passed on to
`images.load_source`, which can't know labelled sets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_single_image import datasets, images
from ssl_single_image.datasets.base import MemorySplit
from ssl_single_image.datasets.records import MEMORY_LIMIT
from ssl_single_image.images import SourceImage
from ssl_single_image.images.source import FORMS as IMAGE_FORMS
from ssl_single_image.types import InputError

PREFIX = "unlabelled:"
FORMS = f"{IMAGE_FORMS}, or {PREFIX}DATASET"
"""What the name of a source may look like."""


def load_source(
    source: str, *, size: int = 32, data_dir: str = "", max_pixels: int = 0, shrink: int = 1
) -> list[SourceImage]:
    """Reads every image that a source names, in an order that depends on the names alone.

    Args:
      source: what `images.load_source` takes: a file, folder, glob pattern, `builtin:NAME[+NAME...]` or
        `synthetic:NAME[,size=N]@SEED`. Or `unlabelled:DATASET`: the training images of a labelled set, without their
        labels, where DATASET is what `datasets.load` takes.
      size: side of the crops. Images of a labelled set are decoded for it, as `datasets.load` decodes them.
      data_dir: where prepared sets lie; "": TFDS's own folder.
      max_pixels: most pixels that an image may have; 0: Pillow's limit of 89 million.
      shrink: what the sides of every image are divided by, see `SourceImage.shrunk`.

    Returns:
      At least one image.

    Raises:
      InputError: there is no such image or set, one of the images can't be decoded, or they are too many for memory.
    """
    if not source.startswith(PREFIX):
        found = images.load_source(source, max_pixels=max_pixels)
    else:
        found = _unlabelled(source, size, data_dir)
    return [image.shrunk(shrink) for image in found]


def source_files(source: str) -> list[Path]:
    """The files of the user's that must not be overwritten, because the source is read from them.

    Raises:
      InputError: nothing matches.
    """
    return [] if source.startswith(PREFIX) else images.source_files(source)


def records(source: str, found: Sequence[SourceImage]) -> list[dict[str, Any]]:
    """What identifies the images of a source, JSON-able: a record for each, or one for all of a labelled set."""
    if not source.startswith(PREFIX):
        return [image.record() for image in found]
    digest = hashlib.sha256()
    for image in found:
        digest.update(np.array(image.pixels.shape, "<i8").tobytes())
        digest.update(image.pixels.tobytes())
    return [{"name": source, "images": len(found), "sha256": digest.hexdigest()}]


def _unlabelled(source: str, size: int, data_dir: str) -> list[SourceImage]:
    name = source.removeprefix(PREFIX)
    split = datasets.load(name, data_dir=data_dir or None, size=size, multi_label=None).train
    if not isinstance(split, MemorySplit):
        raise InputError(
            f"{source}: {len(split):,} images are more than the {MEMORY_LIMIT / 1e9:.1f} GB that source images may"
            " take; give a set of fewer images, or a folder with some of them"
        )
    return [
        SourceImage(f"{source}, image {i}", pixels[:height, :width])
        for i, (pixels, (height, width)) in enumerate(zip(split.image, split.extent, strict=True))
    ]
