"""The words and the fields of what a probe measured: accuracy, or mAP where images have several classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Measure:
    """How tables, figures and sentences speak of a measure.

    Attributes:
      main: the field of a layer that has the interval.
      second: another field, with a table of its own.
      names: field -> what it is called where it stands alone.
      word: within a sentence: "the highest ... is".
      by_class: heads the values by class, a noun.
      of_class: what is measured of one class, short.
      levels: classes from which on the table of `second` says something.
    """

    main: str
    second: str
    names: Mapping[str, str]
    word: str
    by_class: str
    of_class: str
    levels: int

    @property
    def axis(self) -> str:
        """Label of an axis of it."""
        return f"{self.names[self.main]}, %"

    def fields(self, classes: int) -> list[str]:
        """The fields that have tables."""
        return [self.main, self.second] if classes >= self.levels else [self.main]

    def heading(self, field: str) -> str:
        """What a field is called at the beginning of a line."""
        name = self.names[field]
        return name[:1].upper() + name[1:] if name.endswith("accuracy") else name


MEASURES = {
    "accuracy": Measure(
        main="top1",
        second="top5",
        names={"top1": "top-1 accuracy", "top5": "top-5 accuracy"},
        word="accuracy",
        by_class="Accuracy",
        of_class="top-1",
        levels=6,
    ),
    "mAP": Measure(
        main="mAP",
        second="mAP11",
        names={"mAP": "mAP", "mAP11": "11-point mAP"},
        word="mAP",
        by_class="Average precision",
        of_class="AP",
        levels=0,
    ),
}
"""By `measure` of `probe.json`."""
DEFAULT = "accuracy"
"""Of files that name none, which are older."""


def name(probe: Mapping[str, Any]) -> str:
    """What the results of a probe were measured by."""
    return str(probe.get("measure", DEFAULT))


def of(probe: Mapping[str, Any]) -> Measure:
    """The measure of a probe; what `checks.read_probe` has let through has one that is known."""
    return MEASURES[name(probe)]


def left_out(probe: Mapping[str, Any]) -> list[str]:
    """Classes that no test image has, and that are therefore no part of an mAP."""
    if name(probe) != "mAP":
        return []
    layers = [values for result in probe["results"] for values in result["layers"].values()]
    by_class: list[float | None] = next((v["per_class"] for v in layers if v.get("per_class")), [])
    classes = probe.get("data", {}).get("classes", [])
    names = classes if len(classes) == len(by_class) else [f"class {n}" for n in range(len(by_class))]
    return [one for one, value in zip(names, by_class, strict=True) if value is None]
