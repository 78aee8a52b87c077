"""Landmarks: the soft-argmax by hand, a regressor that learns, sets with landmarks, and what is refused of them."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import landmark_sets
import numpy as np
import pytest

from ssl_single_image import images
from ssl_single_image.analysis.invariance import landmarks, views, warped_landmarks
from ssl_single_image.datasets import landmarks as labelled
from ssl_single_image.errors import InputError

RNG = np.random.default_rng(0)


def test_the_soft_argmax_by_hand() -> None:
    heat = np.zeros((1, 2, 4, 2), np.float32)
    heat[0, 0, 1, 0] = np.log(3)  # weights: 3 at one place, 1 at seven others
    heat[0, 1, 3, 1] = 50.0
    found = landmarks.soft_argmax(jnp.asarray(heat), 1.0)
    rows, columns = np.array([0.25, 0.75]), np.array([0.125, 0.375, 0.625, 0.875])
    weight = np.ones((2, 4))
    weight[0, 1] = 3
    expected = [(weight.sum(1) @ rows) / 10, (weight.sum(0) @ columns) / 10]
    np.testing.assert_allclose(found[0, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(found[0, 1], [0.75, 0.875], rtol=1e-5)
    sharp = landmarks.soft_argmax(jnp.asarray(heat))  # times 100
    np.testing.assert_allclose(sharp[0, 0], [0.25, 0.375], rtol=1e-5)


def test_layers_are_convolved_before_they_are_interpolated() -> None:
    maps = {"a": RNG.normal(size=(2, 6, 6, 3)), "b": RNG.normal(size=(2, 3, 3, 5))}
    arrays = {layer: jnp.asarray(x, jnp.float32) for layer, x in maps.items()}
    params = landmarks.initial(jax.random.key(0), {"a": 3, "b": 5}, np.full((4, 2), 0.5))
    stacked = jnp.concatenate(
        [
            jax.image.resize(x, (2, landmarks.SIDE, landmarks.SIDE, x.shape[-1]), "linear")
            for x in arrays.values()
        ],
        -1,
    )
    kernel = jnp.concatenate([params["heat"]["a"], params["heat"]["b"]])
    virtual = landmarks.soft_argmax(stacked @ kernel).reshape(2, -1)
    expected = (virtual @ params["linear"] + params["bias"][None]).reshape(2, 4, 2)
    np.testing.assert_allclose(landmarks.predict(params, arrays), expected, atol=1e-3)


def test_a_regressor_finds_a_blob_and_does_so_again() -> None:
    """One channel is bright at the landmark; the other says nothing."""
    points = RNG.uniform(0.2, 0.8, (72, 1, 2))
    centres = (np.arange(12) + 0.5) / 12
    square = (centres[None, :, None] - points[:, :, None, 0]) ** 2 + (
        centres[None, None] - points[:, :, None, 1]
    ) ** 2
    maps = np.stack([np.exp(-square / 0.01), RNG.normal(0, 0.1, square.shape)], -1).astype(np.float32)
    train, test = {"x": jnp.asarray(maps[:64])}, {"x": jnp.asarray(maps[64:])}
    key = jax.random.key(1)
    found = landmarks.regress(key, train, points[:64], test, steps=100)
    short = [landmarks.regress(key, train, points[:64], test, steps=2).points for _ in range(2)]
    np.testing.assert_array_equal(short[0], short[1])
    units = np.ones(8)
    mean = landmarks.errors(np.broadcast_to(points[:64].mean(0), (8, 1, 2)), points[64:], units).mean()
    assert landmarks.errors(found.points, points[64:], units).mean() < 0.6 * mean


def test_batches_go_through_all_pictures_before_any_comes_again() -> None:
    found = landmarks.batches(jax.random.key(0), 10, 4, 5)
    assert found.shape == (5, 4)
    for epoch in (found[:2], found[2:4]):
        assert len(set(epoch.ravel())) == 8
    assert not np.array_equal(found[:2], found[2:4])


def test_errors_are_means_of_distances_over_a_unit() -> None:
    truth = np.zeros((2, 2, 2))
    found = np.array([[[3.0, 4], [0, 0]], [[0, 1], [1, 0]]])
    np.testing.assert_allclose(landmarks.errors(found, truth, np.array([1.0, 2.0])), [2.5, 0.5])


def test_the_landmarks_of_a_warped_photograph_are_where_its_points_went() -> None:
    """Of a photograph that is black but for a disc about one landmark, the warps are bright there."""
    side, chosen = 256, 5
    at = warped_landmarks.lattice()[chosen] * side
    y, x = np.mgrid[:side, :side] + 0.5
    disc = ((y - at[0]) ** 2 + (x - at[1]) ** 2 < 8**2)[..., None]
    photograph = np.where(disc, 255, 0).astype(np.uint8).repeat(3, -1)
    atlas = images.build_atlas([photograph])
    square = views.Squares(jnp.zeros(1, jnp.int32), jnp.full((1, 2), side / 2), jnp.full(1, float(side)))
    pictures, points = warped_landmarks.make(atlas, square, jax.random.key(0), 5, 32)
    assert pictures.shape == (5, 32, 32, 3)
    grid = (np.arange(32) + 0.5) / 32
    for picture, placed in zip(pictures.mean(-1), points, strict=True):
        picture = picture - picture.min()  # contrast adds grey
        centre = [(picture.sum(1) @ grid), (picture.sum(0) @ grid)] / picture.sum()
        np.testing.assert_allclose(centre, placed[chosen], atol=0.02)
    again, _ = warped_landmarks.make(atlas, square, jax.random.key(0), 3, 32)
    np.testing.assert_array_equal(again, pictures[:3])


def test_a_set_of_faces_is_read_with_its_landmarks(tmp_path: Path) -> None:
    landmark_sets.write(tmp_path, "faces", {"train": 12, "test": 9})
    found = labelled.load("tfds:faces", data_dir=str(tmp_path), size=64, train=10, test=100, seed=0)
    assert found.landmarks == ("lefteye", "nose", "righteye")
    assert (len(found.train), len(found.test)) == (10, 9)
    assert found.eyes == (0, 2)
    np.testing.assert_allclose(found.test.units(found.eyes), 12 / 32, rtol=1e-5)
    np.testing.assert_array_equal(found.test.units(None), 1)
    for split in (found.train, found.test):
        for picture, points in zip(split.image, split.points, strict=True):
            for place, channel in ((0, 0), (2, 1), (1, 2)):  # left eye red, right eye green, nose blue
                y, x = (points[place] * 64).astype(int)
                assert picture[y, x, channel] > 200
                assert np.delete(picture[y, x], channel).max() < 60
    again = labelled.load("tfds:faces", data_dir=str(tmp_path), size=64, train=10, test=100, seed=0)
    np.testing.assert_array_equal(again.train.image, found.train.image)


def test_sets_without_usable_landmarks_are_refused(tmp_path: Path) -> None:
    landmark_sets.write(tmp_path, "classes", {"train": 9, "test": 9}, landmarks=False)
    landmark_sets.write(tmp_path, "outside", {"train": 9, "test": 9}, outside=True)
    landmark_sets.write(tmp_path, "few", {"train": 9, "test": 3})
    cases = {
        "tfds:classes": "data set tfds:classes: has no landmarks",
        "tfds:outside": r"outside train, image 0: landmark nose at \(40, \d+\) lies outside the image of 40 x 32",
        "tfds:few": "data set tfds:few: 3 test images; a regression of landmarks needs 8",
        "cifar10": "data = 'cifar10': has no landmarks; give photos",
        "tfds:nope": "data set nope is not in",
    }
    for name, message in cases.items():
        with pytest.raises(InputError, match=message):
            labelled.load(name, data_dir=str(tmp_path), size=16, train=9, test=9, seed=0)
