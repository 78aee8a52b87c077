"""What a probe measures, by the form of the labels: accuracy, or mAP where an image has several classes.

A measure turns what classifiers answered into the numbers of `probe.json`, and compares two networks on the same
images. The summary and the runner know no measure by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int8, UInt8

from ssl_single_image.errors import InputError
from ssl_single_image.probes import intervals, precision
from ssl_single_image.probes.kinds import BEYOND

DIGITS = 4
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A way to say how good answers are. All shares are in [0, 1] inside, and percentages where they are written.

    Attributes:
      name: what `probe.json` calls it.
      main: the field of a layer that holds it.
      describe: (answers of all repeats, labels, classes) -> the fields of a layer.
      gain: (answers, those of one or more untrained networks, labels) -> what is gained over them, and its interval.
        All are answers to the same images.
      chance: (labels, classes) -> the percentage that is reached without looking at the images.
    """

    name: str
    main: str
    describe: Callable[[np.ndarray, np.ndarray, int], dict[str, Any]]
    gain: Callable[[np.ndarray, Sequence[np.ndarray], np.ndarray], tuple[float, Interval]]
    chance: Callable[[np.ndarray, int], float]


def of(label: np.ndarray) -> Measure:
    """The measure for labels of a form, see `datasets.labelling`."""
    return MEAN_PRECISION if label.ndim == 2 else ACCURACY


def percent(share: float) -> float:
    """A share as a percentage that is rounded for a file."""
    return round(100 * share, DIGITS)


def _ends(interval: Interval) -> list[float]:
    return [percent(end) for end in interval]


def _over_repeats(by_repeat: Float[np.ndarray, " R"]) -> dict[str, Any]:
    """What several repeats add to a layer."""
    if len(by_repeat) < 2:
        return {}
    return {
        "repeats": [percent(float(one)) for one in by_repeat],
        "over_repeats": _ends(intervals.over_repeats(by_repeat)),
    }


def _accuracy(places: UInt8[np.ndarray, "R N"], label: np.ndarray, classes: int) -> dict[str, Any]:
    """Percentages: "top1" and "top5", means over repeats; the interval of "top1"; "per_class" top-1.

    "interval" is Wilson's over the test images. Several repeats have "over_repeats" too.
    """
    first = places == 0
    by_repeat = first.mean(1)
    share = float(by_repeat.mean())
    return {
        "top1": percent(share),
        "top5": percent(float((places < min(BEYOND, classes)).mean())),
        "interval": _ends(intervals.wilson(share, len(label))),
        "per_class": _by_class(first.mean(0), label, classes),
        **_over_repeats(by_repeat),
    }


def _by_class(hits: Float[np.ndarray, " N"], label: np.ndarray, classes: int) -> list[float | None]:
    """Percent of each class; None where there is no test image of it."""
    counts = np.bincount(label, minlength=classes)
    sums = np.bincount(label, weights=hits, minlength=classes)
    return [
        percent(float(total / count)) if count else None for total, count in zip(sums, counts, strict=True)
    ]


def _accuracy_gain(
    places: UInt8[np.ndarray, "R N"], others: Sequence[UInt8[np.ndarray, "R N"]], label: np.ndarray
) -> tuple[float, Interval]:
    """Hits are averaged over repeats, and over the untrained networks where there are several."""
    del label
    base = np.mean([(other == 0).mean(0) for other in others], axis=0)
    difference = (places == 0).mean(0) - base
    return float(difference.mean()), intervals.paired(difference)


def _most_frequent(label: np.ndarray, classes: int) -> float:
    """The share of the most frequent class: what always naming it reaches. 100 / classes where they are balanced."""
    counts = np.bincount(label, minlength=classes)
    return 100 * float(counts.max()) / float(counts.sum())


def _mean_precision(
    scores: Float[np.ndarray, "R N classes"], label: Int8[np.ndarray, "N classes"], classes: int
) -> dict[str, Any]:
    """Percentages: "mAP" and "mAP11", means over classes and repeats; the interval of "mAP"; "per_class" of "mAP".

    A class that no test image has is None in "per_class" and has no part in the means. "interval" is a bootstrap over
    the test images. Several repeats have "over_repeats" too.
    """
    area, points = _by_repeat_and_class(scores, label)
    known = np.isfinite(area[0])
    by_repeat = area[:, known].mean(1)
    share = float(by_repeat.mean())
    samples = np.mean([precision.resampled(one, label) for one in scores], axis=0)
    return {
        "mAP": percent(share),
        "mAP11": percent(float(points[:, known].mean())),
        "interval": [min(max(end, 0.0), 100.0) for end in _ends(intervals.bootstrap(share, samples))],
        "per_class": [
            percent(float(one)) if there else None for one, there in zip(area.mean(0), known, strict=True)
        ],
        **_over_repeats(by_repeat),
    }


def _by_repeat_and_class(
    scores: Float[np.ndarray, "R N classes"], label: Int8[np.ndarray, "N classes"]
) -> tuple[Float[np.ndarray, "R classes"], Float[np.ndarray, "R classes"]]:
    """Average precision as the area and of eleven points; NaN where no image has the class.

    Raises:
      InputError: no image has any class.
    """
    whole = np.ones((len(label), 1), np.float32)
    area, points = np.full((2, len(scores), label.shape[1]), np.nan)
    for repeat, one in enumerate(scores):
        for number, columns in enumerate(zip(one.T, label.T, strict=True)):
            ranking = precision.rank(*columns)
            if ranking is not None:
                area[repeat, number] = precision.average(ranking, whole)[0]
                points[repeat, number] = precision.eleven_points(ranking, whole)
    if not np.isfinite(area).any():
        raise InputError(f"none of the {len(label)} test images has any class: there is no average precision")
    return area, points


def _mean_precision_gain(
    scores: Float[np.ndarray, "R N classes"],
    others: Sequence[Float[np.ndarray, "R N classes"]],
    label: Int8[np.ndarray, "N classes"],
) -> tuple[float, Interval]:
    """mAP is averaged over repeats, and over the untrained networks where there are several. Resamples are shared."""

    def both(given: np.ndarray) -> tuple[float, np.ndarray]:
        area, _ = _by_repeat_and_class(given, label)
        return float(np.nanmean(area)), np.mean([precision.resampled(one, label) for one in given], axis=0)

    (share, samples), found = both(scores), [both(other) for other in others]
    gained = share - float(np.mean([base for base, _ in found]))
    return gained, intervals.bootstrap(gained, samples - np.mean([base for _, base in found], axis=0))


def _shares(label: Int8[np.ndarray, "N classes"], classes: int) -> float:
    """The mean over classes of their share among the images that count: what equal scores for all images reach."""
    del classes
    shares = [
        (column == precision.PRESENT).sum() / (column != precision.IGNORED).sum()
        for column in label.T
        if (column == precision.PRESENT).any()
    ]
    return 100 * float(np.mean(shares))


ACCURACY = Measure("accuracy", "top1", _accuracy, _accuracy_gain, _most_frequent)
MEAN_PRECISION = Measure("mAP", "mAP", _mean_precision, _mean_precision_gain, _shares)
