"""How far workdirs are: which are worked on, how fast, and how long they will take."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ssl_single_image.errors import InputError
from ssl_single_image.runs import checkpoint, places, workdir
from ssl_single_image.runs.metrics import METRICS, TIMINGS, read_metrics

COMPLETE, RUNNING, STOPPED = "complete", "running", "not complete"
RESULTS = ("probe.json", "finetune.json", "analysis.json", "invariance.json", "landmarks.json")
"""Files that mark a folder without steps of its own as complete."""
ROWS = "rows/*/row.json"
"""Records of a study's rows."""


@dataclasses.dataclass(frozen=True)
class Status:
    """How far a workdir is.

    Attributes:
      folder: as it was given.
      state: COMPLETE, RUNNING or STOPPED.
      by: the process that works on it, "" for none.
      progress: steps or rows that are done, of all.
      rate: views a second at the last log; None if there is no log.
      left: seconds to its end at the rate of this process's logs; None where that can't be told.
      silent: seconds since it last wrote metrics; None if it never did.
    """

    folder: str
    state: str
    by: str = ""
    progress: str = ""
    rate: float | None = None
    left: float | None = None
    silent: float | None = None


def status(folders: Sequence[str | os.PathLike[str]]) -> StatusTable:
    """How far each workdir is, by the files in it. Nothing is written, and no run is disturbed.

    Raises:
      InputError: a folder is no workdir.
    """
    return StatusTable(tuple(_status(str(folder)) for folder in folders))


@dataclasses.dataclass(frozen=True)
class StatusTable:
    """The status of some workdirs; it prints as a table."""

    rows: tuple[Status, ...]

    def __str__(self) -> str:
        header = ("workdir", "state", "by", "done", "views/s", "time left", "last sign")
        cells = [
            [
                row.folder,
                row.state,
                row.by,
                row.progress,
                "" if row.rate is None else f"{row.rate:,.0f}",
                _duration(row.left),
                "" if row.silent is None else f"{_duration(row.silent)} ago",
            ]
            for row in self.rows
        ]
        align = ("left", "left", "left", "right", "right", "right", "right")
        return tabulate(cells, header, colalign=align, disable_numparse=True)


def _duration(seconds: float | None) -> str:
    return "" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def _status(name: str) -> Status:
    place = places.brought(name)
    config = workdir.read(place)
    holder = workdir.holder(place)
    by = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}" if holder else ""
    other = RUNNING if holder else STOPPED
    records = [_record(path) for path in sorted(place.glob(ROWS))]
    if "rows" in config or records:
        return _study(name, records, len(config.get("rows", ())))
    if "steps" in config and "objective" in config:
        return _run(name, place, int(config["steps"]), by, other)
    done = any((place / result).exists() for result in RESULTS)
    return Status(name, COMPLETE if done and not holder else other, by)


def _record(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read ({error})") from error


def _study(name: str, records: Sequence[dict[str, Any]], rows: int) -> Status:
    """Of a study. It has more rows than its config where some have several seeds."""
    counts = Counter(str(record.get("state", "waiting")) for record in records)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    working = bool(counts["working"])
    state = RUNNING if working else STOPPED if set(counts) - {"done"} or len(records) < rows else COMPLETE
    return Status(name, state, progress=told or "0 rows")


def _run(name: str, place: Path, steps: int, by: str, other: str) -> Status:
    """Of a run that trains."""
    saved = checkpoint.finished(place / checkpoint.CHECKPOINTS)
    logged = _lines(place / METRICS)
    step = max(int(logged[-1]["step"]) if logged else 0, saved[-1] if saved else 0)
    done = bool(saved) and saved[-1] >= steps
    state = COMPLETE if done and not by else other
    timings = [line for line in _lines(place / TIMINGS) if "views_per_second" in line]
    rate = timings[-1]["views_per_second"] if timings else None
    left = (steps - step) * pace if by and (pace := _pace(timings)) is not None else None
    silent = max(0.0, time.time() - (place / METRICS).stat().st_mtime) if logged else None
    return Status(name, state, by, f"{step:,} of {steps:,} steps", rate, left, silent)


def _lines(path: Path) -> list[dict[str, float]]:
    try:
        return read_metrics(path) if path.exists() else []
    except InputError:  # there are none yet
        return []


def _pace(timings: Sequence[dict[str, float]]) -> float | None:
    """Seconds a step, evaluations and checkpoints included, since the newest process began."""
    newest: list[dict[str, float]] = []
    for line in reversed(timings):
        if "seconds" in line and (not newest or line["seconds"] < newest[-1]["seconds"]):
            newest.append(line)
        else:
            break
    if len(newest) < 2:
        return None
    last, first = newest[0], newest[-1]
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])
