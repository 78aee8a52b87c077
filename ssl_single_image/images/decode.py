"""Image files to RGB arrays: every pixel format Pillow reads, converted to (H, W, 3) uint8 in one way.

Not here: which files to read (`source.py`), and anything that changes an image's size.
"""

from __future__ import annotations

import contextlib
import io
import math
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ssl_single_image.types import InputError

MOST_BYTES = 1 << 31
"""Of an image file."""
_GUARD = threading.Lock()
"""Held while Pillow's own limit, which belongs to the whole process, is raised."""
_WHITE = (255, 255, 255, 255)
# Pillow only warns of a size up to twice its limit; `decode_image` refuses it, so the warning says nothing new.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_DEEP_GREY = ("I", "I;16", "I;16B", "I;16L", "I;16N")


def read_image(path: str | Path, max_pixels: int = 0) -> np.ndarray:
    """Decodes one image file; see `decode_image`.

    Raises:
      InputError: as `decode_image`, and when the file can't be read or is empty.
    """
    try:
        size = Path(path).stat().st_size
        if not Path(path).is_file():
            raise InputError(f"{path}: is no regular file")
        if size > MOST_BYTES:
            raise InputError(
                f"{path}: has {size:,} bytes, more than the {MOST_BYTES:,} that are read of an image"
            )
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    return decode_image(data, str(path), max_pixels)


def decode_image(data: bytes, name: str, max_pixels: int = 0) -> np.ndarray:
    """Decodes the bytes of an image file.

    The orientation in EXIF is applied. Transparent pixels are composited on white. 16-bit grey is scaled by
    255/65535, not cut off. Of an animation the first frame is taken. Colour profiles are ignored.

    Args:
      data: contents of the file.
      name: what errors call it.
      max_pixels: most pixels that the image may have; 0: as many as Pillow's guard against decompression bombs lets
        pass (`PIL.Image.MAX_IMAGE_PIXELS`, 89 million).

    Returns:
      (H, W, 3) uint8 RGB.

    Raises:
      InputError: empty, not an image, truncated or damaged, or with more pixels than it may have.
    """
    if not data:
        raise InputError(f"{name}: the file is empty (0 bytes)")
    most = max_pixels or Image.MAX_IMAGE_PIXELS or math.inf
    try:
        with _allowed(most):
            file = Image.open(io.BytesIO(data))
            if file.width * file.height > most:
                raise Image.DecompressionBombError
            file.load()
            image = ImageOps.exif_transpose(file)
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name}: more than {most:,} pixels (a decompression bomb?); scale it down, or raise max_pixels if it is"
            " a source image"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image in a format that Pillow reads") from error
    except Exception as error:  # Pillow's readers raise almost anything on damaged files
        if "ghostscript" in str(error).lower():
            raise InputError(
                f"{name}: is read by Ghostscript, which is not installed; save it as PNG"
            ) from error
        raise InputError(f"{name}: truncated or damaged image: {error}") from error
    return _to_rgb(image, name)


@contextlib.contextmanager
def _allowed(pixels: float) -> Iterator[None]:
    """Lifts Pillow's own limit, if need be, while one image is decoded; `decode_image` has its own."""
    before = Image.MAX_IMAGE_PIXELS
    if before is None or pixels <= before:
        yield
        return
    with _GUARD:
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _to_rgb(image: Image.Image, name: str) -> np.ndarray:
    if image.mode in _DEEP_GREY:
        return _deep_grey_to_rgb(image, name)
    if image.mode == "F":
        return _unit_range_to_rgb(np.asarray(image), name)
    try:
        if image.has_transparency_data:
            layer = image.convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", layer.size, _WHITE), layer)
        return np.array(image.convert("RGB"))
    except ValueError as error:
        raise InputError(f"{name}: no conversion from mode {image.mode} to RGB; save it as RGB") from error


def _deep_grey_to_rgb(image: Image.Image, name: str) -> np.ndarray:
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{name}: grey values outside [0, 65535]; save it with 8 or 16 bits a channel")
    grey = ((values * 255 + 32767) // 65535).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return np.repeat(grey[..., None], 3, axis=-1)


def _unit_range_to_rgb(values: np.ndarray, name: str) -> np.ndarray:
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise InputError(f"{name}: floating-point pixels outside [0, 1]; save it with 8 or 16 bits a channel")
    return np.repeat(np.rint(values * 255).astype(np.uint8)[..., None], 3, axis=-1)
