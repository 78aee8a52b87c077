"""Does what is left of a study: one unit after the other, beside other drivers of the same study."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import logging

from ssl_single_image.errors import Halted, InputError, disk_is_full
from ssl_single_image.experiments.analyses import analyse
from ssl_single_image.experiments.finetuning import finetune
from ssl_single_image.experiments.pretraining import pretrain
from ssl_single_image.experiments.probing import probe
from ssl_single_image.experiments.studying import plan, state
from ssl_single_image.experiments.studying.plan import Unit
from ssl_single_image.experiments.studying.state import Record
from ssl_single_image.runs import workdir
from ssl_single_image.runs.signals import Stopped

TRIES = 3
"""Attempts without an end after which a unit comes last."""
ERROR = "error.txt"
"""The traceback of a unit that failed, beside its record."""


class Driver:
    """One process's work on a study.

    A unit is taken by the lock of its folder. What another driver holds is left to it; when nothing else is left, the
    driver waits, and takes over what a killed one leaves.

    Attributes:
      failed: unit -> why it failed, of those that were tried here.
    """

    def __init__(
        self, place: Path, chosen: Sequence[Unit], every: Sequence[Unit], devices: int = 0, poll: float = 5.0
    ):
        """
        Args:
          place: the study's folder.
          chosen: the units to do.
          every: all units of the study, among which those that others are compared with are found.
          devices: for training; 0: all.
          poll: seconds between two looks at units that others hold.
        """
        self._place, self._devices, self._poll = place, devices, poll
        self._every = every
        self._chosen = [*chosen, *self._compared(chosen)]
        self.failed: dict[str, str] = {}

    def run(self) -> None:
        """Returns when no unit is left but those that failed.

          Raises:
            InputError: a row was done by another recipe, or a record can't be read.
        OSError, Halted: the disk is full.
            Stopped, KeyboardInterrupt: a signal came; what is saved is resumed by the next call.
        """
        while left := [unit for unit in self._chosen if unit.name not in self.failed and self.pending(unit)]:
            if not any(self._try(unit) for unit in self._in_order(left)):
                logging.info(
                    "waiting for %s, which other drivers work on", ", ".join(unit.name for unit in left)
                )
                time.sleep(self._poll)

    def pending(self, unit: Unit) -> list[str]:
        """Stages of a unit that are still to be done."""
        found = state.pending(self._place, unit, state.read(self._place, unit))
        asked = (
            not found and unit.row.pretrain and not state.trained(self._place, unit) and self._wanted(unit)
        )
        return ["pretrain"] if asked else found

    def _wanted(self, unit: Unit) -> bool:
        """Whether an analysis that is still to be done compares another row with this unit."""
        return unit.seed == 0 and any(
            unit.row.name in other.row.compared
            and "analyse" in state.pending(self._place, other, state.read(self._place, other))
            for other in self._chosen
        )

    def _compared(self, chosen: Sequence[Unit]) -> list[Unit]:
        names = {unit.name for unit in chosen}
        wanted = {name for unit in chosen for name in unit.row.compared}
        return [u for u in self._every if u.row.name in wanted and u.seed == 0 and u.name not in names]

    def _in_order(self, units: Sequence[Unit]) -> list[Unit]:
        """As planned; those that failed earlier come last, and those that may have brought a driver down."""

        def late(unit: Unit) -> bool:
            record = state.read(self._place, unit)
            return record.state == state.FAILED or (record.state == state.WORKING and record.tried >= TRIES)

        return sorted(units, key=late)

    def _try(self, unit: Unit) -> bool:
        """Does all that is pending of a unit; False where another driver holds it, or it has to wait for other rows."""
        missing = [
            other
            for other in self._needs(unit)
            if other.row.pretrain and not state.trained(self._place, other)
        ]
        lost = [other.name for other in missing if other.name in self.failed]
        if missing and not lost:
            return False
        try:
            with workdir.held(state.folder(self._place, unit), wait=False):
                stages = self.pending(unit)  # another driver may have done it meanwhile
                record = state.read(self._place, unit)
                if lost:
                    self._fail(unit, record, f"it is compared with {lost[0]}, which failed")
                elif stages:
                    self._work(unit, stages, record)
        except workdir.InUse:
            return False
        return True

    def _needs(self, unit: Unit) -> list[Unit]:
        found = [plan.first_of(name, self._every) for name in unit.row.compared]
        return [other for other in found if other is not None]

    def _untrained(self, unit: Unit) -> list[str]:
        """The untrained networks that its errors are relative to."""
        found = [plan.first_of(name, self._every) for name in unit.row.untrained]
        return [name for other in found if other is not None for name in other.references(self._place)]

    def _work(self, unit: Unit, stages: Sequence[str], record: Record) -> None:
        record.tried += 1
        record.crops, record.views, record.reason = unit.crops, unit.views, ""
        try:
            for stage in stages:
                record.state, record.stage = state.WORKING, stage
                state.write(self._place, unit, record)
                logging.info("%s: %s", unit.name, stage)
                with state.timed(record, stage):
                    self._do(unit, stage)
                record.recipes[stage] = unit.recipe(stage)
        except (Stopped, KeyboardInterrupt):
            record.state = state.WAITING
            state.write(self._place, unit, record)
            raise
        except Exception as error:  # whatever it is, the other rows are done
            if disk_is_full(error):
                raise
            self._fail(unit, record, " ".join(f"{_named(error)}{error}".split()), traceback.format_exc())
        else:
            record.state, record.stage = state.DONE, ""
            state.write(self._place, unit, record)
            (state.folder(self._place, unit) / ERROR).unlink(missing_ok=True)
        jax.clear_caches()  # no other row uses this one's programs

    def _fail(self, unit: Unit, record: Record, reason: str, trace: str = "") -> None:
        logging.error("%s failed, the other rows go on: %s", unit.name, reason)
        record.state, record.reason = state.FAILED, reason
        self.failed[unit.name] = reason
        state.write(self._place, unit, record)
        if trace:
            workdir.write_whole(state.folder(self._place, unit) / ERROR, trace)

    def _do(self, unit: Unit, stage: str) -> None:
        folder, references = unit.folder(self._place, stage), unit.references(self._place)
        if stage == "pretrain":
            pretrain(unit.pretraining, folder, devices=self._devices)
        elif stage == "probe":
            probe(unit.probing, references, folder)
        elif stage == "finetune":
            finetune(unit.finetuning, unit.frozen_from(self._place), folder, devices=self._devices)
        elif stage == "robustness":
            probe(unit.robustness, [*references, *self._untrained(unit)], folder)
        elif stage == "invariance":
            settings = {"data_dir": unit.study.data_dir, **unit.study.invariance}
            analyse(references, folder, what="invariance", **settings)
        else:
            others = [name for other in self._needs(unit) for name in other.references(self._place)]
            settings = {"data_dir": unit.study.data_dir, **unit.study.analysis}
            analyse([*references, *others], folder, **settings)


def _named(error: Exception) -> str:
    """The type of an error, where its message was not written for people."""
    return "" if isinstance(error, InputError | Halted) else f"{type(error).__name__}: "
