"""Crops against Pillow and SciPy computing the same geometry on their own, and exact cases."""

from __future__ import annotations

import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from reference import pillow_crops as crops
from scipy import ndimage

from ssl_single_image import augment, images
from ssl_single_image.augment import resample
from ssl_single_image.images import builtin

KINDS = ("bilinear", "bicubic")
QUARTER = 0.125 + 1e-3  # packed pixels keep quarters of a level of the source


def look_up(
    pixels: np.ndarray, matrix: np.ndarray, centre: tuple[float, float], size: int, kind: str
) -> np.ndarray:
    atlas = images.build_atlas([pixels])
    place = resample.locate(
        atlas,
        jnp.zeros(1, jnp.int32),
        jnp.asarray(matrix, jnp.float32)[None],
        jnp.asarray(centre, jnp.float32)[None],
    )
    packed = resample.lookup(atlas.texels, place, jnp.asarray(True), size=size, interpolation=kind)
    return 255 * np.asarray(resample.interleave(packed))[0]


@pytest.mark.parametrize("kind", KINDS)
def test_at_scale_one_the_pixels_come_back(kind: str) -> None:
    pixels = builtin.load("coffee")
    got = look_up(pixels, np.eye(2), (108, 216), 16, kind)
    np.testing.assert_allclose(got, pixels[100:116, 208:224], atol=QUARTER)
    mirrored = look_up(pixels, np.diag([1, -1]), (108, 216), 16, kind)
    np.testing.assert_allclose(mirrored, pixels[100:116, 208:224][:, ::-1], atol=QUARTER)
    turned = look_up(pixels, np.array([[0, 1], [-1, 0]]), (108, 216), 16, kind)
    np.testing.assert_allclose(turned, np.rot90(pixels[100:116, 208:224]), atol=QUARTER)


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_come_back_from_the_far_end_of_a_long_strip(kind: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 500_000, 3)).astype(np.uint8)
    got = look_up(pixels, np.eye(2), (10, 499_990), 8, kind)
    np.testing.assert_allclose(got, pixels[6:14, 499_986:499_994], atol=QUARTER)


def test_magnified_and_turned_equals_linear_interpolation_by_scipy() -> None:
    pixels = builtin.load("chelsea")
    matrix = 0.4 * np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    steps = np.arange(24) - 11.5
    points = np.einsum("ij,jab->iab", matrix, np.stack(np.meshgrid(steps, steps, indexing="ij")))
    at = points + np.array([150.3, 200.7])[:, None, None] - 0.5
    expected = np.stack(
        [ndimage.map_coordinates(pixels[..., c].astype(float), at, order=1) for c in range(3)], -1
    )
    error = look_up(pixels, matrix, (150.3, 200.7), 24, "bilinear") - expected
    slope = max(np.abs(np.diff(pixels[140:162, 190:212].astype(float), axis=axis)).max() for axis in (0, 1))
    # Taps are weighted in sixteenths of a pixel.
    assert np.abs(error).max() <= 2 * slope / 32 + QUARTER
    assert np.abs(error.mean()) < 0.1


def test_magnified_bicubic_equals_pillow() -> None:
    pixels = builtin.load("chelsea")
    box = (100, 50, 116, 66)
    expected = np.asarray(Image.fromarray(pixels).resize((64, 64), Image.Resampling.BICUBIC, box=box), float)
    got = look_up(pixels, np.eye(2) / 4, (58, 108), 64, "bicubic")
    # Pillow doesn't look beyond the box, so compare away from its edges.
    np.testing.assert_allclose(got[8:-8, 8:-8], expected[8:-8, 8:-8], atol=2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 3)])
def test_tiny_images_and_points_beyond_the_border(kind: str, shape: tuple[int, int]) -> None:
    flat = np.full((*shape, 3), 77, np.uint8)
    np.testing.assert_allclose(look_up(flat, 3 * np.eye(2), (50, -40), 8, kind), 77, atol=QUARTER)
    two = np.zeros((1, 2, 3), np.uint8)
    two[0, 1] = 200
    across = look_up(two, np.eye(2) / 16, (0.5, 1.0), 4, "bilinear")[0, :, 0]
    np.testing.assert_allclose(
        across, 100 + 200 / 16 * np.array([-1.5, -0.5, 0.5, 1.5]), atol=200 / 32 + QUARTER
    )


def test_packed_pixels_come_back() -> None:
    planes = [jnp.asarray(np.random.default_rng(i).random((2, 5, 5)), jnp.float32) for i in range(3)]
    packed = resample.pack((planes[0], planes[1], planes[2]))
    for plane, again in zip(planes, resample.unpack(packed), strict=True):
        np.testing.assert_allclose(again, plane, atol=0.5 / 1020 + 1e-6)
    np.testing.assert_array_equal(resample.interleave(packed), np.stack(resample.unpack(packed), -1))
    ends = resample.unpack(resample.pack((jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)))))
    assert [float(e[0, 0, 0]) for e in ends] == [0, 1, 1]


AUTHORS = augment.CropSpec.preset("authors", 32).replace(**crops.GREY)
UPRIGHT = augment.CropSpec.preset("paper", 32).replace(**crops.GREY, rotation=0.0)


@pytest.mark.parametrize(
    ("name", "spec", "reference"),
    [
        ("coffee", AUTHORS, crops.chain),
        ("retina", UPRIGHT, crops.upright),
    ],
    ids=["authors", "upright"],
)
def test_crops_equal_pillows(name: str, spec: augment.CropSpec, reference: crops.Reference) -> None:
    ratios = crops.peak_ratios(builtin.load(name), spec, reference, count=150)
    assert np.median(ratios) >= 35, np.median(ratios)
    assert np.percentile(ratios, 5) >= 30, np.percentile(ratios, 5)


@pytest.mark.parametrize("size", [32, 224])
def test_crops_of_a_dense_scene_equal_pillows(shared_data: Path, size: int) -> None:
    (source,) = images.load_source(str(shared_data / "images" / "ameyoko.jpg"))
    spec = augment.CropSpec.preset("authors", size).replace(**crops.GREY)
    ratios = crops.peak_ratios(source.pixels, spec, crops.chain, count=100 if size == 32 else 40)
    assert np.median(ratios) >= 32, np.median(ratios)
    assert np.percentile(ratios, 5) >= 27, np.percentile(ratios, 5)
