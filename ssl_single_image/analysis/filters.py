"""The filters of the first convolution as a picture."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image

from ssl_single_image import models
from ssl_single_image.analysis import figures, grids
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import EncoderVariables


def first_layer(encoder: EncoderVariables, *, cell: int = 48, gap: int = 4) -> np.ndarray:
    """All filters of conv1 in a square grid, each stretched to its own full contrast, zero in mid grey.

    Args:
      encoder: its conv1 kernel is (k, k, C, D); C = 3 is shown in colour, otherwise the channels side by side.
      cell: side of a filter in pixels, about: filters are enlarged by a whole factor, without smoothing.
      gap: pixels of white between filters.

    Returns:
      (H, W, 3) uint8.
    """
    kernel = np.asarray(encoder.params["conv1"]["kernel"], np.float32)
    peak = np.abs(kernel).max((0, 1, 2), keepdims=True)
    tiles = np.moveaxis(0.5 + 0.5 * kernel / np.maximum(peak, 1e-12), 3, 0)
    if tiles.shape[-1] != 3:
        tiles = np.repeat(np.concatenate(np.moveaxis(tiles, 3, 0), axis=2)[..., None], 3, axis=3)
    scale = max(1, round(cell / kernel.shape[0]))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    return np.round(255 * _grid(tiles, gap)).astype(np.uint8)


def has_filters(encoder: EncoderVariables) -> bool:
    """Whether the network begins with a convolution `conv1` of its own, which others can look at."""
    return "kernel" in encoder.params.get("conv1", {})


def summary(encoder: EncoderVariables) -> dict[str, Any] | None:
    """The "shape" (k, k, C, D) of conv1's kernel, and for each filter the "peaks" that its tile is stretched to."""
    if not has_filters(encoder):
        return None
    kernel = np.asarray(encoder.params["conv1"]["kernel"], np.float32)
    return {"shape": list(kernel.shape), "peaks": np.abs(kernel).max((0, 1, 2)).tolist()}


def sheet(loaded: LoadedEncoder) -> Image.Image:
    """`first_layer` under a heading that says whose filters they are and how to read them.

    The filters of a Sobel network have two channels: they lie on the horizontal derivative of the grey image and on
    its vertical one.
    """
    height, width, channels, count = loaded.encoder.params["conv1"]["kernel"].shape
    told = "in colour" if channels == 3 else f"{channels} channels side by side"
    if models.sees_derivatives(loaded.encoder.spec):
        told = "on the horizontal (left) and the vertical derivative (right)"
    lines = (
        f"conv1 of {loaded.name}, step {loaded.step:,}",
        f"{count} filters of {height} x {width} {told}",
        "each stretched to its full contrast, mid grey is 0",
    )
    heading = grids.text_panel("\n".join(figures.wrapped(line, 64) for line in lines), 16)
    return grids.stacked([heading, Image.fromarray(first_layer(loaded.encoder))])


def png(picture: np.ndarray | Image.Image) -> bytes:
    """An image, or (H, W, 3) uint8, as a PNG file."""
    out = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(out, "png")
    return out.getvalue()


def _grid(tiles: np.ndarray, gap: int) -> np.ndarray:
    """(N, h, w, 3) side by side on white, in rows, as nearly square as possible."""
    count, height, width, _ = tiles.shape
    columns = max(1, round(math.sqrt(count * height / width)))
    rows = -(-count // columns)
    canvas = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.float32)
    for number, tile in enumerate(tiles):
        y, x = number // columns * (height + gap), number % columns * (width + gap)
        canvas[y : y + height, x : x + width] = tile
    return canvas
