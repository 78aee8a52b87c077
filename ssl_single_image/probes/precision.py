"""Average precision of a ranking of images by a score, its mean over classes, and how far that mean is certain.

Images of one score are one step of the ranking: their order decides nothing. Ignored images are left out. A class
of which no image is left as present has no precision, and no part in the mean.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int8, Int64

from ssl_single_image.datasets.labelling import IGNORED, PRESENT

RESAMPLES = 1000
"""Of the test images, with replacement; an interval is made of what they give."""
SEED = 2007
"""Of the resamples. They are the same for all networks, so that differences are paired by image."""
BLOCK = 4_000_000
"""Weights of resampled images that are held at a time."""
POINTS = 10
"""VOC 2007 takes the precision at recalls of 0, 1/POINTS, ..., 1."""


class Ranking(NamedTuple):
    """The images of one class by falling score, as far as the last that has it; K steps with a present image.

    Attributes:
      rows: numbers of the images.
      starts: where in `rows` each step begins, those without a present image joined to the next that has one.
      present: numbers of the present images among `rows`.
      present_starts: where in `present` each step begins.
    """

    rows: Int64[np.ndarray, " n"]
    starts: Int64[np.ndarray, " K"]
    present: Int64[np.ndarray, " P"]
    present_starts: Int64[np.ndarray, " K"]


def rank(score: Float[np.ndarray, " N"], label: Int8[np.ndarray, " N"]) -> Ranking | None:
    """Ranks the images of one class; None where it is present in none."""
    known = np.flatnonzero(label != IGNORED)
    rows = known[np.argsort(-score[known], kind="stable")]
    present = np.flatnonzero(label[rows] == PRESENT)
    if not len(present):
        return None
    ordered = score[rows]
    step = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])
    steps, present_starts = np.unique(step[present], return_index=True)
    ends = np.searchsorted(step, steps, side="right")
    return Ranking(rows[: ends[-1]], np.concatenate([[0], ends[:-1]]), present, present_starts)


def average(ranking: Ranking, weights: Float[np.ndarray, "N R"]) -> Float[np.ndarray, " R"]:
    """The area under the curve of precision over recall, without interpolation: precision weighted by gain of recall.

    Args:
      ranking: of N images.
      weights: how often each image counts, whole numbers; R columns are R results.

    Returns:
      Shares; NaN where the present images have no weight.
    """
    found, seen = _counts(ranking, weights)
    total = found[-1]
    gained = np.diff(found, axis=0, prepend=0)
    area = (gained * found / np.maximum(seen, 1)).sum(0)
    return np.where(total > 0, area / np.maximum(total, 1), np.nan)


def eleven_points(ranking: Ranking, weights: Float[np.ndarray, "N 1"]) -> float:
    """VOC 2007's: the mean over recalls of 0, 0.1, ..., 1 of the highest precision at that recall or a higher one."""
    found, seen = (counts[:, 0] for counts in _counts(ranking, weights))
    best = np.maximum.accumulate((found / seen)[::-1])[::-1]
    # In whole numbers: 3 of 10 is a recall of 0.3, which 0.3 as a float can miss.
    first = [np.argmax(POINTS * found >= point * found[-1]) for point in range(POINTS + 1)]
    return float(best[first].mean())


def _counts(
    ranking: Ranking, weights: Float[np.ndarray, "N R"]
) -> tuple[Float[np.ndarray, "K R"], Float[np.ndarray, "K R"]]:
    """Present images and all images up to and with each step."""
    present = weights[ranking.rows[ranking.present]]
    found = np.add.reduceat(present, ranking.present_starts, axis=0)
    seen = np.add.reduceat(weights[ranking.rows], ranking.starts, axis=0)
    return np.cumsum(found, axis=0), np.cumsum(seen, axis=0)


def resampled(
    scores: Float[np.ndarray, "N classes"], label: Int8[np.ndarray, "N classes"]
) -> Float[np.ndarray, " R"]:
    """Means over classes of average precision in RESAMPLES resamples of the images.

    The mean of a resample is that of the classes it has. NaN where it has none.
    """
    rankings = [rank(*columns) for columns in zip(scores.T, label.T, strict=True)]
    found = []
    for times in weights(len(label)):
        values = np.stack([average(one, times) for one in rankings if one is not None])
        known = np.isfinite(values)
        total = np.where(known, values, 0).sum(0)
        found.append(np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan))
    return np.concatenate(found)


def weights(images: int) -> Iterator[Float[np.ndarray, "N R"]]:
    """How often each image is in each of RESAMPLES resamples, in blocks of resamples; always the same ones."""
    rng = np.random.default_rng([SEED, images])
    most = max(1, BLOCK // images)
    for start in range(0, RESAMPLES, most):
        count = min(most, RESAMPLES - start)
        drawn = rng.integers(0, images, (count, images)) + images * np.arange(count)[:, None]
        times = np.bincount(drawn.reshape(-1), minlength=count * images).reshape(count, images)
        yield np.ascontiguousarray(times.T, np.float32)


def mean(
    scores: Float[Array, "N classes"], present: Bool[Array, "N classes"], known: Bool[Array, "N classes"]
) -> Float[Array, ""]:
    """The mean over classes of average precision, in JAX: for a choice that a program makes. 0 without any class.

    Args:
      scores: of the images.
      present: which images have each class; they must be known.
      known: which images count for each class.
    """

    def one(score: jax.Array, present: jax.Array, known: jax.Array) -> jax.Array:
        order = jnp.argsort(-score)
        ordered = score[order]
        last = jnp.append(ordered[1:] != ordered[:-1], True)
        end = lax.cummin(jnp.where(last, jnp.arange(len(score)), len(score)), reverse=True)
        found, seen = (jnp.cumsum(x[order].astype(score.dtype))[end] for x in (present, known))
        precision = jnp.where(present[order], found / jnp.maximum(seen, 1), 0)
        return precision.sum() / jnp.maximum(found[-1], 1)

    there = present.any(0)
    values = jax.vmap(one, in_axes=1)(scores, present, known)
    return values.sum() / jnp.maximum(there.sum(), 1).astype(scores.dtype)
