"""What is drawn: laws against SciPy and an independent NumPy sampler; windows inside the source; the affine map."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ssl_single_image import augment, images
from ssl_single_image.augment.geometry import UNIFORMS, Geometry, affine_matrix, sample_geometry

COUNT = 4000


def tables(*shapes: tuple[int, int]) -> images.Atlas:
    """An atlas of which only the sizes matter: drawing looks at nothing else."""
    height, width = (jnp.asarray([[shape[axis]] for shape in shapes], jnp.int32) for axis in (0, 1))
    return images.Atlas(jnp.zeros((1, 3), jnp.uint8), jnp.zeros_like(height), height, width, width)


@functools.cache
def sampler(spec: augment.CropSpec) -> Callable[[jax.Array, images.Atlas], Geometry]:
    return jax.jit(jax.vmap(lambda u, atlas: sample_geometry(u, atlas, spec), (0, None)))


def drawn(spec: augment.CropSpec, *shapes: tuple[int, int]) -> Geometry:
    u = jax.random.uniform(jax.random.key(1), (COUNT, UNIFORMS))
    return jax.tree.map(np.asarray, sampler(spec)(u, tables(*shapes)))


def fits(sample: jax.Array | np.ndarray, law: Any, *args: float) -> bool:
    return bool(stats.kstest(sample, law, args=args).pvalue > 1e-3)


def test_area_aspect_and_centre_follow_their_laws_where_everything_fits() -> None:
    spec = augment.CropSpec(size=8, min_area=1e-3, max_area=0.5, area_law="log", aspect=0.75)
    place = drawn(spec, (900, 900))
    height, width = place.extent.T
    assert fits(np.log(place.area), stats.uniform.cdf, np.log(1e-3), np.log(500))
    assert fits(np.log(height / width), stats.uniform.cdf, np.log(0.75), 2 * np.log(4 / 3))
    np.testing.assert_allclose(place.area, height * width / 900**2, rtol=1e-5)
    for axis in (0, 1):
        assert fits(place.origin[:, axis] / (900 - place.extent[:, axis]), stats.uniform.cdf)


def test_uniform_area_law() -> None:
    spec = augment.CropSpec(size=8, min_area=0.1, max_area=0.4)
    assert fits(drawn(spec, (100, 100)).area, stats.uniform.cdf, 0.1, 0.3)


def test_angle_shear_and_flips_follow_their_laws() -> None:
    spec = augment.CropSpec(size=8, min_area=0.01, rotation=35, shear=20, hflip=0.5, vflip=0.25)
    place = drawn(spec, (300, 500))
    assert fits(place.angle, stats.uniform.cdf, -35, 70)
    assert fits(place.shear, stats.uniform.cdf, -20, 40)
    assert stats.binomtest(int(place.hflip.sum()), COUNT, 0.5).pvalue > 1e-3
    assert stats.binomtest(int(place.vflip.sum()), COUNT, 0.25).pvalue > 1e-3
    assert not drawn(spec.replace(hflip=0.0), (300, 500)).hflip.any()


def test_area_and_aspect_of_turned_windows_against_rejection_in_numpy() -> None:
    spec = augment.CropSpec(size=8, min_area=0.01, aspect=0.5, rotation=45)
    place = drawn(spec, (400, 500))
    rng = np.random.default_rng(0)
    accepted: list[tuple[float, float]] = []
    while len(accepted) < COUNT:  # the angle keeps its law; area and aspect are redrawn until the window fits
        angle = np.radians(rng.uniform(-45, 45))
        for _ in range(1000):
            area, aspect = rng.uniform(0.01, 1), np.exp(rng.uniform(np.log(0.5), np.log(2)))
            h, w = np.sqrt(area * 200_000 * aspect), np.sqrt(area * 200_000 / aspect)
            c, s = abs(np.cos(angle)), abs(np.sin(angle))
            if h * c + w * s <= 400 and h * s + w * c <= 500:
                accepted.append((area, h / w))
                break
    areas, aspects = np.array(accepted).T
    assert stats.ks_2samp(place.area, areas).pvalue > 1e-3
    assert stats.ks_2samp(place.extent[:, 0] / place.extent[:, 1], aspects).pvalue > 1e-3


def test_the_authors_window_is_whole_pixels_within_the_initial_square() -> None:
    spec = augment.CropSpec.preset("authors", 32)
    place = drawn(spec, (301, 451))
    side = 150
    for whole in (place.origin, place.extent):
        np.testing.assert_array_equal(whole, np.round(whole))
    assert place.extent.max() <= side
    assert (place.origin >= 0).all()
    assert (place.origin + place.extent <= np.array([301, 451])).all()
    assert place.origin[:, 1].max() > 301 > 150  # the square itself moves
    height, width = place.extent.T
    assert (
        np.abs(np.log(height / width))[place.area > 0.1] <= np.log(4 / 3) + 0.03
    ).all()  # 0.03: whole pixels


@pytest.mark.parametrize("shape", [(300, 500), (90, 700), (64, 64)])
def test_inside_windows_never_leave_the_source(shape: tuple[int, int]) -> None:
    for change in ({}, {"shear": 30.0}, {"initial_crop": 0.5, "rotation": 90.0}, {"min_area": 1.0}):
        spec = augment.CropSpec.preset("paper", 16).replace(**change)
        place = drawn(spec, shape)
        corners = np.asarray(augment.crop_corners(place, 16))
        assert corners.min() >= -2e-3
        assert (corners <= np.array(shape) + 2e-3).all()


def test_area_one_takes_the_largest_window_that_fits() -> None:
    place = drawn(augment.CropSpec(size=8), (40, 100))
    np.testing.assert_allclose(place.extent, 40, rtol=1e-5)
    np.testing.assert_allclose(place.origin[:, 0], 0, atol=1e-4)


def test_matrix_composes_window_rotation_and_flips() -> None:
    spec = augment.CropSpec.preset("paper", 16).replace(shear=20.0, vflip=0.5)
    place = drawn(spec, (300, 500))
    for i in range(200):
        a, t = np.radians(place.angle[i]), np.tan(np.radians(place.shear[i]))
        rotation = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        shear = np.array([[1, 0], [t, 1]])  # in (y, x) order: x moves with y
        mirror = np.diag([-1.0 if place.vflip[i] else 1.0, -1.0 if place.hflip[i] else 1.0])
        expected = shear @ rotation @ np.diag(place.extent[i] / 16) @ mirror
        np.testing.assert_allclose(place.matrix[i], expected, rtol=1e-4, atol=1e-4)


def test_positive_angles_turn_the_picture_clockwise() -> None:
    # A crop turned clockwise by 90 degrees shows at its top what lies at the left of the source.
    matrix = np.asarray(affine_matrix(jnp.float32(90), jnp.float32(0)))
    np.testing.assert_allclose(matrix @ [-1, 0], [0, -1], atol=1e-6)


def test_switching_one_part_off_leaves_the_other_draws_alone() -> None:
    full = augment.CropSpec.preset("paper", 16).replace(max_area=0.1, min_area=0.01)
    before = drawn(full, (300, 500))
    for field in ("rotation", "hflip"):
        after = drawn(full.replace(**{field: 0.0}), (300, 500))
        np.testing.assert_allclose(before.area, after.area, rtol=1e-5)
        np.testing.assert_allclose(before.shear, after.shear, rtol=1e-5)
        assert (np.abs(before.angle - after.angle) > 1e-3).any() == (field == "rotation")
        assert (before.hflip != after.hflip).any() == (field == "hflip")


def test_choice_among_images() -> None:
    shapes = ((30, 30), (60, 60), (30, 90))
    spec = augment.CropSpec(size=8, min_area=0.5)
    for choice, weights in (("uniform", [1, 1, 1]), ("area", [900, 3600, 2700])):
        image = drawn(spec.replace(image_choice=choice), *shapes).image
        expected = np.array(weights) / sum(weights) * COUNT
        assert stats.chisquare(np.bincount(image, minlength=3), expected).pvalue > 1e-3
    fixed = sample_geometry(jnp.full(UNIFORMS, 0.3), tables(*shapes), spec, image=jnp.int32(2))
    assert int(fixed.image) == 2
    assert float(fixed.extent[0]) <= 30.001
