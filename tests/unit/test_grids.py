"""Contact sheets: every tile is where it should be, unchanged; files appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import images
from ssl_single_image.analysis import grids
from ssl_single_image.types import InputError


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


def test_floats_are_rounded_and_clipped() -> None:
    values = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
    assert grids.to_bytes(values).tolist() == [0, 0, 128, 255, 255]


def test_windows_are_drawn_where_they_are() -> None:
    black = np.zeros((100, 200, 3), np.uint8)
    corners = np.array([[[20, 40], [20, 160], [80, 160], [80, 40]]], float)
    drawn = np.asarray(grids.draw_windows(black, corners, [""], longest_side=400)).max(axis=-1)
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

    def full_disk(self: Image.Image, target: Path, **_: object) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(InputError, match=r"grid.png: cannot be written: No space"):
        images.save_image(image, path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["grid.png"]


def test_unknown_extension(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"use \.png"):
        images.save_image(Image.new("RGB", (8, 8)), tmp_path / "grid.xyz")
    assert list(tmp_path.iterdir()) == []
