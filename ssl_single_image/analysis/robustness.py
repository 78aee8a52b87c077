"""What robustness probes measured, as tables: errors relative to the untrained network, accuracy after each shift."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

Probe = Mapping[str, Any]
"""What `probe.json` holds."""
CLEAN = "clean"
"""Names the row of images that are not shifted."""
TOLD = "± half of the 95 % interval"
SUMMARIES = {"mCE": "mCE", "relative_mCE": "relative mCE"}
"""Field of a layer -> what it is called."""
ACCURACIES = {"shifts": "", "retrained": ", classifiers trained on images of the same shift and severity"}
"""Field of a layer -> what a caption says beside what was measured."""


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers by layer.

    Attributes:
      caption: what they are, no sentence and without a full stop.
      header: names of the columns.
      rows: texts and whole numbers that name the row, then a number or None a layer.
      names: how many columns name the row.
      halves: for each row, half of the 95 % interval of each number, or None.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    names: int
    halves: Sequence[Sequence[float | None]] = ()


def tables(probe: Probe, layers: Sequence[str]) -> list[Table]:
    """Relative errors of all results, then accuracies by shift, a table a result; none of a probe without shifts."""
    found = []
    for field, name in SUMMARIES.items():
        measured = [
            result
            for result in probe["results"]
            if any(values.get(field) is not None for values in result["layers"].values())
        ]
        rows = [
            [result["checkpoint"], result["step"], *(of.get(field) for of in _of_layers(result, layers))]
            for result in measured
        ]
        halves = [[half(of, field) for of in _of_layers(result, layers)] for result in measured]
        if rows:
            caption = (
                f"{name}, %: 100 is the untrained network of the same encoder spec, lower is better, {TOLD}"
            )
            found.append(Table(caption, ["checkpoint", "step", *layers], rows, 2, halves))
    for result in probe["results"]:
        for field, how in ACCURACIES.items():
            rows = by_shift(result, layers, field)
            if rows:
                caption = f"{result['checkpoint']}: top-1 accuracy, % ({severities(result)}){how}"
                found.append(Table(caption, ["shift", *layers], rows, 1))
    return found


def half(values: Mapping[str, Any], field: str) -> float | None:
    """Half of the 95 % interval of a summary of a layer; None where none is known."""
    ends = values.get(f"{field}_interval")
    return (ends[1] - ends[0]) / 2 if ends else None


def _of_layers(result: Mapping[str, Any], layers: Sequence[str]) -> list[Mapping[str, Any]]:
    return [result["layers"].get(layer, {}) for layer in layers]


def by_shift(result: Mapping[str, Any], layers: Sequence[str], field: str = "shifts") -> list[list[Any]]:
    """Rows of a shift and its accuracies by layer, means over severities; those of clean images come first."""
    values = _of_layers(result, layers)
    names = list(dict.fromkeys(name for one in values for name in one.get(field, {})))
    if not names:
        return []
    shifted = [[name, *(_mean(one.get(field, {}).get(name)) for one in values)] for name in names]
    return [[CLEAN, *(one.get("top1") for one in values)], *shifted]


def severities(result: Mapping[str, Any]) -> str:
    """Over which severities accuracies are averaged, in words."""
    found = {
        severity: None
        for values in result["layers"].values()
        for by_severity in values.get("shifts", {}).values()
        for severity in by_severity
    }
    names = list(found)
    if len(names) == 1:
        return f"severity {names[0]}"
    whole = len(names) > 2 and int(names[-1]) - int(names[0]) == len(names) - 1
    return f"mean over severities {f'{names[0]} to {names[-1]}' if whole else ', '.join(names)}"


def _mean(by_severity: Mapping[str, Mapping[str, float]] | None) -> float | None:
    if not by_severity:
        return None
    return sum(one["top1"] for one in by_severity.values()) / len(by_severity)


def markdown(probe: Probe, layers: Sequence[str]) -> str:
    """All tables as Markdown; "" of a probe without shifts."""
    return "\n".join(_markdown(table) for table in tables(probe, layers))


def _markdown(table: Table) -> str:
    rows = []
    for row, halves in zip(
        table.rows, table.halves or [[None] * len(table.header)] * len(table.rows), strict=True
    ):
        cells = [text(*pair) for pair in zip(row[table.names :], halves, strict=False)]
        rows.append([f"`{row[0]}`", *(f"{name:,}" for name in row[1 : table.names]), *cells])
    align = ["left", *["right"] * (len(table.header) - 1)]
    drawn = tabulate(rows, table.header, tablefmt="pipe", colalign=align, disable_numparse=True)
    return f"{table.caption}\n\n{drawn}\n"


def text(value: float | None, half: float | None = None) -> str:
    """A number of a table, with half of its interval where that is known."""
    if value is None:
        return ""
    return f"{value:.1f}" if half is None else f"{value:.1f} ±{half:.1f}"
