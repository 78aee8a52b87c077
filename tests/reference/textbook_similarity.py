"""Linear CKA, HSIC and ranks straight from their definitions, in NumPy: explicit sums and centring matrices."""

import numpy as np


def linear_cka(x, y):
    """Kornblith et al. 2019, section 3: of centred features, ||Y'X||^2 / (||X'X|| ||Y'Y||); the biased value."""
    x, y = x - x.mean(0), y - y.mean(0)
    return np.linalg.norm(y.T @ x) ** 2 / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def biased_hsic(k, other):
    """Gretton et al. 2005: tr(K H L H) / (n - 1)^2 with the centring matrix H."""
    n = len(k)
    h = np.eye(n) - np.ones((n, n)) / n
    return np.trace(k @ h @ other @ h) / (n - 1) ** 2


def unbiased_hsic(k, other):
    """Song et al. 2012, equation 5, in loops over i, j, q and r that are pairwise different where they must be."""
    n = len(k)
    pairs = sum(k[i, j] * other[i, j] for i in range(n) for j in range(n) if i != j)
    triples = fours = 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            triples += sum(k[i, j] * other[i, q] for q in range(n) if q not in (i, j))
            fours += sum(k[i, j] * other[q, r] for q in range(n) for r in range(n) if len({i, j, q, r}) == 4)
    two, three, four = n * (n - 1), n * (n - 1) * (n - 2), n * (n - 1) * (n - 2) * (n - 3)
    return pairs / two + fours / four - 2 * triples / three


def unbiased_cka(x, y):
    k, other = x @ x.T, y @ y.T
    return unbiased_hsic(k, other) / np.sqrt(unbiased_hsic(k, k) * unbiased_hsic(other, other))


def entropy_rank(weights):
    """The exponential of the Shannon entropy of shares, term by term."""
    shares = [w / sum(weights) for w in weights]
    return np.exp(-sum(p * np.log(p) for p in shares if p > 0))
