"""Contact sheets: labelled tiles, windows drawn on a photograph, panels side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssl_single_image.types import Rows

_BACKGROUND = (255, 255, 255)
_INK = (30, 30, 30)
_GAP = 8
_LABEL = 11
_HEADING = 15
_COLOURS = (
    (230, 25, 75),
    (60, 180, 75),
    (255, 225, 25),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
)


def contact_sheet(
    tiles: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    columns: int,
    scale: int = 1,
    heading: str = "",
) -> Image.Image:
    """Lays tiles out row by row, each with its label below.

    Args:
      tiles: (S, S, 3) each, all of one size; uint8, or floats in [0, 1].
      labels: one a tile, of one or more lines; None: no labels.
      columns: tiles in a row.
      scale: whole factor by which tiles are enlarged; pixels stay square.
      heading: a line above all.
    """
    pictures = [_enlarged(tile, scale) for tile in tiles]
    texts = list(labels) if labels is not None else [""] * len(pictures)
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    cell_width = max([p.width for p in pictures] + [_text_width(text, _LABEL) for text in texts]) + _GAP
    cell_height = max(p.height for p in pictures) + lines * (_LABEL + 3) + _GAP
    top = _HEADING + 2 * _GAP if heading else _GAP
    rows = -(-len(pictures) // columns)
    width = max(columns * cell_width, _text_width(heading, _HEADING) + _GAP) + _GAP
    sheet = Image.new("RGB", (width, rows * cell_height + top), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if heading:
        draw.text((_GAP, _GAP), heading, fill=_INK, font=ImageFont.load_default(_HEADING))
    for i, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        x, y = _GAP + i % columns * cell_width, top + i // columns * cell_height
        sheet.paste(picture, (x, y))
        draw.multiline_text(
            (x, y + picture.height + 2), text, fill=_INK, font=ImageFont.load_default(_LABEL), spacing=2
        )
    return sheet


def draw_windows(
    pixels: np.ndarray, corners: np.ndarray, labels: Sequence[str], *, longest_side: int = 640
) -> Image.Image:
    """A photograph, scaled to fit, with the outlines of windows on it.

    Args:
      pixels: (H, W, 3) uint8.
      corners: (K, 4, 2), the (y, x) corners of each window in pixels of the photograph.
      labels: K short texts, put at the first corner, which is also marked by a dot.
      longest_side: of the result, in pixels.
    """
    picture = Image.fromarray(pixels)
    factor = longest_side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for i, (window, label) in enumerate(zip(corners * factor, labels, strict=True)):
        points = [(float(x), float(y)) for y, x in window]
        colour = _COLOURS[i % len(_COLOURS)]
        draw.line([*points, points[0]], fill=colour, width=2, joint="curve")
        x, y = points[0]
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        font = ImageFont.load_default(_LABEL)
        x = min(x + 4, picture.width - font.getlength(label) - 2)
        y = min(y + 2, picture.height - _LABEL - 4)
        draw.text((x, y), label, fill=colour, font=font, stroke_width=1, stroke_fill=_INK)
    return picture


def side_by_side(panels: Iterable[Image.Image]) -> Image.Image:
    """Panels from left to right, aligned at the top."""
    return _joined(list(panels), horizontal=True)


def stacked(panels: Iterable[Image.Image]) -> Image.Image:
    """Panels from top to bottom, aligned at the left."""
    return _joined(list(panels), horizontal=False)


def titled_rows(rows: Rows, *, scale: int = 1) -> Image.Image:
    """Rows of tiles, each under its title and enlarged by a whole factor."""
    return stacked(
        contact_sheet(list(np.asarray(tiles)), columns=len(tiles), scale=scale, heading=title)
        for title, tiles in zip(rows.titles, rows.tiles, strict=True)
    )


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] to uint8; uint8 passes."""
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(np.clip(np.asarray(pixels, np.float32), 0, 1) * 255).astype(np.uint8)


def _enlarged(tile: np.ndarray, scale: int) -> Image.Image:
    picture = Image.fromarray(to_bytes(tile))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST)


def _joined(panels: list[Image.Image], *, horizontal: bool) -> Image.Image:
    widths, heights = [p.width for p in panels], [p.height for p in panels]
    gaps = _GAP * (len(panels) + 1)
    if horizontal:
        size = (sum(widths) + gaps, max(heights) + 2 * _GAP)
    else:
        size = (max(widths) + 2 * _GAP, sum(heights) + gaps)
    sheet = Image.new("RGB", size, _BACKGROUND)
    at = _GAP
    for panel in panels:
        sheet.paste(panel, (at, _GAP) if horizontal else (_GAP, at))
        at += (panel.width if horizontal else panel.height) + _GAP
    return sheet


def _text_width(text: str, size: int) -> int:
    font = ImageFont.load_default(size)
    return max((int(font.getlength(line)) + 1 for line in text.split("\n")), default=0)
