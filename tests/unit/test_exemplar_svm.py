"""Batched SVMs against scikit-learn's, which is libsvm, and correlation filters against sums over frequencies."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.svm import SVC

from ssl_single_image.objectives.exemplars import correlation, svm

COUNT, DIMS, EXEMPLARS = 500, 12, 5


def problem(seed: int = 0) -> tuple[Any, Any, Any]:
    """Points, the exemplars among them and their negatives: others, but not all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(COUNT, DIMS))
    positive = rng.choice(COUNT, EXEMPLARS, replace=False)
    negative = rng.random((EXEMPLARS, COUNT)) < 0.8
    negative[np.arange(EXEMPLARS), positive] = False
    return x, positive, negative


def libsvm(gram: np.ndarray, positive: int, negative: np.ndarray, cost: float, weight: float) -> np.ndarray:
    """Scores of all points."""
    rows = np.concatenate([[positive], np.flatnonzero(negative)])
    machine = SVC(C=cost, kernel="precomputed", class_weight={1: weight}, tol=1e-9)
    machine.fit(gram[np.ix_(rows, rows)], [1] + [-1] * (len(rows) - 1))
    return machine.decision_function(gram[:, rows])


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last digits, and with so small a working set that negatives must be mined; two blocks of SVMs."""
    monkeypatch.setattr(svm, "TOLERANCE", 1e-9)
    monkeypatch.setattr(svm, "WORKING", 20)
    monkeypatch.setattr(svm, "BLOCK", 3)


@pytest.mark.usefixtures("float64", "exact")
@pytest.mark.parametrize(("cost", "weight", "working"), [(0.01, 50.0, 0), (1.0, 1.0, 16), (0.2, 4.0, 16)])
def test_svms_are_those_of_libsvm(
    monkeypatch: pytest.MonkeyPatch, cost: float, weight: float, working: int
) -> None:
    monkeypatch.setattr(svm, "WORKING", working)
    x, positive, negative = problem()
    found = jax.jit(functools.partial(svm.fit, cost=cost, positive_weight=weight))(x, positive, negative)
    assert found.rounds.max() > 1
    assert found.violation.max() <= 1e-9
    scores = x @ np.asarray(found.weight).T + np.asarray(found.bias)
    for number in range(EXEMPLARS):
        wanted = libsvm(x @ x.T, positive[number], negative[number], cost, weight)
        np.testing.assert_allclose(scores[:, number], wanted, rtol=1e-6, atol=1e-6)


def test_single_precision_is_enough_and_a_call_gives_the_same_bits_again() -> None:
    x, positive, negative = problem(1)
    solve = jax.jit(functools.partial(svm.fit, cost=0.01, positive_weight=50.0))
    once, again = (solve(jnp.asarray(x, jnp.float32), positive, negative) for _ in range(2))
    np.testing.assert_array_equal(once.weight, again.weight)
    scores = x @ np.asarray(once.weight).T + np.asarray(once.bias)
    for number in range(EXEMPLARS):
        wanted = libsvm(x @ x.T, positive[number], negative[number], 0.01, 50.0)
        np.testing.assert_allclose(scores[:, number], wanted, atol=5e-3)  # libsvm's own tolerance is 1e-3


@pytest.mark.usefixtures("float64")
def test_points_that_are_no_negatives_do_not_count() -> None:
    x, positive, negative = problem(2)
    negative[:] = negative[0]
    solve = jax.jit(functools.partial(svm.fit, cost=1.0, positive_weight=5.0))
    whole = solve(x, positive[:1], negative[:1])
    others = ~negative[0]
    others[positive[0]] = False
    changed = solve(np.where(others[:, None], 100.0, x), positive[:1], negative[:1])
    np.testing.assert_allclose(changed.weight, whole.weight, atol=1e-9)
    moved = solve(np.where(negative[0][:, None], x + 1, x), positive[:1], negative[:1])
    assert np.abs(moved.weight - whole.weight).max() > 1e-3


def windows(seed: int = 0, side: int = 4, channels: int = 2) -> Any:
    return np.random.default_rng(seed).normal(size=(90, side, side, channels)) @ np.array(
        [[1, 0.8], [0, 0.3]]
    )


def published_kernel(x: np.ndarray, alpha: float) -> np.ndarray:
    """Re(X^H T^-1 X) of windows, frequency by frequency."""
    spectrum = np.fft.fft2(x, axes=(1, 2), norm="ortho")
    kernel = np.zeros((len(x), len(x)), complex)
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            one = spectrum[:, row, column]
            power = sum(np.outer(v, v.conj()) for v in one) / len(one)
            mixed = alpha * np.eye(x.shape[3]) + (1 - alpha) * power
            kernel += one.conj() @ np.linalg.solve(mixed, one.T)
    return kernel.real


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("side", [4, 5])
def test_whitened_windows_have_the_published_inner_products(side: int) -> None:
    x = windows(side=side)
    whitened = correlation.apply(correlation.whitening(x, 1e-3), x).reshape(len(x), -1)
    np.testing.assert_allclose(whitened @ whitened.T, published_kernel(x, 1e-3), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("float64", "exact")
def test_correlation_filters_score_windows_as_the_published_dual_does() -> None:
    x = windows()
    positive: Any = np.array([3, 40])
    negative: Any = np.ones((2, len(x)), bool)
    negative[[0, 1], positive] = False
    root = correlation.whitening(x, 1e-3)
    flat = correlation.apply(root, x).reshape(len(x), -1)
    found = svm.fit(flat, positive, negative, cost=0.05, positive_weight=50.0)
    filters = np.asarray(correlation.filters(root, found.weight)).reshape(2, -1)
    scores = x.reshape(len(x), -1) @ filters.T + np.asarray(found.bias)
    kernel = published_kernel(x, 1e-3)
    for number in range(2):
        wanted = libsvm(kernel, positive[number], negative[number], 0.05, 50.0)
        np.testing.assert_allclose(scores[:, number], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("float64", "exact")
def test_with_alpha_1_a_correlation_filter_is_an_svm() -> None:
    x = windows(1)
    positive: Any = np.array([7])
    negative: Any = np.ones((1, len(x)), bool)
    negative[0, 7] = False
    root = correlation.whitening(x, 1.0)
    solve = functools.partial(svm.fit, positive=positive, negative=negative, cost=1.0, positive_weight=50.0)
    of_windows = solve(x.reshape(len(x), -1))
    of_whitened = solve(correlation.apply(root, x).reshape(len(x), -1))
    filters = correlation.filters(root, of_whitened.weight).reshape(1, -1)
    np.testing.assert_allclose(filters, of_windows.weight, atol=1e-9)
    np.testing.assert_allclose(of_whitened.bias, of_windows.bias, atol=1e-9)
    other = correlation.filters(correlation.whitening(x, 0.5), of_windows.weight).reshape(1, -1)
    assert np.abs(other - of_windows.weight).max() > 1e-2
