"""The published way, as the benchmark runs it: its crops, its files, and what is computed of its parts."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import end_to_end
import end_to_end_peers as peers


def test_boxes_lie_in_a_square_of_half_the_side_and_cover_the_published_areas():
    draw, sides = random.Random(0), []
    for _ in range(2000):
        left, top, right, bottom = peers._box((600, 400), draw)
        assert 0 <= left < right <= 600
        assert 0 <= top < bottom <= 400
        sides.append((right - left, bottom - top))
    width, height = np.array(sides).T
    area, aspect = width * height / 200**2, width / height
    assert max(width.max(), height.max()) <= 200
    assert (area.min() < 0.01, area.max() > 0.9) == (True, True)
    assert np.all((aspect > 0.6) & (aspect < 1.6))  # 3/4 to 4/3, and sides of whole pixels


def test_a_crop_without_drawn_angles_is_the_middle_of_the_frame(monkeypatch):
    """With no rotation and no shear, pixel (0, 0) of the crop is that of the middle square of the frame."""
    monkeypatch.setattr(peers, "ANGLE", 0.0)
    scale_x, shear_x, left, shear_y, scale_y, top = peers._affine(45, 32, random.Random(0))
    assert (scale_x, scale_y, shear_x, shear_y) == (1, 1, 0, 0)
    assert (left, top) == (6.5, 6.5)


def test_a_rotation_keeps_the_middle_in_its_place():
    a, b, c, d, e, f = peers._affine(45, 32, random.Random(1))
    assert (a * 16 + b * 16 + c, d * 16 + e * 16 + f) == pytest.approx((22.5, 22.5))
    assert a * e - b * d == pytest.approx(1)  # neither a rotation nor a shear changes areas


def test_files_hold_crops_of_the_photograph(tmp_path):
    pixels = np.full((64, 96, 3), (200, 40, 90), np.uint8)
    peers.keep_source(pixels)
    peers.write_crops(16, range(3, 7), 0, tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{number:06d}.jpg" for number in range(3, 7)]
    with Image.open(tmp_path / names[0]) as image:
        assert (image.size, image.mode) == ((16, 16), "RGB")


def test_jitter_changes_colours_and_keeps_the_size():
    crop = Image.new("RGB", (8, 8), (200, 40, 90))
    seen = {peers._jittered(crop, random.Random(seed)).getpixel((0, 0)) for seed in range(20)}
    assert len(seen) == 20


def test_many_epochs_hide_the_time_of_writing():
    row = {"ours": 400.0, "theirs": 0.0, "theirs_crops_written": 50.0, "theirs_views_trained": 200.0}
    once = end_to_end.computed(row, "once", 1)
    assert once["theirs"] == pytest.approx(
        100
    )  # 4 views take a fiftieth of a second each to write and to train
    assert once["ratio"] == pytest.approx(4)
    assert end_to_end.computed(row, "often", 10**6)["theirs"] == pytest.approx(200, rel=1e-4)
