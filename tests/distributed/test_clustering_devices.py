"""Points over four devices are clustered as on one; in float64, so that no label depends on the order of sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import clustering

DEVICES, AXIS = 4, "batch"
pytestmark = pytest.mark.usefixtures("float64")


def points(padding=0):
    """(n, 6) around eight means, and their weights: 0 for the last `padding` points, which lie far off."""
    rng = np.random.default_rng(0)
    means = 3 * rng.normal(size=(8, 6))
    x = means[rng.integers(0, 8, 400)] + rng.normal(size=(400, 6))
    weights = np.ones(400)
    if padding:
        x[-padding:], weights[-padding:] = 500, 0
    return x, weights


def both(function, *arrays):
    """function(*arrays, axis_name=...) on one device and on four, each of which holds its part of every array."""
    one = jax.jit(functools.partial(function, axis_name=None))(*arrays)
    parts = [np.reshape(array, (DEVICES, -1, *array.shape[1:])) for array in arrays]
    return one, jax.pmap(functools.partial(function, axis_name=AXIS), axis_name=AXIS)(*parts)


def assert_replicated(array):
    for replica in np.asarray(array)[1:]:
        np.testing.assert_array_equal(array[0], replica)


# With 130 points of padding the last device has none that count.
@pytest.mark.parametrize("padding", [0, 30, 130])
def test_pca(padding):
    def fit(x, weights, axis_name):
        return clustering.fit_pca(x, 4, weights=weights, axis_name=axis_name)

    one, four = both(fit, *points(padding))
    for a, b in zip(one, four, strict=True):
        assert_replicated(b)
        assert b.dtype == np.float64
        np.testing.assert_allclose(b[0], a, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("padding", [0, 130])
@pytest.mark.parametrize(
    "options",
    [
        {"seeding": "random"},
        {"seeding": "plusplus"},
        {"seeding": "random", "restarts": 3},
        {"seeding": "plusplus", "tolerance": 0.01},
    ],
)
def test_kmeans(options, padding):
    def cluster(x, weights, axis_name):
        key = jax.random.key(1)
        return clustering.kmeans(x, key, 12, weights=weights, axis_name=axis_name, iterations=10, **options)

    one, four = both(cluster, *points(padding))
    for name in ("centroids", "sizes", "inertia"):
        assert_replicated(getattr(four, name))
    np.testing.assert_array_equal(four.labels.reshape(-1), one.labels)
    np.testing.assert_array_equal(four.sizes[0], one.sizes)
    np.testing.assert_allclose(four.distances.reshape(-1), one.distances, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(four.centroids[0], one.centroids, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(four.inertia[0], one.inertia, rtol=1e-9)
    assert one.sizes.sum() == 400 - padding


def test_repair_is_the_same_everywhere():
    """Seeds on copies of one point leave clusters empty, and the draws of donors must agree."""
    x = points()[0]
    x[:200] = 0

    def cluster(x, axis_name):
        return clustering.kmeans(x, jax.random.key(0), 30, axis_name=axis_name, iterations=6)

    one, four = both(cluster, x)
    assert_replicated(four.centroids)
    assert (one.sizes > 0).sum() > 20
    np.testing.assert_array_equal(four.sizes[0], one.sizes)
    np.testing.assert_allclose(four.centroids[0], one.centroids, rtol=1e-9, atol=1e-12)


def test_one_program_may_have_more_clusters_than_a_device_has_points():
    x, _ = points()

    def cluster(x, axis_name):
        return clustering.kmeans(x, jax.random.key(0), 150, axis_name=axis_name, iterations=2)

    one, four = both(cluster, x)
    assert jnp.isfinite(four.centroids).all()
    np.testing.assert_array_equal(four.sizes[0], one.sizes)
