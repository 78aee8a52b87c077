"""K-means against the textbook and scikit-learn.

Where labels or tight bounds are compared, both sides compute in float64: in float32 it depends on the processor on
which side of a border between two clusters a point falls.
"""

import functools
import importlib
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import textbook_clustering as textbook

from ssl_single_image import clustering
from ssl_single_image.clustering import blocks, seeding
from ssl_single_image.types import InputError

KEY = jax.random.key(0)
KMEANS = importlib.import_module("ssl_single_image.clustering.kmeans")
"""The module: the package's attribute of that name is the function."""


@functools.partial(jax.jit, static_argnames=("k", "iterations", "tolerance", "seeding", "restarts", "dtype"))
def kmeans(x, key, k, **options):
    return clustering.kmeans(x, key, k, **options)


@pytest.mark.parametrize("n", [1, 5, 12, 13, 100])
def test_blocks_cover_every_row_once(n):
    def count(carry, start, fresh):
        size = len(fresh)
        seen = jax.lax.dynamic_slice_in_dim(carry, start, size) + fresh
        return jax.lax.dynamic_update_slice_in_dim(carry, seen, start, 0)

    for most in (1, 4, 12, 1000):
        np.testing.assert_array_equal(blocks.fold(count, jnp.zeros(n), n, most), np.ones(n))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", clustering.SEEDINGS)
