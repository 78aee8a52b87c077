"""Image files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

from ssl_single_image.errors import Halted, InputError, disk_is_full


def save_image(image: Image.Image, path: str | Path) -> None:
    """Writes an image file whole or not at all; the format follows from the extension.

    Raises:
      InputError: an extension that Pillow doesn't write, or a place that can't be written to.
      Halted: the disk is full.
    """
    path, form = Path(os.path.expanduser(path)), image_format(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(unfinished, format=form)
        unfinished.replace(path)
    except OSError as error:
        if disk_is_full(error):
            raise Halted(f"{path}: the disk is full, nothing is written", 1) from error
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if unfinished.exists():
            unfinished.unlink()


def image_format(path: str | Path) -> str:
    """The format that a file's extension stands for.

    Raises:
      InputError: Pillow writes no such format.
    """
    form = Image.registered_extensions().get(Path(path).suffix.lower(), "")
    if form not in Image.SAVE:
        raise InputError(f"{path}: no image format for this extension; use .png")
    return form
