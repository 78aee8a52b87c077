"""Tables of a study beyond accuracy: errors after shifts, and what layers ignore."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import study_lines
from ssl_single_image.analysis.study_lines import Line, Score
from ssl_single_image.augment import shifts
from ssl_single_image.experiments.studying import gathering
from ssl_single_image.experiments.studying.plan import Unit

ALL = "all"
"""The augmentation that stands for all at once."""
Scores = Mapping[str, Score]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table whose numbers are no accuracies of layers.

    Attributes:
      name: of its file.
      heading: what it shows.
      reading: how to read it, in sentences.
      lines: with scores by column in place of layers.
      lowest: whether the lowest number of a column is the best.
    """

    name: str
    heading: str
    reading: str
    lines: Sequence[Line]
    lowest: bool = False


READING = {
    "robustness": "mCE in percent: the error after each shift over that of the untrained network of the same"
    " architecture, averaged over all shifts and severities. Below 100 is better than untrained.",
    "shifts": "Percent of shifted test images, by classifiers of clean images, averaged over the severities and shifts"
    " of each kind.",
    "invariance": "Normalised variance in percent, under all augmentations at once: 0 for a layer that ignores them,"
    " about 100 where they change features as much as another image does.",
    "within_image": "Percent of the variance of features that lies between views of one image, under all augmentations"
    " at once; the rest lies between images.",
}
"""How to read each table, in sentences."""


def tables(place: Path, every: Sequence[Unit]) -> list[Table]:
    """Those of the stages that any row has."""

    def table(name: str, heading: str, stage: str, scores: Callable[..., Scores], lowest: bool) -> Table:
        reading = f"{READING[name]} ± is half of the 95 % interval over images."
        return Table(name, heading, reading, _lines(place, every, stage, scores), lowest)

    changed, within = (
        "How much augmentations change a layer",
        "Which share of the variance lies within an image",
    )
    errors, after = (
        "Errors after shifts, relative to the untrained network",
        "Accuracy after shifts, middle layer",
    )
    found = [
        table("robustness", errors, "robustness", _corruption_errors, True),
        table("shifts", after, "robustness", _after_shifts, False),
        table("invariance", changed, "invariance", _variances, True),
        table("within_image", within, "invariance", _within, True),
    ]
    return [one for one in found if one.lines]


def _lines(
    place: Path, every: Sequence[Unit], stage: str, scores: Callable[[Mapping[str, Any]], Scores]
) -> list[Line]:
    """A line for each encoder whose results of the stage have scores; several seeds are averaged."""
    found = []
    for units in gathering.by_row(every):
        results = list(gathering.results_of(place, units, stage).values())
        for number, encoder in enumerate(units[0].row.encoders):
            by_seed = [scores(_result(each, number)) for each in results]
            by_seed = [each for each in by_seed if each]
            if by_seed:
                merged = {
                    column: study_lines.of_seeds(
                        [each[column].value for each in by_seed], max(each[column].half for each in by_seed)
                    )
                    for column in by_seed[0]
                }
                found.append(gathering.line_of(units[0], encoder, len(by_seed), merged, None))
    return found


def _result(found: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """What a probe or an analysis found of one of the encoders."""
    results: Sequence[Mapping[str, Any]] = found["results" if "results" in found else "encoders"]
    return results[number]


def _corruption_errors(result: Mapping[str, Any]) -> Scores:
    return {
        layer: _score(values["mCE"], values["mCE_interval"])
        for layer, values in result["layers"].items()
        if values.get("mCE_interval")
    }


def _after_shifts(result: Mapping[str, Any]) -> Scores:
    layers = list(result["layers"].values())
    middle = layers[len(layers) // 2]
    found = {"clean": _score(middle["top1"], middle["interval"])}
    for family, names in shifts.FAMILIES.items():
        cells = [
            _score(one["top1"], one["interval"])
            for name in names
            for one in middle["shifts"].get(name, {}).values()
        ]
        if cells:
            found[family] = study_lines.mean(cells)
    return found


def _variances(encoder: Mapping[str, Any]) -> Scores:
    return {
        layer: _score(100 * one["variance"], [100 * end for end in one["interval"]])
        for layer, one in encoder["invariance"][ALL].items()
        if one
    }


def _within(encoder: Mapping[str, Any]) -> Scores:
    part = "within_image"
    return {
        layer: _score(100 * one[part], [100 * end for end in one["intervals"][part]])
        for layer, one in encoder["shares"][ALL].items()
        if one
    }


def _score(value: float, interval: Sequence[float]) -> Score:
    return Score(value, (interval[1] - interval[0]) / 2)
