"""Synthetic images: that each has the law that its docstring states, and what their names may be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssl_single_image import images
from ssl_single_image.images import attractors, synthetic
from ssl_single_image.types import InputError


def channels(name: str, size: int = 256, seed: int = 0) -> np.ndarray:
    (image,) = images.load_source(f"synthetic:{name},size={size}@{seed}")
    return image.pixels


@pytest.mark.parametrize("name", synthetic.KINDS)
def test_a_seed_names_one_picture(name: str) -> None:
    first = channels(name, 96)
    assert first.shape == (96, 96, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, channels(name, 96))
    assert (first != channels(name, 96, seed=1)).any(axis=-1).mean() > 0.5


def test_the_default_size_and_the_name_of_the_image() -> None:
    (image,) = images.load_source("synthetic:white_noise@3")
    assert image.name == "synthetic:white_noise@3"
    assert image.pixels.shape == (1024, 1024, 3)
    assert images.source_files("synthetic:white_noise@3") == []


def spectrum(field: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies of the annuli 4, 5, ... of a square field, and the root mean square of its amplitudes in each."""
    size = len(field)
    power = np.abs(np.fft.fft2(field - field.mean())) ** 2
    ring = np.rint(size * np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))).astype(int).ravel()
    mean = np.bincount(ring, power.ravel()) / np.bincount(ring)
    rings = np.arange(4, size // 2)
    return rings, np.sqrt(mean[rings])


@pytest.mark.parametrize(("name", "slope"), [("pink_noise", -1), ("white_noise", 0)])
def test_the_slope_of_the_spectrum(name: str, slope: float) -> None:
    for channel in np.moveaxis(channels(name).astype(float), -1, 0):
        frequency, amplitude = spectrum(channel)
        fitted = np.polyfit(np.log(frequency), np.log(amplitude), 1)[0]
        assert fitted == pytest.approx(slope, abs=0.05)


def test_colours_of_pink_noise() -> None:
    found = np.concatenate([channels("pink_noise", seed=seed).reshape(-1, 3) for seed in range(4)])
    red_green, red_blue, green_blue = np.corrcoef(found.T)[[0, 0, 1], [1, 2, 2]]
    assert red_green == pytest.approx(0.97, abs=0.01)
    assert [red_blue, green_blue] == pytest.approx([0.81, 0.81], abs=0.03)
    assert found.mean() == pytest.approx(127.5, abs=0.5)
    assert found.std() == pytest.approx(255 * 0.18, rel=0.02)


def test_white_noise_is_uniform_and_independent() -> None:
    found = channels("white_noise")
    assert stats.chisquare(np.bincount(found.ravel(), minlength=256)).pvalue > 0.001
    for a, b in ((found[1:], found[:-1]), (found[:, 1:], found[:, :-1]), (found[..., 0], found[..., 1])):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.01


def test_dead_leaves_cover_the_plane_with_flat_leaves_of_every_colour() -> None:
    """With the power law, neighbours are alike far more often than two leaves: but edges are at every scale."""
    found = channels("dead_leaves", 512).astype(int)
    same = [(found[:, d:] == found[:, :-d]).all(axis=-1).mean() for d in (1, 4, 16, 64)]
    assert same == sorted(same, reverse=True)
    assert same[0] > 0.6
    assert 0.02 < same[2] < same[1] - 0.05
    values, counts = np.unique(found.reshape(-1, 3), axis=0, return_counts=True)
    assert len(values) > 5000
    assert counts.max() < found.size / 3 / 4
    colour = stats.kstest(values.ravel(), stats.randint(0, 256).cdf)
    assert colour.statistic < 0.02  # the law of a leaf's colour, each leaf counted once


def test_radii_of_leaves_follow_the_power_law(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of radii above r is (r^-2 - R^-2) / (r0^-2 - R^-2), of all that fall; boxes show them."""
    seen: list[np.ndarray] = []

    def look(free: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
        within = ((first > 0) & (last < len(free))).all(axis=1)
        seen.append((last - first)[within].mean(axis=1) / 2)
        return original(free, first, last)

    original = synthetic._free_within
    monkeypatch.setattr(synthetic, "_free_within", look)
    channels("dead_leaves", 1024)
    radii = np.concatenate(seen)
    for above in (4, 8, 16, 32):
        share = (radii > above).mean()
        law = (above**-2 - 256**-2) / (2**-2 - 256**-2)
        assert share == pytest.approx(law, rel=0.1 + 3 / np.sqrt(law * len(radii)))


def test_fractals_fill_most_of_the_picture_at_many_scales() -> None:
    for seed in range(3):
        found = channels("fractal", seed=seed).astype(float)
        assert (found.sum(axis=-1) > 0).mean() > 0.7
        frequency, amplitude = spectrum(found.mean(axis=-1))
        slope = np.polyfit(np.log(frequency), np.log(amplitude), 1)[0]
        assert -1.6 < slope < -0.6  # edges at every scale: about as in photographs
        assert found.std() > 30


def test_points_are_mapped_onto_the_attractor() -> None:
    """Three maps to the corners of a triangle, halving: Sierpinski's, whose middle third is empty."""
    corners = np.array([[0, 0], [0, 1], [1, 0]], float)
    system = attractors.System(np.tile(np.eye(2) / 2, (3, 1, 1)), corners / 2, np.full(3, 1 / 3), np.eye(3))
    rng = np.random.default_rng(0)
    points = attractors._on_attractor(rng, system, 1 << 14)
    depth, colour = attractors._front(rng, system, points, np.zeros(2), np.ones(2), 32)
    row, column = np.mgrid[:32, :32]
    np.testing.assert_array_equal(np.isfinite(depth), (row & column) == 0)
    assert colour[:16, :16].sum(axis=(0, 1)).argmax() == 0
    assert colour[16:, :16].sum(axis=(0, 1)).argmax() == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("synthetic:", "no such kind of image; there are synthetic:dead_leaves"),
        ("synthetic:leaves@0", "no such kind of image"),
        ("synthetic:fractal", "has no seed; give one, as synthetic:fractal@0"),
        ("synthetic:fractal@", r"the seed after @ must be a whole number in \[0, 2\*\*32\)"),
        ("synthetic:fractal@-1", "the seed after @"),
        ("synthetic:fractal@4294967296", "the seed after @"),
        ("synthetic:fractal@1@2", "the seed after @"),
        ("synthetic:fractal,size=63@0", r"size must be a whole number in \[64, 8192\]"),
        ("synthetic:fractal,size=8193@0", "size must be"),
        ("synthetic:fractal,size=@0", "size must be"),
        ("synthetic:fractal,side=64@0", "'side=64' is no option"),
        ("synthetic:fractal,@0", "'' is no option"),
    ],
)
def test_bad_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        images.load_source(name)
    assert "\n" not in str(error.value)
