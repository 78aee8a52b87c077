"""Results of a study: a line for each encoder of each row, its accuracies as means over seeds, with intervals."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from ssl_single_image.analysis import tables

HALF = (
    "± is half of the 95 % interval over test images, or half of the range over seeds of pretraining where that is"
    " wider."
)


class Score(NamedTuple):
    """An accuracy, or a difference of two, in percent.

    Attributes:
      value: the mean over seeds.
      half: half of its interval, see HALF.
    """

    value: float
    half: float

    @property
    def low(self) -> float:
        return self.value - self.half

    @property
    def high(self) -> float:
        return self.value + self.half

    def __str__(self) -> str:
        return f"{self.value:.1f} ±{self.half:.1f}"


@dataclasses.dataclass(frozen=True)
class Line:
    """What was measured of one encoder of one row.

    Attributes:
      row: name of the row.
      encoder: name of the run's encoder, "" for its main one.
      method: what tables call the way of training.
      images: what it was trained on.
      tables: which tables show it.
      seeds: how many seeds of pretraining there are.
      crops: seen in training.
      views: images that passed through the encoder in training.
      layers: layer -> score, by depth; empty where it was not probed.
      finetuned: accuracy of a network trained behind its first layers; None where there is none.
      untrained: key of the line of the untrained network of its architecture; "" for none.
    """

    row: str
    encoder: str
    method: str
    images: str
    tables: tuple[str, ...]
    seeds: int
    crops: int
    views: int
    layers: Mapping[str, Score]
    finetuned: Score | None = None
    untrained: str = ""

    @property
    def key(self) -> str:
        """Its name: no other line has it."""
        return f"{self.row}#{self.encoder}" if self.encoder else self.row

    @property
    def title(self) -> str:
        """The method, with the encoder where that is not the main one."""
        return f"{self.method}, {self.encoder}" if self.encoder else self.method


def layer_scores(results: Sequence[Mapping[str, Any]], main: str) -> dict[str, Score]:
    """Scores of all layers, from the results (as in `probe.json`) of one encoder, one a seed; {} of none.

    `main` is the field of the accuracy, or of what stands for it.
    """
    layers = results[0]["layers"] if results else ()
    return {layer: score([result["layers"][layer] for result in results], main) for layer in layers}


def score(values: Sequence[Mapping[str, Any]], main: str) -> Score:
    """From one entry a seed: `main`, its "interval" and perhaps "over_repeats"."""
    return of_seeds(
        [value[main] for value in values], max(tables.half_width(value) or 0.0 for value in values)
    )


def of_seeds(values: Sequence[float], half: float) -> Score:
    """The mean of a value a seed; `half` is that of the interval of each."""
    return Score(statistics.mean(values), max(half, (max(values) - min(values)) / 2))


def difference(a: Score, b: Score) -> Score:
    """a less b. Its interval takes the two as independent, which is wide: both are of the same test images."""
    return Score(a.value - b.value, math.hypot(a.half, b.half))


def mean(scores: Sequence[Score]) -> Score:
    """Of several layers. Their errors are taken as one and the same, so no width is lost."""
    return Score(statistics.mean(s.value for s in scores), statistics.mean(s.half for s in scores))


def markdown(lines: Sequence[Line], *, lowest: bool = False) -> str:
    """A Markdown table of lines, the best of each column in bold: the highest number, or the lowest."""
    header, rows = table(lines, bold="**", lowest=lowest)
    align = ["left", "left", *["right"] * (len(header) - 2)]
    return tabulate(rows, header, tablefmt="pipe", colalign=align, disable_numparse=True) + "\n"


def table(
    lines: Sequence[Line], bold: str = "", *, lowest: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Header and cells; `bold` goes before and after the best of each column."""
    names, finetuned = columns(lines), any(line.finetuned is not None for line in lines)
    header = ["method", "trained on", "seeds", "crops", "views", *names]
    scores = [_padded(line, len(names), finetuned) for line in lines]
    best = [
        (min if lowest else max)((one.value for one in column if one is not None), default=0.0)
        for column in zip(*scores, strict=True)
    ]
    rows = [
        [line.title, line.images, str(line.seeds), f"{line.crops:,}", f"{line.views:,}"]
        + [_cell(one, top, bold if len(lines) > 1 else "") for one, top in zip(found, best, strict=True)]
        for line, found in zip(lines, scores, strict=True)
    ]
    return header + (["behind two frozen layers"] if finetuned else []), rows


def columns(lines: Sequence[Line]) -> list[str]:
    """Names of the columns: the layers of the deepest encoder. Layers of others stand below those of the same depth."""
    deepest: Sequence[str] = max((list(line.layers) for line in lines), key=len, default=[])
    return list(deepest)


def to_csv(lines: Iterable[Line]) -> str:
    """One line a layer of an encoder, and one of layer "finetuned" where a network was trained behind it."""
    out = io.StringIO()
    names = [
        "row",
        "encoder",
        "method",
        "images",
        "tables",
        "seeds",
        "crops",
        "views",
        "layer",
        "value",
        "half",
    ]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    for line in lines:
        plain = {name: getattr(line, name) for name in names[:8]} | {"tables": " ".join(line.tables)}
        scores = dict(line.layers) | ({"finetuned": line.finetuned} if line.finetuned else {})
        for layer, found in scores.items():
            writer.writerow(
                plain | {"layer": layer, "value": round(found.value, 3), "half": round(found.half, 3)}
            )
    return out.getvalue()


def _padded(line: Line, layers: int, finetuned: bool) -> list[Score | None]:
    """Scores in the columns of a table, None where a line has none."""
    scores: list[Score | None] = [*line.layers.values()]
    scores += [None] * (layers - len(scores))
    return scores + ([line.finetuned] if finetuned else [])


def _cell(found: Score | None, best: float, bold: str) -> str:
    if found is None:
        return ""
    mark = bold if round(found.value, 1) == round(best, 1) else ""
    return f"{mark}{found.value:.1f}{mark} ±{found.half:.1f}"
