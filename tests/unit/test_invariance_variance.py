"""Normalised variance and shares of variance against loops over their definitions, and on features that are known."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from ssl_single_image.analysis.invariance import variance
from ssl_single_image.keys import Stream, stream

RNG = np.random.default_rng(0)
LABELS = np.array([0, 0, 1, 1, 1, 2])


def plain(images: int) -> np.ndarray:
    return np.full((1, images), 1 / images)


def test_the_normalised_variance_is_the_mean_over_units_of_a_ratio_of_means() -> None:
    u = RNG.normal(size=(6, 3, 5)).astype(np.float32)
    expected = []
    for unit in u.astype(np.float64).transpose(2, 0, 1):
        over_views = [np.std(views, ddof=1) for views in unit]
        over_images = [np.std(images, ddof=1) for images in unit.T]
        expected.append(np.mean(over_views) / np.mean(over_images))
    (found,), units = variance.normalised_variance(u, plain(6))
    assert units == 5
    assert found == pytest.approx(np.mean(expected), rel=1e-9)


def test_a_resample_counts_images_as_often_as_they_were_drawn() -> None:
    u = RNG.normal(size=(4, 2, 3))
    repeated = np.array([0, 0, 3, 1])
    weights = np.bincount(repeated, minlength=4)[None] / 4
    found, _ = variance.normalised_variance(u, weights)
    expected, _ = variance.normalised_variance(u[repeated], plain(4))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    drawn = variance.resamples(4, 50, jax.random.key(1))
    assert drawn.shape == (51, 4)
    np.testing.assert_allclose(drawn.sum(1), 1)
    np.testing.assert_array_equal(drawn[0], 0.25)
    assert len(np.unique(drawn, axis=0)) > 10


def test_known_features() -> None:
    image = RNG.normal(size=(6, 1, 4))
    ignored, _ = variance.normalised_variance(np.repeat(image, 3, 1), plain(6))
    assert ignored[0] == pytest.approx(0, abs=1e-12)
    noise = RNG.normal(size=(400, 6, 4))  # a view says nothing of its image
    nothing, _ = variance.normalised_variance(noise, plain(400))
    assert 0.9 < nothing[0] < 1.0  # the mean deviation of 6 values is 0.95 of that of many
    dead = np.concatenate([np.repeat(image, 3, 1), np.full((6, 3, 2), 7.0)], 2)
    found, units = variance.normalised_variance(dead, plain(6))
    assert units == 4
    assert found[0] == pytest.approx(0, abs=1e-12)
    none, units = variance.normalised_variance(np.full((6, 3, 2), 7.0), plain(6))
    assert np.isnan(none[0])
    assert units == 0


def shares(u: np.ndarray, labels: np.ndarray) -> variance.Shares | None:
    found = variance.shares(u, labels, plain(len(u)))
    return None if found is None else found[0]


def test_units_are_worked_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    u = RNG.normal(size=(6, 3, 7))
    whole = variance.normalised_variance(u, plain(6))[0], shares(u, LABELS)
    monkeypatch.setattr(variance, "_UNITS", 3)
    parts = variance.normalised_variance(u, plain(6))[0], shares(u, LABELS)
    np.testing.assert_allclose(parts[0], whole[0], rtol=1e-12)
    assert parts[1] is not None
    assert whole[1] is not None
    np.testing.assert_allclose(parts[1], whole[1], rtol=1e-12)


def test_shares_by_hand() -> None:
    # Two classes of two images with two views each. Views differ by 2, images of a class by 4, classes by 8.
    u = np.array([[-7.0, -5], [-3, -1], [1, 3], [5, 7]])[..., None]
    found = shares(u, np.array([0, 0, 1, 1]))
    squares = np.array([8 * 1.0, 8 * 4.0, 8 * 16.0])
    assert found is not None
    np.testing.assert_allclose(found, squares / squares.sum())


def test_shares_sum_to_one_and_name_the_source_of_variance() -> None:
    u = RNG.normal(size=(6, 3, 5))
    found = shares(u, LABELS)
    assert found is not None
    assert sum(found) == pytest.approx(1)
    assert min(found) > 0
    of_class = np.repeat(RNG.normal(size=(3, 1, 4))[LABELS], 2, 1)
    of_image = np.repeat(RNG.normal(size=(6, 1, 4)), 2, 1)
    of_view = np.concatenate([np.ones((6, 1, 4)), -np.ones((6, 1, 4))], 1)
    for values, place in ((of_class, 2), (of_view, 0)):
        alone = shares(values, LABELS)
        assert alone is not None
        np.testing.assert_allclose(alone, np.eye(3)[place], atol=1e-12)
    one_class = shares(of_image, np.zeros(6, int))
    assert one_class is not None
    np.testing.assert_allclose(one_class, (0, 1, 0), atol=1e-12)
    assert shares(np.full((6, 2, 3), 5.0), LABELS) is None


def test_shares_of_a_resample_are_those_of_its_images() -> None:
    u = RNG.normal(size=(6, 3, 5)) + RNG.normal(size=(6, 1, 5))
    weights = variance.resamples(6, 8, stream(0, Stream.INVARIANCE))
    found = variance.shares(u, LABELS, weights)
    assert found is not None
    for one, weight in zip(found, weights, strict=True):
        rows = np.repeat(np.arange(6), np.rint(6 * weight).astype(int))
        np.testing.assert_allclose(one, shares(u[rows], LABELS[rows]) or (), atol=1e-12)
