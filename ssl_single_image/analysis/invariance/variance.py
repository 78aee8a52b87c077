"""How much of what a unit says of images is due to augmentations, to the images, and to their classes."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Key

VARIES = 1e-5
"""A unit whose standard deviation over images is below this share of its root mean square does not vary."""
_UNITS = 2048
"""Units that are worked on at a time, to bound memory."""
Views = Float[np.ndarray, "n T D"]
"""Features of T views of n images, D units each."""


class Shares(NamedTuple):
    """Parts of the variance of features; they sum to 1.

    Attributes:
      within_image: between views of one image.
      within_class: between the means of images of one class.
      between_classes: between the means of classes.
    """

    within_image: float
    within_class: float
    between_classes: float


def resamples(images: int, count: int, key: Key[Array, ""]) -> Float[np.ndarray, "R n"]:
    """Weights of images that sum to 1: first those of the images themselves, then of `count` bootstrap resamples."""
    drawn = np.asarray(jax.random.randint(key, (count, images), 0, images))
    counts = [np.bincount(picked, minlength=images) for picked in drawn]
    return np.stack([np.ones(images), *counts]) / images


def normalised_variance(u: Views, weights: Float[np.ndarray, "R n"]) -> tuple[Float[np.ndarray, " R"], int]:
    """E_x Std_t u(t x) / E_t Std_x u(t x) for each unit u, over images x and augmentations t; the mean over units.

    It is 0 for units that ignore the augmentation. It is about 1 where a view says nothing of which image it shows.
    Standard deviations have Bessel's correction.

    Args:
      u: float; at least two images and two views of each.
      weights: of images, as `resamples` gives. Their type is that of the computation: float32 does for resamples.

    Returns:
      The value by each row of weights, NaN where no unit varies, and how many units vary.
    """
    total, count = np.zeros(len(weights)), np.zeros(len(weights))
    varying = 0
    for start in range(0, u.shape[2], _UNITS):
        part = u[:, :, start : start + _UNITS].astype(weights.dtype)
        ratio, varies = _ratios(part, weights)
        total += np.where(varies, ratio, 0).sum(1)
        count += varies.sum(1)
        varying += int(varies[0].sum())
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), varying


def _ratios(u: Views, weights: Float[np.ndarray, "R n"]) -> tuple[np.ndarray, np.ndarray]:
    """(R, D) ratios, and which of them are of units that vary."""
    images = u.shape[0]
    size = np.sqrt(np.square(u).mean((0, 1)))
    over_views = weights @ u.std(1, ddof=1)
    centred = u - u.mean((0, 1))  # changes no deviation, only its rounding
    over_images = np.zeros_like(over_views)
    for view in range(u.shape[1]):
        mean = weights @ centred[:, view]
        square = weights @ np.square(centred[:, view])
        over_images += np.sqrt(np.maximum(square - mean**2, 0) * images / (images - 1)) / u.shape[1]
    varies = over_images > VARIES * size
    return over_views / np.where(varies, over_images, 1), varies


def shares(u: Views, labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, "R n"]) -> list[Shares] | None:
    """Splits the sum of squares of features, over all units, into three parts (a nested analysis of variance).

    Args:
      u: float; computed in float64.
      labels: the class of each image.
      weights: of images, as `resamples` gives.

    Returns:
      The shares by each row of weights, or None where the features do not vary. A resample of equal features has NaN.
    """
    parts, size = np.zeros((len(weights), 3)), 0.0
    of_class = (labels == np.unique(labels)[:, None]).astype(np.float64)
    counts = weights @ of_class.T
    for start in range(0, u.shape[2], _UNITS):
        part = u[:, :, start : start + _UNITS].astype(np.float64)
        size += np.square(part).sum()
        image = part.mean(1)
        parts[:, 0] += weights @ np.square(part - image[:, None]).sum((1, 2))
        centred = image - image.mean(0)  # changes no deviation, only its rounding
        parts[:, 1:] += u.shape[1] * _between(centred, of_class, counts, weights)
    total = parts.sum(1, keepdims=True)
    if total[0, 0] * len(u) <= VARIES**2 * size:
        return None
    found = np.divide(parts, total, out=np.full_like(parts, np.nan), where=total > 0)
    return [Shares(*map(float, one)) for one in np.maximum(found, 0)]


def _between(
    image: Float[np.ndarray, "n D"],
    of_class: Float[np.ndarray, "C n"],
    counts: Float[np.ndarray, "R C"],
    weights: Float[np.ndarray, "R n"],
) -> Float[np.ndarray, "R 2"]:
    """Sums of squares of images about the means of their classes, and of these means about the mean of all."""
    found = np.zeros((len(weights), 2))
    everything = weights @ np.square(image).sum(1)
    for row, (count, weight) in enumerate(zip(counts, weights, strict=True)):
        sums = (of_class * weight) @ image
        means = (np.square(sums).sum(1)[count > 0] / count[count > 0]).sum()
        found[row] = everything[row] - means, means - np.square(sums.sum(0)).sum() / count.sum()
    return found
