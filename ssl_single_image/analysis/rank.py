"""How many dimensions the features of a layer use: RankMe, and the effective rank of their covariance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from ssl_single_image.ops.spectrum import effective_count, effective_rank

EPSILON = 1e-7
"""Added to each share of RankMe."""


def rankme(x: Float[np.ndarray, "n d"]) -> float:
    """RankMe (Garrido et al. 2023, equation 1): the effective count of the singular values of features.

    The features are not centred, so their mean counts as a direction. After a ReLU it is the largest one. RankMe is
    at most about min(n, d), so only values from equally many images can be compared.

    Args:
      x: one image a row, float; computed in float64.
    """
    return float(effective_count(np.linalg.svd(x.astype(np.float64), compute_uv=False), EPSILON))


def ranks(features: Mapping[str, Float[np.ndarray, "n _"]]) -> dict[str, dict[str, float]]:
    """Layer -> "features" (d), "rankme" and "effective_rank" of its features (n, d), in float64."""
    return {
        layer: {
            "features": x.shape[1],
            "rankme": rankme(x),
            "effective_rank": float(effective_rank(x.astype(np.float64))),
        }
        for layer, x in features.items()
    }
