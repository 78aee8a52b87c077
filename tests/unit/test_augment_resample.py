"""Crops against Pillow and SciPy computing the same geometry on their own, and exact cases."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ssl_single_image import augment, images
from ssl_single_image.augment import resample
from ssl_single_image.images import builtin

Reference = Callable[[augment.Geometry, int, augment.CropSpec, Image.Image], np.ndarray]
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
    planes = tuple(jnp.asarray(np.random.default_rng(i).random((2, 5, 5)), jnp.float32) for i in range(3))
    packed = resample.pack(planes)
    for plane, again in zip(planes, resample.unpack(packed), strict=True):
        np.testing.assert_allclose(again, plane, atol=0.5 / 1020 + 1e-6)
    np.testing.assert_array_equal(resample.interleave(packed), np.stack(resample.unpack(packed), -1))
    ends = resample.unpack(resample.pack((jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1)), jnp.ones((1, 1, 1)))))
    assert [float(e[0, 0, 0]) for e in ends] == [0, 1, 1]


def chain(place: augment.Geometry, i: int, spec: augment.CropSpec, source: Image.Image) -> np.ndarray:
    """The authors' steps in Pillow: cut, antialiased bicubic resize, bilinear affine, centre crop."""
    (top, left), (height, width) = place.origin[i], place.extent[i]
    frame = (spec.frame, spec.frame)
    window = source.crop((int(left), int(top), int(left + width), int(top + height)))
    a, t = math.radians(place.angle[i]), math.tan(math.radians(place.shear[i]))
    m = [math.cos(a) - math.sin(a) * t, math.cos(a) * t + math.sin(a), -math.sin(a), math.cos(a)]
    c = spec.frame * 0.5
    coefficients = (m[0], m[1], c - (m[0] + m[1]) * c, m[2], m[3], c - (m[2] + m[3]) * c)
    turned = window.resize(frame, Image.Resampling.BICUBIC).transform(
        frame, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    start = round((spec.frame - spec.size) / 2.0)
    return np.asarray(turned.crop((start, start, start + spec.size, start + spec.size)), float)


def upright(place: augment.Geometry, i: int, spec: augment.CropSpec, source: Image.Image) -> np.ndarray:
    """A window resized by Pillow with antialiasing, then mirrored."""
    (top, left), (height, width) = place.origin[i], place.extent[i]
    box = (max(left, 0), max(top, 0), min(left + width, source.width), min(top + height, source.height))
    crop = source.resize((spec.size, spec.size), Image.Resampling.BILINEAR, box=tuple(map(float, box)))
    pixels = np.asarray(crop, float)
    return pixels[:, ::-1] if place.hflip[i] else pixels


GREY = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
AUTHORS = augment.CropSpec.preset("authors", 32).replace(**GREY)
UPRIGHT = augment.CropSpec.preset("paper", 32).replace(**GREY, rotation=0.0)


@pytest.mark.parametrize(
    ("name", "spec", "reference"),
    [
        ("coffee", AUTHORS, chain),
        ("retina", UPRIGHT, upright),
    ],
    ids=["authors", "upright"],
)
def test_crops_equal_pillows(name: str, spec: augment.CropSpec, reference: Reference) -> None:
    ratios = peak_ratios(builtin.load(name), spec, reference, count=150)
    assert np.median(ratios) >= 35, np.median(ratios)
    assert np.percentile(ratios, 5) >= 30, np.percentile(ratios, 5)


@pytest.mark.parametrize("size", [32, 224])
def test_crops_of_a_dense_scene_equal_pillows(shared_data: Path, size: int) -> None:
    (source,) = images.load_source(str(shared_data / "images" / "ameyoko.jpg"))
    spec = augment.CropSpec.preset("authors", size).replace(**GREY)
    ratios = peak_ratios(source.pixels, spec, chain, count=100 if size == 32 else 40)
    assert np.median(ratios) >= 32, np.median(ratios)
    assert np.percentile(ratios, 5) >= 27, np.percentile(ratios, 5)


def peak_ratios(pixels: np.ndarray, spec: augment.CropSpec, reference: Reference, count: int) -> np.ndarray:
    """Peak signal-to-noise ratios, dB, of crops against a reference that is given the same drawn parameters."""
    atlas = images.build_atlas([pixels])

    @jax.jit
    def draw(atlas: images.Atlas) -> tuple[augment.Geometry, jax.Array]:
        keys = jax.random.split(jax.random.key(2), count)
        params = jax.vmap(lambda key: augment.sample_params(key, atlas, spec))(keys)
        return params.geometry, augment.render(atlas, params, spec)

    place, crops = jax.tree.map(np.asarray, draw(atlas))
    source = Image.fromarray(pixels)
    expected = np.stack([reference(place, i, spec, source) for i in range(count)])
    return 10 * np.log10(255**2 / np.maximum(((crops * 255.0 - expected) ** 2).mean(axis=(1, 2, 3)), 1e-3))
