"""From answers to numbers: accuracies with their intervals, and gains over an untrained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from ssl_single_image.probes import intervals
from ssl_single_image.probes.kinds import BEYOND, Answers

DIGITS = 4


def layers(answers: Answers, classes: int) -> dict[str, dict[str, Any]]:
    """Layer -> what `probe.json` says of it; of several settings the last one stands for the layer."""
    *_, last = answers.places
    found: dict[str, dict[str, Any]] = {}
    for layer in answers.places[last]:
        by_setting = {
            setting: _accuracy(of_layers[layer], answers.label, classes)
            for setting, of_layers in answers.places.items()
        }
        found[layer] = by_setting[last] | {"features": answers.features[layer]}
        found[layer] |= answers.chosen.get(layer, {})
        if len(by_setting) > 1:
            found[layer]["settings"] = by_setting
    return found


def _accuracy(places: UInt8[np.ndarray, "R N"], label: np.ndarray, classes: int) -> dict[str, Any]:
    """Percentages: "top1" and "top5", means over repeats; the interval of "top1"; "per_class" top-1.

    "interval" is Wilson's over the test images. Several repeats have "over_repeats" too.
    """
    first = places == 0
    by_repeat = first.mean(1)
    share = float(by_repeat.mean())
    found = {
        "top1": _percent(share),
        "top5": _percent(float((places < min(BEYOND, classes)).mean())),
        "interval": [_percent(end) for end in intervals.wilson(share, len(label))],
        "per_class": _by_class(first.mean(0), label, classes),
    }
    if len(places) > 1:
        found["repeats"] = [_percent(float(one)) for one in by_repeat]
        found["over_repeats"] = [_percent(end) for end in intervals.over_repeats(by_repeat)]
    return found


def _by_class(hits: Float[np.ndarray, " N"], label: np.ndarray, classes: int) -> list[float | None]:
    """Percent of each class; None where there is no test image of it."""
    counts = np.bincount(label, minlength=classes)
    sums = np.bincount(label, weights=hits, minlength=classes)
    return [
        _percent(float(total / count)) if count else None for total, count in zip(sums, counts, strict=True)
    ]


def gains(answers: Answers, untrained: Sequence[Answers]) -> dict[str, dict[str, Any]]:
    """Layer -> "points" of top-1 above untrained networks of the same spec, and their paired interval.

    Hits are averaged over repeats, and over the untrained networks where there are several.
    """
    *_, last = answers.places
    found = {}
    for layer, places in answers.places[last].items():
        base = np.mean([_hits(other.places[last], layer) for other in untrained], axis=0)
        difference = (places == 0).mean(0) - base
        found[layer] = {
            "points": _percent(float(difference.mean())),
            "interval": [_percent(end) for end in intervals.paired(difference)],
        }
    return found


def _hits(of_layers: Mapping[str, np.ndarray], layer: str) -> Float[np.ndarray, " N"]:
    return (of_layers[layer] == 0).mean(0)


def _percent(share: float) -> float:
    return round(100 * share, DIGITS)
