"""A study: every row of the paper's tables that a machine can train, probed, judged, and reported, by one call.

`settings` says what a study is, `plan` what is done for each row, `driver` does it, `state` keeps what is done on disk,
`gathering` and `beyond` read what was found, and `outcome` makes tables, claims and the report of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import logging

from ssl_single_image.analysis import tables
from ssl_single_image.datasets import sources
from ssl_single_image.errors import Halted, InputError
from ssl_single_image.experiments import analyses, configs
from ssl_single_image.experiments.pretraining import choose_devices
from ssl_single_image.experiments.results import Page
from ssl_single_image.experiments.study_settings import RowSpec, StudyConfig
from ssl_single_image.experiments.studying import keeping, outcome, plan, state
from ssl_single_image.experiments.studying.driver import Driver
from ssl_single_image.experiments.studying.estimate import Estimate, Estimator
from ssl_single_image.experiments.studying.plan import Unit
from ssl_single_image.runs import places, workdir

__all__ = ["Estimate", "Planned", "RowSpec", "StudyConfig", "Unit", "keep", "planned", "study"]

Planned = list[tuple[Unit, list[tuple[str, Estimate]]]]
"""Units, each with the stages that are still to be done and what they will take."""


def study(
    config: Any,
    folder: str | os.PathLike[str],
    *,
    rows: Sequence[str] = (),
    devices: int = 0,
    command: str = "",
) -> Page:
    """Does all rows of a study that are not done yet, and reports on them.

    It may be killed at any moment and called again. Several processes may work on one study, on one machine or on
    several that share the folder: each row is done by one of them. A row that fails is recorded with its reason, and
    the others go on; the next call tries it again.

    Args:
      config: a `StudyConfig`, a mapping of its fields, or the name of a config ("cifar10").
      folder: gets a folder for each stage of each row, `study.md`, `claims.md`, tables, and `report/index.html`.
      rows: patterns of names of rows, such as "rotnet-*"; (): all.
      devices: for training; 0: all.
      command: the shell command that goes on with the study, for its pages; "": one is made.

    Returns:
      The report.

    Raises:
      InputError: a bad field or pattern, a source that can't be read, a row that was done by another recipe, or a
        folder that holds something else.
      Halted: rows failed, with status 1; or a signal came, and the next call resumes what was under way.
    """
    settings = _settings(config)
    every, chosen = plan.units(settings), plan.units(settings, rows)
    if not chosen:
        raise InputError(
            f"no row is left: {', '.join(plan.left_out(settings))} need a source that is not given"
        )
    choose_devices(devices)  # refuses a number that there is not
    with places.working(folder) as place:
        driver = Driver(place, chosen, every, devices)
        _check(place, chosen)
        _claim(place, settings, command or _made(folder))
        driver.run()
        page = conclude(settings, place, every)
    if driver.failed:
        told = tables.listed([f"{name} ({reason})" for name, reason in driver.failed.items()], 3)
        raise Halted(f"{len(driver.failed)} of {len(chosen)} rows failed, the others are complete: {told}", 1)
    logging.info("complete: %s", page)
    return page


def planned(config: Any, folder: str | os.PathLike[str], rows: Sequence[str] = ()) -> Planned:
    """What `study` would do, and how long it would take; all that it would refuse is refused, and nothing is written.

    Raises:
      InputError: as `study`.
    """
    settings = _settings(config)
    place = places.brought(folder, must=False)
    every, chosen = plan.units(settings), plan.units(settings, rows)
    _check(place, chosen)
    estimator = Estimator(place, every)
    found: Planned = []
    for unit in chosen:
        stages = state.pending(place, unit, state.read(place, unit))
        found.append((unit, [(stage, estimator.of(unit, stage)) for stage in stages]))
    return found


def keep(config: Any, folder: str | os.PathLike[str], target: str | os.PathLike[str]) -> Path:
    """Copies what is small of every row that is done: enough for tables, and to go on elsewhere without doing it again.

    Args:
      config: of the study.
      folder: its folder.
      target: gets the same files, without checkpoints and pictures, and with fewer lines of metrics.

    Returns:
      The target.
    """
    settings = _settings(config)
    return keeping.copy(places.brought(folder), Path(os.path.expanduser(target)), plan.units(settings))


def conclude(settings: StudyConfig, place: Path, every: Sequence[Unit]) -> Page:
    """Writes tables, claims and the report of what is done; where another driver does so, it is waited for."""
    while True:
        try:
            with workdir.held(place, wait=False):
                outcome.write(place, settings, every, str(workdir.read(place)[configs.STUDY_COMMAND]))
                return outcome.page(place, every)
        except workdir.InUse:
            time.sleep(1.0)


def _settings(config: Any) -> StudyConfig:
    read: StudyConfig = configs.read(
        "study", configs.load("study", config) if isinstance(config, str) else config
    )
    return read


def _check(place: Path, chosen: Sequence[Unit]) -> None:
    """Refuses what would make rows fail later: bad fields, sources that are not there, other recipes."""
    used: dict[str, str] = {}
    for unit in chosen:
        if "pretrain" in state.pending(place, unit, state.read(place, unit)) and unit.row.source:
            used.setdefault(unit.pretraining.source, unit.row.source)
        _ = (unit.probing, unit.finetuning)
        if "robustness" in unit.measured:
            _ = unit.robustness
        if "invariance" in unit.measured:
            analyses.read("invariance", unit.study.invariance)
    for source, name in used.items():
        try:
            sources.source_files(source)
        except InputError as error:
            raise InputError(f"sources.{name}: {error}") from error


def _claim(place: Path, settings: StudyConfig, command: str) -> None:
    """Writes the study's config.json.

    Raises:
      InputError: the folder holds something else.
    """
    workdir.make(place)
    path = place / workdir.CONFIG
    if path.exists() and configs.STUDY_COMMAND not in workdir.read(place):
        raise InputError(f"workdir {place}: holds another kind of run; give the study a folder of its own")
    workdir.write_whole(
        path, json.dumps(settings.to_config() | {configs.STUDY_COMMAND: command}, indent=2) + "\n"
    )


def _made(folder: str | os.PathLike[str]) -> str:
    return f"ssl-single-image study --config={folder}/{workdir.CONFIG} --workdir={folder}"
