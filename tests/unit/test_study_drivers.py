"""A study with several drivers: what is shared, and what a killed one leaves."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import tiny_backbone
from study_fakes import Fakes, config, drive, fakes, record, row

from ssl_single_image.experiments.studying import driver, state
from ssl_single_image.runs import workdir

__all__ = ["fakes", "tiny_backbone"]


def _slow_driver(place: Path, notes: Path) -> None:
    """Another process's driver, whose stages take a while."""
    made = Fakes()

    def before(stage: str, name: str) -> None:
        with notes.open("a") as file:
            file.write(f"{stage} {name} {os.getpid()}\n")
        time.sleep(0.2)

    made.before = before
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("pretrain", "probe"):
            patch.setattr(driver, stage, getattr(made, stage))
        patch.setattr(state.checkpoint, "finished", lambda path: [int(one.name) for one in path.iterdir()])
        drive(place, config(*(row(name) for name in "abcd")))


@pytest.fixture
def fork() -> Any:
    """Processes that begin at once; they compute nothing with JAX."""
    return multiprocessing.get_context("fork")


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_drivers_share_the_rows_and_do_none_twice(tmp_path: Path, fork: Any) -> None:
    notes = tmp_path / "notes"
    pair = [fork.Process(target=_slow_driver, args=(tmp_path / "s", notes)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [0, 0]
    done = [line.split() for line in notes.read_text().splitlines()]
    assert sorted(line[:2] for line in done) == sorted(
        [stage, f"{name}-0"] for name in "abcd" for stage in ("pretrain", "probe")
    )
    assert len({pid for *_, pid in done}) == 2  # both had work


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_driver_held_is_taken_over(tmp_path: Path, fork: Any) -> None:
    notes = tmp_path / "notes"
    first = fork.Process(target=_slow_driver, args=(tmp_path / "s", notes))
    first.start()
    while not (notes.exists() and "probe a-0" in notes.read_text()):
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.join(10)
    study = config(*(row(name) for name in "abcd"))
    assert record(tmp_path / "s", study, "a-0").state == state.WORKING
    second = fork.Process(target=_slow_driver, args=(tmp_path / "s", notes))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    names = [line.split()[:2] for line in notes.read_text().splitlines()]
    assert names.count(["pretrain", "a-0"]) == 1  # its checkpoint was whole
    assert names.count(["probe", "a-0"]) == 2
    assert all(record(tmp_path / "s", study, f"{name}-0").state == state.DONE for name in "abcd")


def test_a_held_folder_is_refused_at_once_where_nobody_waits(tmp_path: Path) -> None:
    refused = pytest.raises(workdir.InUse, match="is in use by process")
    with workdir.held(tmp_path), refused, workdir.held(tmp_path, wait=False):
        pass
