"""Shifts that are drawn from keys, and poses: by their laws, by what they show, and against SciPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, stats
from shift_images import CLASSES, COUNT, SEVERITIES, SIDE, keys_of, pictures, pool, shifted, unit
from skimage import transform

from ssl_single_image.augment.shifts import covers, noise, pose

FLAT = (10, 60, 128, 200, 250)


def flat(level: int) -> np.ndarray:
    """Images of one level, 73,728 values in all."""
    return np.full((COUNT, SIDE, SIDE, 3), level, np.uint8)


def noisy(name: str, level: int, severity: int) -> np.ndarray:
    return shifted(name, flat(level), severity, seed=level + severity).ravel()


@pytest.mark.parametrize("level", FLAT)
def test_noise_has_the_published_distribution(level: int) -> None:
    """Kolmogorov-Smirnov distances of 73,728 values that were drawn with fixed keys; 0.0085 has p = 5e-5."""
    x = level / 255
    for severity in SEVERITIES:
        sigma = [0.04, 0.06, 0.08, 0.09, 0.10][severity - 1]
        part = [0.06, 0.1, 0.12, 0.16, 0.2][severity - 1]
        for name, spread in (("gaussian_noise", sigma), ("speckle_noise", part * x)):
            found = noisy(name, level, severity)
            inside = np.sort(found[(found > 0) & (found < 1)])
            share = stats.norm(x, spread).cdf(inside)
            ranks = ((found <= 0).sum() + np.arange(1, len(inside) + 1)) / len(found)
            assert np.abs(share - ranks).max() < 0.0085, (name, severity)
            assert (found == 1).mean() == pytest.approx(stats.norm(x, spread).sf(1), abs=0.01)


@pytest.mark.parametrize("level", [0, *FLAT, 255])
def test_shot_noise_counts_photons(level: int) -> None:
    for severity in SEVERITIES:
        photons = [500, 250, 100, 75, 50][severity - 1]
        found = noisy("shot_noise", level, severity) * photons
        counts = np.round(found).astype(int)
        np.testing.assert_allclose(found, counts, atol=1e-3)
        law = stats.poisson(photons * level / 255)
        values = np.arange(photons)  # a full count and more are white
        share = np.bincount(counts, minlength=photons + 1)[:photons].cumsum() / len(counts)
        assert np.abs(share - law.cdf(values)).max() < 0.0085, severity


def test_counts_are_quantiles_of_the_poisson_law() -> None:
    """The bisection finds for a number u the smallest count whose probability is above it, as SciPy does."""
    first, cumulative = (np.asarray(table[4]) for table in noise._poisson())
    u = np.random.default_rng(0).integers(0, 2**32, (256, 50), dtype=np.uint64).astype(np.uint32)
    rows = np.broadcast_to(np.arange(256, dtype=np.int32)[:, None] * 256, u.shape)
    found = noise._bisect(jnp.asarray(cumulative.reshape(-1)), jnp.asarray(rows), jnp.asarray(u))
    expected = np.asarray(stats.poisson.ppf((u + 0.5) / 2**32, 50 * np.arange(256)[:, None] / 255))
    np.testing.assert_array_equal(np.asarray(found)[1:] + first[1:, None], expected[1:])


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_replaces_values(severity: int) -> None:
    amount = [0.01, 0.02, 0.03, 0.05, 0.07][severity - 1]
    image = flat(128)
    found = shifted("impulse_noise", image, severity)
    changed = np.abs(found - 128 / 255) > 1e-6
    assert set(np.unique(found[changed])) == {0.0, 1.0}
    spread = np.sqrt(amount / found.size)
    assert changed.mean() == pytest.approx(amount, abs=4 * spread)
    assert (found == 1).mean() == pytest.approx(amount / 2, abs=4 * spread)
    assert changed.any(-1).mean() > 2 * amount  # channel by channel, not pixel by pixel


def squares(changed: np.ndarray) -> list[tuple[int, int, int]]:
    """Of masks (N, S, S) that hold a square each: its upper row, its left column, its side."""
    found = []
    for one in changed:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert len(rows) == len(columns) == rows[-1] - rows[0] + 1
        found.append((int(rows[0]), int(columns[0]), len(rows)))
    return found


@pytest.mark.parametrize("severity", SEVERITIES)
def test_occlusion_covers_a_square_of_the_stated_area(severity: int) -> None:
    image = pictures()
    image[0] = 60  # its corners are of colours that hide edges of a cover
    grey = shifted("occlusion", image, severity)
    changed = (grey == 0.5).all(-1)
    places = squares(changed)
    side = {1: 10, 2: 14, 3: 18, 4: 20, 5: 23}[severity]
    assert {size for *_, size in places} == {side}
    assert side**2 / SIDE**2 == pytest.approx(severity / 10, abs=0.03)
    rows = [row for row, *_ in places]
    assert min(rows) >= 0
    assert max(rows) <= SIDE - side
    assert len(set(places)) > COUNT / 2
    np.testing.assert_array_equal(grey[~changed], unit(image)[~changed])
    drawn = shifted("occlusion_noise", image, severity)  # the same key has the same place
    np.testing.assert_array_equal(drawn[~changed], grey[~changed])
    assert stats.kstest(drawn[changed].ravel(), "uniform").pvalue > 1e-3
    other = shifted("occlusion_image", image, severity)
    np.testing.assert_array_equal(other[~changed], grey[~changed])
    shown = pool()
    for number, (row, column, size) in enumerate(places):
        part = np.s_[row : row + size, column : column + size]
        match = np.abs(np.asarray(shown.image)[:, *part] / 255 - other[number][part]).max((1, 2, 3))
        assert match.min() < 1e-6
        assert shown.label[match.argmin()] != number % CLASSES


@pytest.mark.parametrize("severity", SEVERITIES)
def test_clutter_shows_the_image_small_among_parts_of_others(severity: int) -> None:
    image = pictures()
    found = shifted("clutter", image, severity)
    side = {1: 28, 2: 24, 3: 20, 4: 16, 5: 12}[severity]
    tiles = np.asarray(pool().image) / 255
    windows = np.lib.stride_tricks.sliding_window_view(tiles, (8, 8), (1, 2))[:, ::1, ::1]
    places = set()
    for number, one in enumerate(image):
        planes = [
            np.asarray(
                Image.fromarray(one[..., c].astype(np.float32)).resize(
                    (side, side), Image.Resampling.BILINEAR
                )
            )
            for c in range(3)
        ]
        small = np.stack(planes, -1) / 255
        corners = np.lib.stride_tricks.sliding_window_view(found[number], (side, side), (0, 1))
        distance = np.abs(np.moveaxis(corners, 2, -1) - small).max((2, 3, 4))
        row, column = (int(place) for place in np.unravel_index(distance.argmin(), distance.shape))
        assert distance[row, column] < 2e-6
        places.add((row, column))
        free = [(i, j) for i in (0, 24) for j in (0, 24) if not overlaps((i, j, 8), (row, column, side))]
        for i, j in free:
            tile = found[number, i : i + 8, j : j + 8]
            match = np.abs(np.moveaxis(windows, 3, -1) - tile).max((3, 4, 5))
            assert match.min() < 1e-6
            assert pool().label[np.unravel_index(match.argmin(), match.shape)[0]] != number % CLASSES
    assert len(places) > 8


def overlaps(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    return all(a[k] < b[k] + b[2] and b[k] < a[k] + a[2] for k in (0, 1))


def test_parts_of_a_mosaic_come_from_all_images_of_other_labels_alike() -> None:
    shown = pool()
    draw = jax.jit(jax.vmap(lambda key: covers._others(key, jnp.int32(1), shown, 16)))
    counts = np.bincount(np.asarray(draw(keys_of(500))).ravel(), minlength=12)
    allowed = np.asarray(shown.label) != 1
    assert (counts[~allowed] == 0).all()
    assert stats.chisquare(counts[allowed]).pvalue > 1e-3


@pytest.mark.parametrize("name", ["rotation", "scale"])
def test_poses_are_those_of_scipy(name: str) -> None:
    image = pictures()
    line = np.arange(SIDE) - (SIDE - 1) / 2
    for severity in SEVERITIES:
        found, signs = shifted(name, image, severity), set()
        for number, one in enumerate(image):
            candidates = {}
            for sign in (1, -1):
                if name == "rotation":
                    angle = sign * np.radians([10, 20, 30, 45, 60][severity - 1])
                    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
                else:
                    matrix = np.eye(2) / [0.9, 0.8, 0.7, 0.6, 0.5][severity - 1]
                grid = np.stack(np.meshgrid(line, line, indexing="ij")).reshape(2, -1)
                places = (matrix @ grid + (SIDE - 1) / 2).reshape(2, SIDE, SIDE)
                planes = [
                    ndimage.map_coordinates(one[..., c] / 255, places, order=1, mode="reflect")
                    for c in range(3)
                ]
                candidates[sign] = np.abs(np.stack(planes, -1) - found[number]).max()
            best = min(candidates, key=lambda sign: candidates[sign])
            assert candidates[best] < 1e-4
            signs.add(best)
        assert len(signs) == (2 if name == "rotation" else 1)


def test_perspective_moves_the_corners_inwards() -> None:
    """Corners that the test draws itself, from the same keys; the map is scikit-image's."""
    image, reach = pictures(), SIDE / 2
    edge = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], float)
    for severity in SEVERITIES:
        found = shifted("perspective", image, severity)
        for number, key in enumerate(keys_of(COUNT)):
            moved = np.asarray(jax.random.uniform(key, (4, 2)))
            assert moved.std() > 0.05
            corners = edge + severity / 10 * reach * moved * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
            map_back = transform.ProjectiveTransform.from_estimate(corners, edge)
            centres = np.stack(np.meshgrid(*[np.arange(SIDE) + 0.5] * 2), -1).reshape(-1, 2)
            places = map_back(centres)[:, ::-1].T.reshape(2, SIDE, SIDE) - 0.5
            planes = [
                ndimage.map_coordinates(image[number][..., c] / 255, places, order=1, mode="reflect")
                for c in range(3)
            ]
            np.testing.assert_allclose(found[number], np.stack(planes, -1), rtol=0, atol=2e-4)


def test_a_homography_maps_the_square_to_its_corners_and_back() -> None:
    corners = jnp.asarray([[[0.1, 0.2], [0.9, 0.0], [1.3, 1.0], [-0.2, 0.8]]])
    there = [np.asarray(part)[0] for part in pose.to_corners(corners)]
    back = [np.asarray(part)[0] for part in pose.inverse(pose.to_corners(corners))]
    matrices = [np.array(one).reshape(3, 3) for one in (there, back)]
    square = np.array([[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]).T
    mapped = matrices[0] @ square
    np.testing.assert_allclose((mapped[:2] / mapped[2]).T, corners[0], atol=1e-6)
    product = matrices[1] @ matrices[0]
    np.testing.assert_allclose(product / product[2, 2], np.eye(3), atol=1e-5)
