"""Matches of places: on pictures whose answer is known, against NumPy, and on the stereo pair's own pixels."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image.analysis.invariance import matching, pairs
from ssl_single_image.errors import InputError
from ssl_single_image.images import builtin

RNG = np.random.default_rng(0)
GRID = (6, 9)


def test_the_identity_is_matched_entirely_and_a_shift_is_found() -> None:
    maps = jnp.asarray(RNG.normal(size=(*GRID, 5)), jnp.float32)
    asked = jnp.arange(GRID[0] * GRID[1])
    np.testing.assert_array_equal(matching.match(maps, 3 * maps, asked, GRID), asked)
    found = matching.match(maps, jnp.roll(maps, 2, 1), asked, GRID)
    rows, columns = np.divmod(np.asarray(asked), GRID[1])
    np.testing.assert_array_equal(found, rows * GRID[1] + (columns + 2) % GRID[1])


def test_matches_are_the_largest_cosines() -> None:
    a, b = RNG.normal(size=(2, 6, 9, 4))
    flat = [x.reshape(54, 4) / np.linalg.norm(x.reshape(54, 4), axis=1, keepdims=True) for x in (a, b)]
    asked = np.array([0, 7, 53])
    first, second = (jnp.asarray(x, jnp.float32) for x in (a, b))
    found = matching.match(first, second, jnp.asarray(asked), GRID)
    np.testing.assert_array_equal(found, (flat[0][asked] @ flat[1].T).argmax(1))


def test_maps_of_any_resolution_are_compared_on_one_grid() -> None:
    coarse = RNG.normal(size=(3, 3, 2)).astype(np.float32)
    fine = matching.unit(jnp.asarray(coarse), 6, 9)
    assert fine.shape == (6, 9, 2)
    np.testing.assert_allclose(np.linalg.norm(fine, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(
        fine[0, 0], coarse[0, 0] / np.linalg.norm(coarse[0, 0]), atol=1e-5
    )  # beyond the outer centres
    assert not np.asarray(matching.unit(jnp.zeros((3, 3, 2)), 3, 3)).any()


def test_rates_and_levels_by_hand() -> None:
    asked = np.array([[[0.5, 0.5], [0.5, 0.5], [0.1, 0.1]]])
    truth = np.array([[[0.5, 0.54], [0.5, 0.9], [0.1, 0.1]]])
    found = np.array([[[0.5, 0.5], [0.5, 0.9], [0.9, 0.9]]])
    valid = np.array([[True, True, False]])
    matches = matching.Matches(asked, truth, found, valid)
    np.testing.assert_allclose(matching.rate(matches, 0.05), [1.0])
    np.testing.assert_allclose(matching.rate(matches, 0.02), [0.5])
    assert matching.still(matches, 0.05) == 0.5
    at = np.full((1, 1, 2), 0.5)
    centre = matching.Matches(at, at, at, np.ones((1, 1), bool))
    assert matching.chance(centre, 0.21, (5, 5)) == pytest.approx(
        5 / 25
    )  # the place itself and its four neighbours
    none = matching.Matches(asked, truth, found, np.zeros_like(valid))
    assert np.isnan(matching.rate(none, 0.05)).all()


def test_places_are_centres_in_units_of_the_shorter_side() -> None:
    found = matching.places(np.array([0, 53]), GRID)
    np.testing.assert_allclose(found, [[0.5 / 6, 0.5 / 6], [5.5 / 6, 8.5 / 6]])
    np.testing.assert_array_equal(pairs.regular((4, 6), 2), [7, 9, 11, 19, 21, 23])


def test_the_disparity_leads_to_pixels_of_the_same_colour() -> None:
    pair = builtin.stereo()
    shown = pairs.visible(pair.disparity)
    assert pair.left.shape == pair.right.shape == (500, 741, 3)
    assert 0.7 < shown.mean() < np.isfinite(pair.disparity).mean() < 1
    y, x = np.nonzero(shown)
    to = np.rint(x - pair.disparity[y, x]).astype(int)
    difference = np.abs(pair.left[y, x].astype(int) - pair.right[y, to]).mean(-1)
    assert np.median(difference) <= 4
    y, x = np.nonzero(np.isfinite(pair.disparity) & ~shown)  # hidden points lead to what hides them
    to = np.clip(np.rint(x - pair.disparity[y, x]).astype(int), 0, 740)
    assert np.median(np.abs(pair.left[y, x].astype(int) - pair.right[y, to]).mean(-1)) > 15


def test_a_near_thing_hides_what_is_behind_it() -> None:
    disparity = np.array([[2.0, 2, 2, 2, 2, 5, 5, 2, np.nan, 2]])
    # Pixels 5 and 6 are seen at 0 and 1, where those at 2 and 3 would be; 1 and 0 lie outside.
    np.testing.assert_array_equal(
        pairs.visible(disparity)[0], [False, False, False, False, False, True, True, True, False, True]
    )


def test_places_of_the_stereo_pair_agree_with_its_pixels() -> None:
    pair, given = builtin.stereo(), pairs.stereo()
    assert given.first.shape == given.second.shape == (1, 250, 250, 3)
    np.testing.assert_allclose(given.first[0, 0, 0], pair.left[:2, 120:122].mean((0, 1)) / 255, atol=2e-3)
    asked = given.matches(np.zeros((1, len(given.numbers)), int)).asked[0]
    for place in np.flatnonzero(given.valid[0])[::97]:
        y, x = 500 * asked[place]
        v, u = 500 * given.truth[0][place]
        assert v == pytest.approx(y)
        assert x - u == pytest.approx(pair.disparity[int(y), 120 + int(x)], abs=1e-3)
    assert 0.5 < given.valid.mean() < 0.95


def test_a_damaged_disparity_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "_DISPARITY", "motorcycle_left.png")
    with pytest.raises(InputError, match="install scikit-image again"):
        builtin.stereo()
