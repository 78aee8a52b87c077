"""How alike two sets of features of the same images are: linear CKA; and which images are alike: nearest neighbours.

Features of any width are compared through their n x n Gram matrices, so wide layers take no more memory than that. All
is NumPy in float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

FEWEST = 4
"""Images that the unbiased estimator needs."""
NOTHING = 1e-20
"""Features whose variance is less than this share of their mean square do not vary: the rest is rounding."""

Gram = Float[np.ndarray, "n n"]


def gram(x: Float[np.ndarray, "n d"]) -> Gram:
    """Products of all pairs of rows, from which the rows' mean is subtracted first.

    The subtraction changes no CKA, only its rounding. Features that are the same for all images give zeros.
    """
    x = x.astype(np.float64)
    centred = x - x.mean(0)
    if np.square(centred).sum() <= NOTHING * np.square(x).sum():
        return np.zeros((len(x), len(x)))
    return centred @ centred.T


def centred_gram(k: Gram, *, debiased: bool = True) -> Gram:
    """A Gram matrix without its rows' and columns' means, in one of two ways.

    Args:
      k: symmetric.
      debiased: True leaves the diagonal out ("U-centring", Szekely and Rizzo 2014, section 2); needs n >= 4.
        False gives H K H with H = I - 1/n.
    """
    n = len(k)
    if not debiased:
        means = k.mean(0)
        return k - means - means[:, None] + means.mean()
    off = k - np.diag(np.diag(k))
    sums = off.sum(0) / (n - 2)
    centred = off - sums - sums[:, None] + sums.sum() / (n - 1)
    np.fill_diagonal(centred, 0)
    return centred


def hsic(k: Gram, other: Gram, *, debiased: bool = True) -> float:
    """The Hilbert-Schmidt independence criterion of two Gram matrices of the same images.

    It is the inner product of the centred matrices over n (n - 3), which is the unbiased estimator of Song et al. 2012
    (equation 5) and may be negative; or, biased, over (n - 1)^2 (Gretton et al. 2005).
    """
    n = len(k)
    product = (centred_gram(k, debiased=debiased) * centred_gram(other, debiased=debiased)).sum()
    return float(product / (n * (n - 3) if debiased else (n - 1) ** 2))


def cka(k: Gram, other: Gram, *, debiased: bool = True) -> float:
    """Centred kernel alignment (Kornblith et al. 2019): the cosine of two centred Gram matrices.

    It is 1 for features that agree up to rotation, shift and scale. Debiased (Nguyen et al. 2021), independent features
    give 0 on average, whatever their width. The biased value of independent features approaches 1 as the width
    grows beyond n.

    Returns:
      At most 1; NaN where one of the two does not vary.
    """
    return float(
        _cosines([centred_gram(k, debiased=debiased)], [centred_gram(other, debiased=debiased)])[0, 0]
    )


def cka_matrix(ours: Sequence[Gram], theirs: Sequence[Gram]) -> Float[np.ndarray, "a b"]:
    """The debiased CKA of each of some Gram matrices with each of others, all of the same images."""
    return _cosines(list(map(centred_gram, ours)), list(map(centred_gram, theirs)))


def cosines(x: Float[np.ndarray, "q d"], y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "q n"]:
    """The cosine of every row of x with every row of y; a row of zeros has 0 with all."""
    unit = [rows / np.where(norms > 0, norms, 1) for rows, norms in ((r, _norms(r)) for r in (x, y))]
    return np.clip(unit[0] @ unit[1].T, -1, 1)


def nearest(
    x: Float[np.ndarray, "n d"], queries: Sequence[int], count: int
) -> tuple[Int[np.ndarray, "q count"], Float[np.ndarray, "q count"]]:
    """The rows that are most similar by cosine to some of them, the most similar first.

    Args:
      x: one image a row; computed in float64.
      queries: numbers of rows. A row is not its own neighbour.
      count: neighbours of each, below n.

    Returns:
      Their numbers and their cosines. Of equal cosines the lower number comes first.
    """
    x, asked = x.astype(np.float64), list(queries)
    similar = cosines(x[asked], x)
    similar[np.arange(len(asked)), asked] = -np.inf
    order = np.argsort(-similar, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(similar, order, axis=1)


def _cosines(ours: Sequence[Gram], theirs: Sequence[Gram]) -> Float[np.ndarray, "a b"]:
    """Cosines of matrices; NaN for those of zeros."""
    flat = [np.stack(grams).reshape(len(grams), -1) for grams in (ours, theirs)]
    found = cosines(*flat)
    found[~_norms(flat[0])[:, 0].astype(bool)] = np.nan
    found[:, ~_norms(flat[1])[:, 0].astype(bool)] = np.nan
    return found


def _norms(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n 1"]:
    return np.linalg.norm(x, axis=1, keepdims=True)
