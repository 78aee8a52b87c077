"""Contact sheets: every tile is where it should be, unchanged; files appear whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from ssl_single_image import images
from ssl_single_image.analysis import grids
from ssl_single_image.types import Halted, InputError, Rows


def test_tiles_lie_row_by_row_unchanged() -> None:
    tiles = [np.full((4, 4, 3), value, np.uint8) for value in (10, 60, 110, 160, 210)]
    sheet = np.asarray(grids.contact_sheet(tiles, columns=3, scale=2))
    cell = 8 + 8
    for i, tile in enumerate(tiles):
        y, x = 8 + i // 3 * cell, 8 + i % 3 * cell
        np.testing.assert_array_equal(sheet[y : y + 8, x : x + 8], np.repeat(np.repeat(tile, 2, 0), 2, 1))
        assert (sheet[y + 8, x] == 255).all()
    assert (sheet[8 + cell :, 8 + 2 * cell :] == 255).all()


def test_labels_and_heading_leave_ink_but_not_on_tiles() -> None:
    tiles = [np.full((16, 16, 3), 255, np.uint8)] * 2
    plain = grids.contact_sheet(tiles, columns=2)
    labelled = grids.contact_sheet(tiles, ["one", "two\nlines"], columns=2, heading="head")
    assert (np.asarray(plain) == 255).all()
    assert (np.asarray(labelled) < 128).any()
    assert labelled.height > plain.height
    bottom = np.asarray(labelled)[-20:]
    assert (bottom < 128).any()


@pytest.mark.parametrize("width", [32, 96, 224])
def test_labels_are_as_wide_as_their_tile(width: int) -> None:
    words = ["0: area 5.7 %", "turned -24°", "mirrored", "brightness 1.2", "hue -0.05"]
    text = grids.in_lines(words, width)
    assert text.replace("\n", ", ") == ", ".join(words)
    tile = np.zeros((width, width, 3), np.uint8)
    sheet = grids.contact_sheet([tile], [text], columns=1)
    if width == 32:
        assert (
            text.count("\n") == len(words) - 1
        )  # each word is wider than the tile and has a line of its own
    else:
        assert sheet.width == width + 16
    assert grids.label_size(224) > grids.label_size(96) >= 11


def test_frames_leave_tiles_as_they_are() -> None:
    tiles = [np.full((8, 8, 3), 90, np.uint8)] * 2
    plain, framed = (np.asarray(grids.contact_sheet(tiles, columns=2, frames=f)) for f in ((), ("#FF0000",)))
    for x in (8, 24):
        np.testing.assert_array_equal(framed[8:16, x : x + 8], plain[8:16, x : x + 8])
    changed = np.nonzero((framed != plain).any(axis=(0, 2)))[0]
    assert (framed == (255, 0, 0)).all(axis=-1).any()
    assert changed.max() < 24 - 3  # the second has none


def test_titles_are_filled_with_their_values():
    tiles = tuple(jnp.full((3, 8, 8, 3), value, jnp.float32) for value in (0.2, 0.4, 0.6))
    rows = Rows(
        tiles,
        ("First\nno {}", "Second\nno {}, {:,} crops, {:.1f}", "no {}"),
        values=((jnp.int32(4),), (jnp.int32(7), jnp.int32(1234), jnp.float32(0.26)), (jnp.int32(9),)),
        shown=(jnp.int32(3), jnp.int32(0), jnp.int32(2)),
    )
    assert grids.title_lines(rows, 0) == ["First", "no 4"]
    assert grids.title_lines(rows, 1) == ["Second", "no 7, 1,234 crops, 0.3"]
    sheet = np.asarray(grids.titled_rows(rows, scale=1))

    def tiles_of(value):
        return int((sheet == round(255 * value)).all(axis=-1).sum()) // 64

    assert [tiles_of(value) for value in (0.2, 0.4, 0.6)] == [3, 0, 2]
    nothing = Rows(tiles[:1], ("none",), shown=(jnp.int32(0),))
    assert (np.asarray(grids.titled_rows(nothing)) < 128).any()  # it says so


@pytest.mark.parametrize(("side", "shown"), [(16, 64), (32, 64), (224, 224)])
def test_tiles_in_rows_are_enlarged_to_be_seen(side, shown):
    tile = jnp.zeros((1, side, side, 3), jnp.uint8)
    picture = np.asarray(grids.titled_rows(Rows((tile,), ("",))))
    assert (picture == 0).all(axis=-1).sum() == shown**2


def test_floats_are_rounded_and_clipped() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert grids.to_bytes(values).tolist() == [0, 0, 128, 255, 255]


def test_windows_are_drawn_where_they_are() -> None:
    black = np.zeros((100, 200, 3), np.uint8)
    corners = np.array([[[20, 40], [20, 160], [80, 160], [80, 40]]], float)
    drawn = np.asarray(grids.draw_windows(black, corners, [""], ["#FFFFFF"], longest_side=400)).max(axis=-1)
    assert drawn.shape == (200, 400)
    assert (drawn[38:43, 100:300].max(axis=0) > 100).all()
    assert drawn[60:140, 100:300].max() == 0
    assert drawn[:30].max() == 0


def test_panels_keep_their_size() -> None:
    panels = [Image.new("RGB", (30, 20), "red"), Image.new("RGB", (10, 50), "blue")]
    assert grids.side_by_side(panels).size == (30 + 10 + 24, 50 + 16)
    assert grids.stacked(panels).size == (30 + 16, 20 + 50 + 24)


def test_saving_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, path = Image.new("RGB", (8, 8), "red"), tmp_path / "new" / "grid.png"
    images.save_image(image, path)
    with Image.open(path) as written:
        assert written.size == (8, 8)
    before = path.read_bytes()

    for number, kind, words in (
        (errno.ENOSPC, Halted, "the disk is full, nothing is written"),
        (errno.EACCES, InputError, "cannot be written: Permission denied"),
    ):

        def fail(self: Image.Image, target: Path, number: int = number, **_: object) -> None:
            Path(target).write_bytes(b"half")
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(Image.Image, "save", fail)
        with pytest.raises(kind, match=rf"grid.png: {words}"):
            images.save_image(image, path)
        assert path.read_bytes() == before
        assert [p.name for p in path.parent.iterdir()] == ["grid.png"]


def test_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"use \.png"):
        images.save_image(Image.new("RGB", (8, 8)), tmp_path / "grid.xyz")
    assert list(tmp_path.iterdir()) == []
