"""In how many directions vectors lie, as one number.

Each function takes an array of JAX or of NumPy and returns its like: NumPy's float64 where exactness matters more than
a compiled program.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float


def effective_count(weights: Float[Any, " n"], floor: float = 0.0) -> Float[Any, ""]:
    """The exponential of the entropy of the weights' shares in their sum: n equal weights count n.

    Args:
      weights: 0 or more each. A weight of 0 counts nothing; weights that are all 0 count 1.
      floor: added to each share; the shares are not normalised again.
    """
    xp = weights.__array_namespace__()
    total = weights.sum()
    shares = weights / xp.where(total > 0, total, xp.ones_like(total)) + floor
    return xp.exp(-(shares * xp.log(xp.where(shares > 0, shares, xp.ones_like(shares)))).sum())


def effective_rank(x: Float[Any, "n d"]) -> Float[Any, ""]:
    """The effective rank (Roy and Vetterli 2007, definition 1) of the covariance matrix of the rows.

    Its weights are the variances along the principal components. It lies between 1, where all rows lie on a line, and
    min(n - 1, d). It is computed in float32, or float64 if x is of that type.
    """
    x = x.astype(np.promote_types(x.dtype, np.float32))
    xp = x.__array_namespace__()
    centred = x - x.mean(0)[None]
    products = centred @ centred.T if x.shape[0] < x.shape[1] else centred.T @ centred
    variances = xp.linalg.eigvalsh(products / len(x))
    return effective_count(xp.maximum(variances, xp.zeros_like(variances)))