def test_lloyd_is_the_textbooks(method, monkeypatch):
    monkeypatch.setattr(KMEANS, "BLOCK", 9 * 100)
    x = textbook.mixture(1003, 12, 9, 0.3, dtype=np.float64)
    first = clustering.kmeans(jnp.asarray(x), KEY, 9, iterations=1, seeding=method)
    got = clustering.kmeans(jnp.asarray(x), KEY, 9, iterations=8, seeding=method)
    centroids, labels, history = textbook.lloyd(x, np.asarray(first.centroids), 7)
    np.testing.assert_allclose(got.centroids, centroids, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(got.labels, labels)
    np.testing.assert_allclose(got.inertia[1:], history, rtol=1e-9)
    np.testing.assert_array_equal(got.sizes, np.bincount(labels, minlength=9))
    np.testing.assert_allclose(got.distances, textbook.squared_distances(x, centroids).min(1), rtol=1e-9)
    np.testing.assert_allclose(got.inertia[-1], np.mean(got.distances), rtol=1e-9)


@pytest.mark.parametrize("method", clustering.SEEDINGS)
def test_a_run_starts_from_points(method):
    x = textbook.mixture(200, 5, 4, 0.5)
    weights = (np.arange(200) % 2).astype(np.float32)
    seeds = np.asarray(seeding.SEEDINGS[method](jnp.asarray(x), jnp.asarray(weights), KEY, 60, None))
    found = textbook.squared_distances(seeds, x)
    assert found.min(1).max() < 1e-12
    rows = found.argmin(1)
    assert weights[rows].all()
    assert len(set(rows)) == 60


def test_random_seeds_are_uniform():
    x = jnp.arange(20.0)[:, None]
    weights = jnp.ones(20).at[5].set(0)
    draw = jax.jit(jax.vmap(lambda key: seeding.random_points(x, weights, key, 4, None)[:, 0]))
    counts = np.bincount(np.asarray(draw(jax.random.split(KEY, 4000)), int).ravel(), minlength=20)
    assert counts[5] == 0
    expected = 16_000 / 19
    assert (np.abs(counts[np.arange(20) != 5] - expected) < 5 * math.sqrt(expected)).all()


def test_plusplus_seeds_follow_squared_distances():
    x = jnp.asarray([[0.0], [1.0], [3.0], [0.0]])
    weights = jnp.asarray([1.0, 1.0, 1.0, 0.0])
    draw = jax.jit(jax.vmap(lambda key: seeding.plusplus_points(x, weights, key, 2, None)[:, 0]))
    pairs = np.asarray(draw(jax.random.split(KEY, 6000)))
    for first, chances in ((0, {1: 0.1, 3: 0.9}), (1, {0: 0.2, 3: 0.8}), (3, {0: 9 / 13, 1: 4 / 13})):
        seconds = pairs[pairs[:, 0] == first, 1]
        assert abs(len(seconds) / 6000 - 1 / 3) < 0.03
        for second, chance in chances.items():
            assert abs((seconds == second).mean() - chance) < 0.05


@pytest.mark.parametrize("n", [3, 256, 1000, 70_000])
def test_a_draw_falls_on_a_point_with_mass(n):
    mass = np.zeros(n, np.float32)
    mass[[n // 3, n // 2]] = 1e-3, 1
    drawn = jax.vmap(lambda key: seeding.sample(jnp.asarray(mass), key, None))(jax.random.split(KEY, 200))
    assert set(np.asarray(drawn).tolist()) <= {n // 3, n // 2}


@pytest.mark.usefixtures("float64")
def test_inertia_never_rises_on_hard_data():
    x = np.random.default_rng(0).normal(size=(4000, 16))
    result = kmeans(x, KEY, 40, iterations=30)
    history = np.asarray(result.inertia)
    assert history.shape == (31,)
    assert (np.diff(history) <= 1e-12 * history[:-1]).all()
    assert history[-1] < 0.9 * history[0]
    assert result.labels.dtype == jnp.int32
    assert result.sizes.sum() == 4000


@pytest.mark.usefixtures("float64")
def test_inertia_is_scikit_learns():
    cluster = pytest.importorskip("sklearn.cluster", reason="scikit-learn is not installed")
    x = np.asarray(
        clustering.l2_normalise(jnp.asarray(textbook.mixture(5000, 24, 60, 1.0, dtype=np.float64)))
    )
    got = kmeans(x, KEY, 50)
    peers = [
        cluster.KMeans(50, init="random", n_init=1, max_iter=20, tol=0, random_state=seed).fit(x).inertia_
        for seed in range(5)
    ]
    np.testing.assert_allclose(5000 * got.inertia[-1], np.mean(peers), rtol=1e-2)


def test_an_empty_cluster_takes_half_of_a_donor():
    centroids = jnp.asarray([[1.0, 2.0, 4.0], [9.0, 9.0, 9.0], [8.0, 8.0, 8.0]])
    repaired, sizes = clustering.repair_empty(centroids, jnp.asarray([7.0, 0.0, 1.0]), KEY)
    up, down = 1 + 1 / 1024, 1 - 1 / 1024
    # The last can't give: it has a single point.
    want = [[1 * down, 2 * up, 4 * down], [1 * up, 2 * down, 4 * up], [8, 8, 8]]
    np.testing.assert_array_equal(repaired, np.asarray(want, np.float32))
    np.testing.assert_array_equal(sizes, [4, 3, 1])


def test_donors_are_drawn_by_what_they_can_give():
    def donor(key):
        _, sizes = clustering.repair_empty(jnp.zeros((4, 2)), jnp.asarray([2.0, 0.0, 1.0, 4.0]), key)
        return sizes[0] < 2

    share = jax.vmap(donor)(jax.random.split(KEY, 4000)).mean()
    assert abs(share - 1 / 4) < 0.025  # by sizes it would be 2 / 7


def test_repair_ends_when_nothing_is_left_to_split():
    centroids = jnp.arange(10.0).reshape(5, 2)
    repaired, sizes = clustering.repair_empty(centroids, jnp.asarray([0.0, 3.0, 0.0, 0.0, 1.0]), KEY)
    np.testing.assert_array_equal(np.sort(sizes), [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(repaired[sizes == 0], centroids[sizes == 0])
    untouched, _ = clustering.repair_empty(centroids, jnp.ones(5), KEY)
    np.testing.assert_array_equal(untouched, centroids)


def test_most_clusters_can_be_empty():
    k = 10_000
    sizes = jnp.zeros(k).at[:100].set(1000)
    _, repaired = jax.jit(clustering.repair_empty)(jnp.ones((k, 4)), sizes, KEY)
    assert repaired.min() >= 1
    assert repaired.sum() == 100_000


def test_few_distinct_points():
    """Twelve times the same seven points: clusters run empty at once, and copies of centroids must not stop others."""
    distinct = np.random.default_rng(3).normal(size=(7, 4)).astype(np.float32)
    x = np.repeat(distinct, 12, axis=0)
    for method in clustering.SEEDINGS:
        result = kmeans(x, KEY, 20, iterations=20, seeding=method)
        assert np.isfinite(result.centroids).all()
        assert result.sizes.sum() == len(x)
        assert result.inertia[-1] < 1e-4
        assert len(np.unique(result.labels)) >= 7


def test_repaired_clusters_get_points():
    """Most seeds are copies of one point, and but for repair all of them but one would stay empty."""
    x = np.concatenate([np.ones((200, 4), np.float32), 5 * textbook.mixture(100, 4, 1, 1.0)])
    k = 24
    seeds = seeding.random_points(jnp.asarray(x), jnp.ones(300), KEY, k, None)
    assert (np.asarray(seeds) == 1).all(1).sum() > 10
    assert (kmeans(x, KEY, k).sizes > 0).sum() >= 22


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("method", clustering.SEEDINGS)
def test_weight_0_removes_points(method):
    x = textbook.mixture(400, 6, 5, 0.4, dtype=np.float64)
    outliers = np.full((40, 6), 1e3)
    padded = jnp.asarray(np.concatenate([x, outliers]))
    weights = jnp.asarray([1.0] * 400 + [0.0] * 40)
    got = clustering.kmeans(padded, KEY, 5, weights=weights, seeding=method, restarts=3)
    assert np.abs(got.centroids).max() < 10
    assert got.sizes.sum() == 400
    np.testing.assert_allclose(got.inertia[-1], got.distances[:400].mean(), rtol=1e-9)
    centroids, labels, _ = textbook.lloyd(x, np.asarray(got.centroids), 1)
    np.testing.assert_allclose(got.centroids, centroids, rtol=1e-9)
    np.testing.assert_array_equal(got.labels[:400], labels)
    assert (
        textbook.squared_distances(outliers, np.asarray(got.centroids)).argmin(1) == got.labels[400:]
    ).all()


@pytest.mark.usefixtures("float64")
def test_plusplus_beats_random_on_skewed_data():
    rng = np.random.default_rng(0)
    far = rng.normal(size=(30, 8)) * 20
    x = np.concatenate([rng.normal(size=(3000, 8)), *[mean + 0.1 * rng.normal(size=(10, 8)) for mean in far]])
    final = {
        method: np.mean([kmeans(x, jax.random.key(i), 40, seeding=method).inertia[-1] for i in range(3)])
        for method in clustering.SEEDINGS
    }
    assert final["plusplus"] < 0.8 * final["random"]


@pytest.mark.usefixtures("float64")
def test_restarts_keep_the_best():
    x = textbook.mixture(600, 4, 20, 0.1, dtype=np.float64)
    runs = [kmeans(x, KEY, 20, restarts=count) for count in (1, 3, 6)]
    finals = [float(run.inertia[-1]) for run in runs]
    assert finals == sorted(finals, reverse=True)
    assert finals[-1] < finals[0]
    best = runs[-1]
    np.testing.assert_allclose(best.distances.mean(), best.inertia[-1], rtol=1e-9)
    np.testing.assert_allclose(
        textbook.squared_distances(x, np.asarray(best.centroids)).min(1), best.distances, rtol=1e-9
    )


@pytest.mark.usefixtures("float64")
def test_tolerance_stops():
    x = np.random.default_rng(0).normal(size=(2000, 8))
    full = np.asarray(kmeans(x, KEY, 20, iterations=40).inertia)
    stopped = kmeans(x, KEY, 20, iterations=40, tolerance=0.005)
    falls = (full[:-1] - full[1:]) / full[:-1]
    last = int(np.argmax(falls < 0.005)) + 1
    assert 1 < last < 39
    np.testing.assert_allclose(stopped.inertia[: last + 1], full[: last + 1], rtol=1e-9)
    assert (stopped.inertia[last:] == stopped.inertia[last]).all()
    np.testing.assert_allclose(stopped.distances.mean(), stopped.inertia[-1], rtol=1e-9)


def test_bfloat16_distances_cost_little_inertia():
    x = clustering.l2_normalise(jnp.asarray(textbook.mixture(4000, 32, 30, 0.7)))
    full, half = (kmeans(x, KEY, 60, iterations=1, dtype=dtype) for dtype in clustering.DTYPES)
    assert half.centroids.dtype == half.inertia.dtype == jnp.float32
    assert (full.labels != half.labels).any()
    np.testing.assert_allclose(half.inertia[-1], full.inertia[-1], rtol=1e-3)
    # Though found by rounded products, distances and inertia are exact.
    exact = textbook.squared_distances(np.asarray(x), np.asarray(half.centroids))[
        np.arange(4000), half.labels
    ]
    np.testing.assert_allclose(half.distances, exact, rtol=1e-4, atol=1e-6)


def test_ties_go_to_the_first():
    x = jnp.asarray([[0.0], [0.0], [0.0], [0.0]])
    np.testing.assert_array_equal(clustering.kmeans(x, KEY, 2, iterations=1).labels, np.zeros(4))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("k", [1, 15, 16, 17, 100])
def test_labels_for_any_number_of_clusters(k):
    x = textbook.mixture(300, 5, 7, 1.0, dtype=np.float64)
    result = kmeans(x, KEY, k, iterations=3)
    np.testing.assert_array_equal(
        textbook.squared_distances(x, np.asarray(result.centroids)).argmin(1), result.labels
    )


@pytest.mark.usefixtures("float64")
def test_points_in_many_blocks(monkeypatch):
    x = jnp.asarray(textbook.mixture(1001, 6, 5, 0.8, dtype=np.float64))
    want = clustering.kmeans(x, KEY, 10, iterations=5)
    monkeypatch.setattr(KMEANS, "BLOCK", 10 * 64)
    got = clustering.kmeans(x, KEY, 10, iterations=5)
    np.testing.assert_allclose(got.centroids, want.centroids, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(got.sizes, want.sizes)
    np.testing.assert_array_equal(got.labels, want.labels)


def sizes_of_intermediates(jaxpr):
    for equation in jaxpr.eqns:
        for variable in equation.outvars:
            yield math.prod(variable.aval.shape)
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                if hasattr(inner, "jaxpr"):
                    yield from sizes_of_intermediates(inner.jaxpr)
                elif hasattr(inner, "eqns"):
                    yield from sizes_of_intermediates(inner)


@pytest.mark.parametrize("method", clustering.SEEDINGS)
def test_points_times_clusters_are_nowhere_in_memory(method):
    n, dims, k = 1_000_000, 16, 10_000
    run = functools.partial(clustering.kmeans, k=k, seeding=method)
    x = jax.ShapeDtypeStruct((n, dims), jnp.float32)
    traced = jax.make_jaxpr(lambda x, key: run(x, key))(x, KEY)
    largest = max(sizes_of_intermediates(traced.jaxpr))
    assert largest <= n * dims
    assert largest > 2_000_000  # the walk has seen the inside of the loops


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k 0"),
        ({"k": 11}, "k 11: there are only 10 points"),
        ({"iterations": 0}, "iterations 0"),
        ({"restarts": 0}, "restarts 0"),
        ({"tolerance": -1.0}, "tolerance -1.0"),
        ({"seeding": "greedy"}, "seeding 'greedy': expected random or plusplus"),
        ({"dtype": "float16"}, "dtype 'float16': expected float32 or bfloat16"),
    ],
)
def test_kmeans_refuses(options, message):
    with pytest.raises(InputError, match=message):
        clustering.kmeans(jnp.ones((10, 2)), KEY, **({"k": 2} | options))


def test_points_must_be_a_matrix():
    for function in (clustering.fit_pca, lambda x, k: clustering.kmeans(x, KEY, k)):
        with pytest.raises(InputError, match="points of shape"):
            function(jnp.ones((10, 3, 2)), 2)
