"""PCA with whitening, against NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import textbook_clustering as textbook

from ssl_single_image import clustering
from ssl_single_image.types import InputError


@pytest.mark.usefixtures("float64")
def test_pca_projects_as_singular_vectors_do():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12)) + 3
    pca = jax.jit(clustering.fit_pca, static_argnums=1)(x, 5)
    centred = x - x.mean(0, dtype=np.float64)
    _, values, vectors = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(pca.mean, x.mean(0), rtol=1e-9)
    want = vectors[:5].T / (values[:5] / math.sqrt(len(x)))
    want *= np.sign(want[np.abs(want).argmax(0), np.arange(5)])
    np.testing.assert_allclose(pca.matrix, want, rtol=1e-8, atol=1e-9)
    projected = np.asarray(clustering.project(pca, jnp.asarray(x)))
    np.testing.assert_allclose(projected, centred @ want, atol=1e-8)
    np.testing.assert_allclose(np.cov(projected.T, ddof=0), np.eye(5), atol=1e-8)


def test_pca_does_not_blow_up_what_has_no_variance():
    rng = np.random.default_rng(1)
    x = np.zeros((300, 6), np.float32)
    x[:, 0], x[:, 1], x[:, 2] = 10 * rng.normal(size=300), rng.normal(size=300), 0.01 * rng.normal(size=300)
    pca = clustering.fit_pca(jnp.asarray(x), 6, floor=1e-3)
    deviations = np.asarray(clustering.project(pca, jnp.asarray(x))).std(0)
    largest = x[:, 0].std()
    want = [1, 1, x[:, 2].std() / math.sqrt(1e-3 * largest**2)]
    np.testing.assert_allclose(deviations[:3], want, rtol=0.02)
    np.testing.assert_allclose(deviations[3:], 0, atol=1e-5)
    assert np.isfinite(clustering.fit_pca(jnp.ones((10, 3)), 3).matrix).all()


@pytest.mark.usefixtures("float64")
def test_pca_of_blocks_is_that_of_all_points(monkeypatch):
    x = jnp.asarray(textbook.mixture(103, 7, 3, 0.5, dtype=np.float64))
    want = clustering.fit_pca(x, 4)
    monkeypatch.setattr("ssl_single_image.clustering.pca.BLOCK", 7 * 10)
    got = clustering.fit_pca(x, 4)
    np.testing.assert_allclose(got.matrix, want.matrix, rtol=1e-8, atol=1e-9)


@pytest.mark.usefixtures("float64")
def test_pca_leaves_out_points_of_weight_0():
    x = textbook.mixture(90, 6, 3, 0.5, dtype=np.float64)
    weights = (np.arange(90) % 3 > 0).astype(np.float64)
    got = clustering.fit_pca(jnp.asarray(x), 3, weights=jnp.asarray(weights))
    want = clustering.fit_pca(jnp.asarray(x[weights > 0]), 3)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("components", "options", "message"),
    [
        (0, {}, "components 0"),
        (4, {}, r"components 4: must be in \[1, 3\]"),
        (2, {"floor": 0.0}, "floor 0.0"),
    ],
)
def test_pca_refuses(components, options, message):
    with pytest.raises(InputError, match=message):
        clustering.fit_pca(jnp.ones((10, 3)), components, **options)


def test_rows_of_unit_length():
    got = clustering.l2_normalise(jnp.asarray([[3.0, 4.0], [0.0, 0.0], [1e-10, 0.0]]))
    np.testing.assert_allclose(got, [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0]], rtol=1e-6)
