"""Mutual information of two labellings, by hand, against the textbook and scikit-learn."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import textbook_clustering as textbook

from ssl_single_image import clustering


def test_nmi_by_hand():
    a, b = jnp.asarray([0, 0, 1, 1]), jnp.asarray([0, 0, 0, 1])
    h_a, h_b = math.log(2), 2 * math.log(2) - 0.75 * math.log(3)
    information = h_a + h_b - 1.5 * math.log(2)
    np.testing.assert_allclose(clustering.nmi(a, b), 2 * information / (h_a + h_b), rtol=1e-5)


def test_nmi_of_random_and_related_labels():
    rng = np.random.default_rng(0)
    a = rng.integers(0, 50, 20_000).astype(np.int32)
    b = np.where(rng.random(20_000) < 0.5, a, rng.integers(0, 80, 20_000)).astype(np.int32)
    nmi = jax.jit(clustering.nmi)
    np.testing.assert_allclose(nmi(a, b), textbook.nmi(a, b), rtol=1e-4)
    np.testing.assert_allclose(nmi(b, a), nmi(a, b), rtol=1e-5)
    np.testing.assert_allclose(nmi(a, rng.permutation(50).astype(np.int32)[a]), 1, atol=1e-5)
    assert nmi(a, rng.permutation(a)) < 0.03


def test_nmi_of_one_cluster():
    one, two = jnp.zeros(6, jnp.int32), jnp.asarray([0, 0, 0, 1, 1, 1])
    assert clustering.nmi(one, one + 3) == 1
    assert clustering.nmi(one, two) == 0


def test_nmi_is_scikit_learns_for_many_labels():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 10_000, 300_000).astype(np.int32)
    b = np.where(rng.random(len(a)) < 0.3, a, rng.integers(0, 10_000, len(a))).astype(np.int32)
    want = metrics.normalized_mutual_info_score(a, b)
    np.testing.assert_allclose(jax.jit(clustering.nmi)(a, b), want, rtol=1e-4)
