"""Lines of a study's tables from the results of its units."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import measured, study_lines
from ssl_single_image.analysis.study_lines import Line
from ssl_single_image.experiments.studying import state
from ssl_single_image.experiments.studying.plan import Unit


def gather(place: Path, every: Sequence[Unit]) -> list[Line]:
    """A line for each encoder of each row that was measured."""
    return [line for of_row in by_row(every) for line in _of_row(place, of_row)]


def by_row(every: Sequence[Unit]) -> list[list[Unit]]:
    """The units of each row."""
    rows: dict[str, list[Unit]] = {}
    for unit in every:
        rows.setdefault(unit.row.name, []).append(unit)
    return list(rows.values())


def _of_row(place: Path, units: Sequence[Unit]) -> list[Line]:
    probed = results_of(place, units, "probe")
    trained = results_of(place, units, "finetune")
    finetuned = None
    if trained:
        found = [one["results"][0] for one in trained.values()]
        half = max((one["high"] - one["low"]) / 2 for one in found)
        finetuned = study_lines.of_seeds([one["accuracy"] for one in found], half)
    lines = []
    for place_of, encoder in enumerate(units[0].row.encoders):
        results = [one["results"][place_of] for one in probed.values()]
        main = next((measured.of(one).main for one in probed.values()), "")
        behind = finetuned if encoder == units[0].row.frozen else None
        if results or behind:
            known = probed or trained
            lines.append(
                line_of(units[0], encoder, len(known), study_lines.layer_scores(results, main), behind)
            )
    return lines


def line_of(
    unit: Unit,
    encoder: str,
    seeds: int,
    layers: Mapping[str, study_lines.Score],
    behind: study_lines.Score | None,
) -> Line:
    row = unit.row
    untrained = dict(zip(row.encoders, row.untrained, strict=False)).get(encoder, "")
    seen = (seeds, unit.crops, unit.views)
    return Line(row.name, encoder, row.method, row.images, row.tables, *seen, layers, behind, untrained)


def results_of(place: Path, units: Sequence[Unit], stage: str) -> dict[str, dict[str, Any]]:
    """Unit -> the results of a stage, of those where it is complete."""
    return {
        unit.name: json.loads((unit.folder(place, stage) / state.RESULTS[stage]).read_text())
        for unit in units
        if stage in unit.measured and stage not in state.pending(place, unit, state.read(place, unit))
    }
