"""What a study's folder says of each unit: `rows/NAME/row.json`, which people can read too."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs
from ssl_single_image.experiments.studying.plan import FREE, KIND, Unit
from ssl_single_image.runs import checkpoint, workdir
from ssl_single_image.runs.metrics import TIMINGS, read_metrics

ROWS, FILE = "rows", "row.json"
WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
RESULTS = {
    "probe": "probe.json",
    "finetune": "finetune.json",
    "analyse": "analysis.json",
    "robustness": "probe.json",
    "invariance": "invariance.json",
}
"""Stage -> the file that marks it as complete."""


@dataclasses.dataclass
class Record:
    """What is known of a unit.

    Attributes:
      state: WAITING, WORKING, DONE or FAILED. A driver that was killed leaves WORKING.
      stage: the stage that is under way, or that failed.
      reason: why it failed, in one line.
      seconds: stage -> seconds of work so far, over all attempts.
      recipes: stage -> all that decided what it found.
      crops: seen in training.
      views: seen in training.
      tried: how often work on it began.
    """

    state: str = WAITING
    stage: str = ""
    reason: str = ""
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    recipes: dict[str, Any] = dataclasses.field(default_factory=dict)
    crops: int = 0
    views: int = 0
    tried: int = 0


def read(place: Path, unit: Unit) -> Record:
    """The record of a unit in the study's folder `place`.

    Raises:
      InputError: it can't be read.
    """
    path = folder(place, unit) / FILE
    if not path.exists():
        return Record()
    try:
        return Record(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); remove it, and the row is looked at again"
        ) from error


def write(place: Path, unit: Unit, record: Record) -> None:
    """Writes the record, whole or not at all."""
    workdir.write_whole(folder(place, unit) / FILE, json.dumps(dataclasses.asdict(record), indent=2) + "\n")


def folder(place: Path, unit: Unit) -> Path:
    """Where the record is, and the lock of the driver that works on the unit."""
    return place / ROWS / unit.name


def pending(place: Path, unit: Unit, record: Record) -> list[str]:
    """Stages that are still to be done. Pretraining is one where a later stage, or nothing else, needs its checkpoint.

    Raises:
      InputError: a stage was done by another recipe.
    """
    later = [stage for stage in unit.measured if not _done(place, unit, record, stage)]
    needs_run = unit.row.pretrain and (later or not unit.measured) and not trained(place, unit)
    return [*(["pretrain"] if needs_run else []), *later]


def trained(place: Path, unit: Unit) -> bool:
    """Whether the last checkpoint of a unit's training is there."""
    found = unit.folder(place, "pretrain") / checkpoint.CHECKPOINTS
    return found.is_dir() and unit.pretraining.steps in checkpoint.finished(found)


def _done(place: Path, unit: Unit, record: Record, stage: str) -> bool:
    if stage not in record.recipes or not (unit.folder(place, stage) / RESULTS[stage]).exists():
        return False
    changed = _differences(record.recipes[stage], unit.recipe(stage))
    if changed:
        listed = "; ".join(
            f"{name} was {json.dumps(a)}, is {json.dumps(b)}" for name, (a, b) in changed.items()
        )
        raise InputError(
            f"row {unit.name}: {stage} was done by another recipe ({listed}); give another workdir, or remove"
            f" {folder(place, unit)} and the row's other folders"
        )
    return True


def _differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Fields in which two recipes differ; one that an older recipe lacks counts with its default."""
    whole = dict(before)
    for part in before.keys() & FREE.keys():
        full = configs.completed(KIND.get(part, part), before[part])
        whole[part] = {name: value for name, value in full.items() if name not in FREE[part]}
    return workdir.differences(whole, json.loads(json.dumps(now)))


@contextlib.contextmanager
def timed(record: Record, stage: str) -> Iterator[None]:
    """Adds the time that the body takes to a stage's, also where it fails."""
    start = time.perf_counter()
    try:
        yield
    finally:
        record.seconds[stage] = round(record.seconds.get(stage, 0.0) + time.perf_counter() - start, 1)


def views_a_second(place: Path, unit: Unit) -> float | None:
    """How fast its training is, by its own clock; None where it is not known."""
    try:
        rows = read_metrics(unit.folder(place, "pretrain") / TIMINGS)
    except (OSError, InputError):
        return None
    rates = sorted(row["views_per_second"] for row in rows if "views_per_second" in row)
    return rates[len(rates) // 2] if rates else None
