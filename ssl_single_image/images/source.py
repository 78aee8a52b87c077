"""What names source images: files, patterns, folders, built-in photographs and synthetic images.

Training images of labelled sets are named in `datasets.sources`, which passes everything else on to here.
"""

from __future__ import annotations

import dataclasses
import glob
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssl_single_image.images import builtin, synthetic
from ssl_single_image.images.decode import read_image
from ssl_single_image.types import InputError

FORMS = f"a file, folder, glob pattern, {builtin.PREFIX}NAME[+NAME...] or {synthetic.FORM}"
"""What the name of a source may look like."""
_MADE = (builtin.PREFIX, synthetic.PREFIX)
"""Prefixes of sources that no file of the user's is read for."""


@dataclasses.dataclass(frozen=True)
class SourceImage:
    """A decoded image.

    Attributes:
      name: the path it was read from, `builtin:NAME` or `synthetic:NAME...`.
      pixels: (H, W, 3) uint8 RGB.
    """

    name: str
    pixels: np.ndarray

    def record(self) -> dict[str, Any]:
        """What identifies the image, JSON-able: name, shape and hash of the pixels."""
        digest = hashlib.sha256(self.pixels.tobytes()).hexdigest()
        return {"name": self.name, "shape": list(self.pixels.shape), "sha256": digest}

    def shrunk(self, factor: int) -> SourceImage:
        """The image with its sides divided by a whole number; a pixel is the mean of factor x factor.

        The last row and column are means of what is left where a side is no multiple.
        """
        if factor == 1:
            return self
        return dataclasses.replace(self, pixels=np.array(Image.fromarray(self.pixels).reduce(factor)))


def load_source(source: str, *, max_pixels: int = 0) -> list[SourceImage]:
    """Reads every image that a source names, in an order that depends on the names alone.

    Args:
      source: `builtin:NAME` or several as `builtin:NAME+NAME`, `synthetic:NAME[,size=N]@SEED`, a file, a folder, or a
        glob pattern (`**` for any depth). Of a folder the image files are taken, by extension and in order of name,
        without hidden files and without folders in it. All files that a pattern matches must be images. `~` stands for
        the home folder.
      max_pixels: most pixels that an image may have; 0: Pillow's limit of 89 million. Cameras of 100 megapixels need
        more.

    Returns:
      At least one image.

    Raises:
      InputError: nothing matches, a photograph is named twice, or an image can't be decoded or has too many pixels.
    """
    if names := builtin.names_in(source):
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(f"{source}: names {', '.join(sorted(twice))} twice; name every photograph once")
        return [SourceImage(builtin.PREFIX + name, builtin.load(name)) for name in names]
    if source.startswith(synthetic.PREFIX):
        return [SourceImage(source, synthetic.load(source))]
    return [SourceImage(str(path), read_image(path, max_pixels)) for path in source_files(source)]


def source_files(source: str) -> list[Path]:
    """The files that `load_source` reads; none for built-in photographs and synthetic images.

    Raises:
      InputError: nothing matches.
    """
    return [] if source.startswith(_MADE) else _files(source)


def image_files(folder: Path) -> list[Path]:
    """The image files (by extension) right in a folder, hidden ones left out, in order of name.

    Raises:
      InputError: there are none, or the folder can't be read.
    """
    extensions = Image.registered_extensions()
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror or error}") from error
    files = [f for f in entries if f.is_file() and f.suffix.lower() in extensions and f.name[0] != "."]
    if not files:
        raise InputError(f"{folder}: the folder has no images in it (folders inside it are not searched)")
    return files


def _files(source: str) -> list[Path]:
    path = Path(os.path.expanduser(source))  # as a shell does it: ~NAME stays where there is no such user
    if not source:
        raise InputError(f"no source image: give {FORMS}")
    if path.is_dir():
        return image_files(path)
    if path.exists():  # before patterns, so that a name with brackets in it can be given
        return [path]
    if not glob.has_magic(source):
        raise InputError(f"{source}: no such file or folder (builtin:list names the built-in photographs)")
    found = filter(os.path.isfile, glob.glob(str(path), recursive=True))
    shortest: dict[str, Path] = {}  # through links, and loops of links, one file can have many names
    for name in sorted(found, key=lambda name: (name.count(os.sep), name)):
        shortest.setdefault(os.path.realpath(name), Path(name))
    files = sorted(shortest.values(), key=str)
    if not files:
        raise InputError(f"{source}: no file matches this pattern")
    return files
