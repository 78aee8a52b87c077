"""Shifts of images: the published corruptions without chance, what all shifts have in common, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from reference import published_corruptions
from shift_images import CLASSES, SEVERITIES, pictures, shifted, unit

from ssl_single_image.augment import shifts
from ssl_single_image.types import InputError

NAMES = list(shifts.SHIFTS)
WITHOUT_CHANCE = ("scale", *published_corruptions.CORRUPTIONS)


@pytest.mark.parametrize("side", [32, 37])
@pytest.mark.parametrize("name", list(published_corruptions.CORRUPTIONS))
def test_corruptions_are_those_of_the_publication(name: str, side: int) -> None:
    image = pictures(side=side)
    exact = name in published_corruptions.EXACT
    for severity in SEVERITIES:
        expected = [published_corruptions.CORRUPTIONS[name](one, severity) for one in image]
        found = shifted(name, image, severity)
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-7 if exact else 3e-6)
        assert np.abs(np.array(expected) - image / 255).max() > 0.01


def test_jpeg_follows_pillow_for_sides_of_every_remainder() -> None:
    """Filling up to blocks, halving and enlarging of colours depend on the side modulo 16."""
    for side in (5, 8, 16, 19, 22, 23):
        image = pictures(4, max(side, 8), seed=side)[:, :side, :side]
        expected = [published_corruptions.jpeg(one, 5) for one in image]
        np.testing.assert_allclose(shifted("jpeg", image, 5), expected, rtol=0, atol=2e-7)


@pytest.mark.parametrize("name", NAMES)
def test_every_shift_keeps_the_range_and_depends_on_its_image_alone(name: str) -> None:
    """One program for all shifts: image b has the bits that a program of this shift gives it in a smaller batch."""
    image = pictures()
    x = unit(image)
    np.testing.assert_array_equal(shifted(name, image, 0, names=tuple(NAMES)), x)
    seen = []
    for severity in (1, 5):
        whole = shifted(name, image, severity, names=tuple(NAMES))
        assert whole.dtype == np.float32
        assert 0 <= whole.min() <= whole.max() <= 1
        assert np.abs(whole - x).max() > 0.01
        np.testing.assert_array_equal(whole, shifted(name, image, severity))
        np.testing.assert_array_equal(whole[:5], shifted(name, image[:5], severity))
        seen.append(whole)
    assert (seen[0] != seen[1]).any()
    again = shifted(name, image, 5, seed=1, names=tuple(NAMES))
    assert (again != seen[1]).any() == (name not in WITHOUT_CHANCE)


@pytest.mark.parametrize("name", NAMES)
def test_the_smallest_images_that_a_shift_takes(name: str) -> None:
    side = shifts.SHIFTS[name].smallest
    found = shifted(name, pictures(CLASSES, 8)[:, :side, :side], 5)
    assert np.isfinite(found).all()
    if side > 1:
        with pytest.raises(
            InputError, match=rf"^shift = '{name}': needs images of {side} pixels a side at least"
        ):
            shifts.check(name, 1, side - 1)


@pytest.mark.parametrize(
    ("name", "severity", "message"),
    [
        ("gausian_noise", 1, r"^shift = 'gausian_noise': unknown; did you mean gaussian_noise"),
        ("nope", 1, r"^shift = 'nope': unknown; there are brightness, clutter"),
        ("jpeg", 6, r"^severity = 6: must be a whole number in \[0, 5\]$"),
        ("jpeg", -1, r"^severity = -1: must be"),
    ],
)
def test_what_is_refused(name: str, severity: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shifts.check(name, severity)
