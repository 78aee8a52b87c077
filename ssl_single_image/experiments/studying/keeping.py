"""What is small of a study, copied: results, configs and thinned metrics, but no checkpoint and no picture."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from ssl_single_image.experiments.studying import state
from ssl_single_image.experiments.studying.plan import Unit
from ssl_single_image.runs import workdir
from ssl_single_image.runs.metrics import METRICS, TIMINGS, read_metrics

LINES = 20
"""Lines that are kept of a file of metrics: spread evenly, and the last."""
THINNED = (METRICS, TIMINGS)


def copy(place: Path, target: Path, every: Sequence[Unit]) -> Path:
    """Copies the small files of all units that are done, in the same layout.

    Args:
      place: the study's folder.
      target: made if it is not there; files of earlier copies are replaced.
      every: the units.
    """
    workdir.make(target)
    for unit in every:
        record = state.read(place, unit)
        if record.state == state.DONE:
            _copy(state.folder(place, unit) / state.FILE, target / state.ROWS / unit.name / state.FILE)
            for stage in ("pretrain", *unit.measured):
                _copy_stage(
                    unit.folder(place, stage), unit.folder(target, stage), state.RESULTS.get(stage, "")
                )
    return target


def _copy_stage(folder: Path, target: Path, result: str) -> None:
    """Copies the config and what marks a stage as complete; of training, which has no such file, the metrics."""
    for name in (workdir.CONFIG, result):
        if name and (folder / name).exists():
            _copy(folder / name, target / name)
    for name in () if result else THINNED:
        if (folder / name).exists():
            rows = read_metrics(folder / name)
            kept = [*rows[:: -(-len(rows) // LINES)], rows[-1]]
            lines = {json.dumps(row): None for row in kept}
            workdir.write_whole(target / name, "\n".join(lines) + "\n")


def _copy(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
