"""Contact sheets: labelled tiles, windows drawn on a photograph, panels side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.types import Rows

_BACKGROUND = (255, 255, 255)
_INK = (30, 30, 30)
_GAP = 8
_LABEL = 11
_LARGEST_LABEL = 16
_HEADING, _TITLE = 4, 1
"""By how many pixels their letters are larger than labels."""
_SHOWN = 64
"""Side in pixels that tiles in rows are enlarged to, about."""
WINDOW_COLOURS = (*COLOURS[:-1], "#FFFFFF")  # no black: photographs are often dark


def contact_sheet(
    tiles: Sequence[np.ndarray],
    labels: Sequence[str] | None = None,
    *,
    columns: int,
    scale: int = 1,
    heading: str = "",
    heading_size: int = 0,
    frames: Sequence[str] = (),
) -> Image.Image:
    """Lays tiles out row by row, each with its label below.

    Args:
      tiles: (S, S, 3) each, all of one size; uint8, or floats in [0, 1].
      labels: one a tile, of one or more lines, as `in_lines` makes them; None: no labels.
      columns: tiles in a row.
      scale: whole factor by which tiles are enlarged; pixels stay square.
      heading: a line above all.
      heading_size: of its letters, in pixels; 0: some more than labels have.
      frames: colours of frames around the first tiles, "": none.
    """
    pictures = [_enlarged(tile, scale) for tile in tiles]
    texts = list(labels) if labels is not None else [""] * len(pictures)
    widest = max(p.width for p in pictures)
    size = label_size(widest)
    heading_size = heading_size or size + _HEADING
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    cell_width = max([widest] + [_text_width(text, size) for text in texts]) + _GAP
    cell_height = max(p.height for p in pictures) + lines * (size + 3) + _GAP
    top = heading_size + 2 * _GAP if heading else _GAP
    rows = -(-len(pictures) // columns)
    width = max(columns * cell_width, _text_width(heading, heading_size) + _GAP) + _GAP
    sheet = Image.new("RGB", (width, rows * cell_height + top), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    if heading:
        draw.text((_GAP, _GAP), heading, fill=_INK, font=ImageFont.load_default(heading_size))
    for i, (picture, text) in enumerate(zip(pictures, texts, strict=True)):
        x, y = _GAP + i % columns * cell_width, top + i // columns * cell_height
        if i < len(frames) and frames[i]:
            draw.rectangle((x - 3, y - 3, x + picture.width + 2, y + picture.height + 2), _INK)
            draw.rectangle((x - 2, y - 2, x + picture.width + 1, y + picture.height + 1), frames[i])
        sheet.paste(picture, (x, y))
        at = (x, y + picture.height + 4)
        draw.multiline_text(at, text, fill=_INK, font=ImageFont.load_default(size), spacing=2)
    return sheet


def label_size(width: int) -> int:
    """The height in pixels of the letters below a tile of a width in pixels."""
    return min(_LARGEST_LABEL, max(_LABEL, width // 14))


def in_lines(words: Iterable[str], width: int) -> str:
    """Words one after the other, with commas, in lines as wide as a tile of `width` pixels at most.

    A word that is wider than the tile has a line of its own.
    """
    size = label_size(width)
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]}, {word}" if lines else word
        if lines and _text_width(longer, size) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return "\n".join(lines)


def draw_windows(
    pixels: np.ndarray,
    corners: np.ndarray,
    labels: Sequence[str],
    colours: Sequence[str],
    *,
    longest_side: int = 640,
) -> Image.Image:
    """A photograph, scaled to fit, with the outlines of windows on it.

    Args:
      pixels: (H, W, 3) uint8.
      corners: (K, 4, 2), the (y, x) corners of each window in pixels of the photograph.
      labels: K short texts, put at the first corner, which is the top left one of the crop.
      colours: K colours.
      longest_side: of the result, in pixels.
    """
    picture = Image.fromarray(pixels)
    factor = longest_side / max(picture.size)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    outlines = [[(float(x), float(y)) for y, x in window] for window in corners * factor]
    for points, colour in zip(outlines, colours, strict=True):
        for ink, width in ((_INK, 4), (colour, 2)):  # seen on any ground
            draw.line([*points, *points[:2]], fill=ink, width=width, joint="curve")
    font = ImageFont.load_default(_LABEL)
    for points, label, colour in zip(outlines, labels, colours, strict=True):
        if label:
            wide, high = _text_width(label, _LABEL) + 5, _LABEL + 4
            x = min(max(points[0][0], 0), picture.width - wide - 1)
            y = min(max(points[0][1], 0), picture.height - high - 1)
            draw.rectangle((x, y, x + wide, y + high), fill=colour, outline=_INK)
            draw.text((x + 3, y + 1), label, fill=(0, 0, 0), font=font)
    return picture


def side_by_side(panels: Iterable[Image.Image]) -> Image.Image:
    """Panels from left to right, aligned at the top."""
    return _joined(list(panels), horizontal=True)


def stacked(panels: Iterable[Image.Image]) -> Image.Image:
    """Panels from top to bottom, aligned at the left."""
    return _joined(list(panels), horizontal=False)


def titled_rows(rows: Rows, *, scale: int = 0) -> Image.Image:
    """Rows of tiles, each under its title and enlarged by a whole factor, 0: one that suits their size."""
    panels = []
    headings: list[str] = []  # they wait for a row that is shown
    for number, tiles in enumerate(rows.tiles):
        count = int(rows.shown[number]) if rows.shown else len(tiles)
        *above, title = title_lines(rows, number)
        headings += above
        if count:
            shown = list(np.asarray(tiles)[:count])
            side = shown[0].shape[0]
            factor = scale or default_scale(side)
            size = label_size(factor * side)
            panels += [text_panel(text, size + _HEADING) for text in headings]
            headings = []
            panels.append(
                contact_sheet(shown, columns=count, scale=factor, heading=title, heading_size=size + _TITLE)
            )
    return stacked(panels or [text_panel("nothing to show", _LABEL + _HEADING)])


def text_panel(text: str, size: int = _LARGEST_LABEL) -> Image.Image:
    """Lines of text as a panel, in letters of `size` pixels."""
    lines = text.count("\n") + 1
    panel = Image.new(
        "RGB", (_text_width(text, size) + 2 * _GAP, lines * (size + 3) - 3 + 2 * _GAP), _BACKGROUND
    )
    font = ImageFont.load_default(size)
    ImageDraw.Draw(panel).multiline_text((_GAP, _GAP), text, fill=_INK, font=font, spacing=2)
    return panel


def default_scale(side: int) -> int:
    """The whole factor at which tiles in rows are shown."""
    return max(1, round(_SHOWN / side))


def title_lines(rows: Rows, number: int) -> list[str]:
    """The title of a row with its values, the last, below the headings that come before it."""
    values = rows.values[number] if rows.values else ()
    return rows.titles[number].format(*(np.asarray(value).item() for value in values)).split("\n")


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
