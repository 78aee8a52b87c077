"""Intervals of 95 % for accuracies and for their differences."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from scipy import stats

LEVEL = 0.95


def wilson(share: float, count: int) -> tuple[float, float]:
    """The score interval of Wilson (1927) of a share that was seen in `count` images.

    Args:
      share: in [0, 1]; rounded to a whole number of images.
      count: at least 1.
    """
    interval = stats.binomtest(round(share * count), count).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def over_repeats(values: Float[np.ndarray, " R"]) -> tuple[float, float]:
    """The interval of Student's t of the mean of values that are independent of each other.

    Args:
      values: two or more; the accuracies of several seeds or draws.
    """
    half = stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def bootstrap(value: float, samples: Float[np.ndarray, " R"]) -> tuple[float, float]:
    """The basic bootstrap interval of a value: what resamples have above it is counted below, and the reverse.

    An mAP of few images is too high, and that of a resample of them even more so. This interval makes up for it, and
    plain percentiles do not. docs/notes/probing.md has the coverage of both.

    Args:
      value: of all images.
      samples: of each resample; NaN where it is not defined.
    """
    low, high = np.nanquantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return 2 * value - float(high), 2 * value - float(low)


def paired(difference: Float[np.ndarray, " N"]) -> tuple[float, float]:
    """The interval of the mean of differences, one for each test image, by the normal approximation.

    Both networks classify the same images. What makes an image hard for both drops out of the difference, so the
    interval is narrower than two separate ones suggest.
    """
    half = stats.norm.ppf((1 + LEVEL) / 2) * difference.std() / math.sqrt(len(difference))
    return float(difference.mean() - half), float(difference.mean() + half)
