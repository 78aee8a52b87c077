"""CKA, nearest neighbours and ranks against their definitions, and what must not change them.

All is float64 NumPy: tolerances of 1e-9 leave room for sums of some thousand terms in another order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import textbook_similarity as textbook
from scipy import stats
from sklearn import neighbors

from ssl_single_image.analysis import rank, similarity
from ssl_single_image.ops import spectrum

CLOSE = 1e-9


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def value(x: np.ndarray, y: np.ndarray, **options: bool) -> float:
    return similarity.cka(similarity.gram(x), similarity.gram(y), **options)


@pytest.mark.parametrize(("n", "d"), [(4, 3), (7, 2), (9, 30)])
def test_hsic_and_cka_are_those_of_their_definitions(n: int, d: int) -> None:
    x, y = normal(n, d) + 3, normal(n, d + 2, seed=1) ** 2
    k, other = x @ x.T, y @ y.T
    assert similarity.hsic(k, other) == pytest.approx(textbook.unbiased_hsic(k, other), rel=CLOSE)
    assert similarity.hsic(k, other, debiased=False) == pytest.approx(
        textbook.biased_hsic(k, other), rel=CLOSE
    )
    assert value(x, y) == pytest.approx(textbook.unbiased_cka(x, y), rel=CLOSE)
    assert value(x, y, debiased=False) == pytest.approx(textbook.linear_cka(x, y), rel=CLOSE)


@pytest.mark.parametrize("debiased", [True, False])
def test_cka_ignores_rotation_scale_and_shift_and_nothing_else(debiased: bool) -> None:
    x, y = normal(30, 8), normal(30, 8, seed=1)
    y += x
    turned = -3.5 * x @ stats.ortho_group.rvs(8, random_state=0) + normal(8, seed=2)
    assert value(x, x, debiased=debiased) == pytest.approx(1, abs=CLOSE)
    assert value(x, turned, debiased=debiased) == pytest.approx(1, abs=CLOSE)
    assert value(turned, y, debiased=debiased) == pytest.approx(value(x, y, debiased=debiased), abs=CLOSE)
    assert value(x * np.arange(1, 9), x, debiased=debiased) < 0.95  # scales of its own for each feature


def test_independent_features_have_no_cka_but_the_biased_estimate_does() -> None:
    # Of 100 draws of 20 images: the standard error of the mean is a hundredth or less.
    draws = [(normal(20, 500, seed=2 * i), normal(20, 400, seed=2 * i + 1)) for i in range(100)]
    assert abs(np.mean([value(x, y) for x, y in draws])) < 0.02
    assert np.mean([value(x, y, debiased=False) for x, y in draws]) > 0.9


def test_features_that_do_not_vary_have_no_cka() -> None:
    constant = np.tile([0.1, 7e5, -2.1], (12, 1))
    assert np.isnan(value(constant, normal(12, 4)))
    assert np.isnan(value(np.zeros((12, 3)), np.zeros((12, 3))))
    found = similarity.cka_matrix(
        [similarity.gram(constant), similarity.gram(normal(12, 4))], [similarity.gram(normal(12, 4))]
    )
    assert np.isnan(found).tolist() == [[True], [False]]


def test_the_matrix_holds_each_pair_and_its_transpose_the_other_order() -> None:
    ours = [similarity.gram(normal(15, d, seed=d)) for d in (3, 50)]
    theirs = [similarity.gram(normal(15, d, seed=d)) for d in (3, 5, 9)]
    found = similarity.cka_matrix(ours, theirs)
    expected = [[similarity.cka(a, b) for b in theirs] for a in ours]
    np.testing.assert_allclose(found, expected, atol=CLOSE)
    np.testing.assert_allclose(similarity.cka_matrix(theirs, ours), found.T, atol=CLOSE)
    assert found[0, 0] == pytest.approx(1)


def test_nearest_neighbours_are_those_of_scikit_learn() -> None:
    x = normal(40, 6)
    found, cosines = similarity.nearest(x, [3, 17], 5)
    search = neighbors.NearestNeighbors(n_neighbors=6, metric="cosine").fit(x)
    distances, order = search.kneighbors(x[[3, 17]])
    np.testing.assert_array_equal(order[:, 0], [3, 17])
    np.testing.assert_array_equal(found, order[:, 1:])
    np.testing.assert_allclose(cosines, 1 - distances[:, 1:], atol=CLOSE)


def test_ties_go_to_the_lower_number_and_zeros_are_like_nothing() -> None:
    x = np.array([[1, 0], [2, 0], [0, 0], [3, 0], [-1, 0]])
    found, cosines = similarity.nearest(x, [0], 4)
    assert found.tolist() == [[1, 3, 2, 4]]
    assert cosines.tolist() == [[1, 1, 0, -1]]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_rankme_of_k_equal_directions_is_k(k: int) -> None:
    """To the rounding of epsilon: 30 shares of 1e-7 add 30 * 1e-7 * ln 1e7 = 5e-5 to the entropy."""
    left, right = np.linalg.qr(normal(40, k))[0], np.linalg.qr(normal(30, k, seed=1))[0]
    assert rank.rankme(2 * left @ right.T) == pytest.approx(k, rel=1e-4)


def test_rankme_is_its_formula_and_is_not_centred() -> None:
    x = normal(25, 12) + 2
    shares = np.linalg.svdvals(x) / np.linalg.svdvals(x).sum() + 1e-7
    assert rank.rankme(x) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=CLOSE)
    assert rank.rankme(x - x.mean(0)) > rank.rankme(x) + 1


@pytest.mark.parametrize("shape", [(50, 8), (9, 40)])
def test_effective_rank_is_the_entropy_of_the_principal_components(shape: tuple[int, int]) -> None:
    x = normal(*shape) * np.geomspace(1, 9, shape[1])
    variances = np.linalg.svdvals(x - x.mean(0)) ** 2
    expected = textbook.entropy_rank(variances[variances > 1e-12 * variances.max()])
    assert float(spectrum.effective_rank(x)) == pytest.approx(expected, rel=1e-7)  # eigenvalues of squares
    assert float(spectrum.effective_rank(x + 100)) == pytest.approx(expected, rel=1e-7)
    compiled = jax.jit(spectrum.effective_rank)(jnp.asarray(x, jnp.float32))
    assert float(compiled) == pytest.approx(expected, rel=1e-3)  # float32
    assert compiled.dtype == jnp.float32


def test_effective_rank_counts_directions() -> None:
    corners = np.concatenate([np.eye(4), -np.eye(4)])  # equal variance along four axes
    assert float(spectrum.effective_rank(corners @ normal(4, 4))) < 4
    assert float(spectrum.effective_rank(corners)) == pytest.approx(4)
    assert float(spectrum.effective_rank(corners[:, :1] @ normal(1, 6))) == pytest.approx(1)
    assert float(spectrum.effective_rank(np.ones((5, 3)))) == 1
    assert spectrum.effective_rank(jnp.asarray(corners, jnp.bfloat16)).dtype == jnp.float32


def test_ranks_of_layers() -> None:
    x = normal(20, 6).astype(np.float32)
    found = rank.ranks({"conv1": x, "conv2": x[:, :3]})
    assert list(found) == ["conv1", "conv2"]
    assert found["conv2"]["features"] == 3
    assert found["conv1"]["rankme"] == rank.rankme(x)
    assert 1 < found["conv2"]["effective_rank"] <= 3
