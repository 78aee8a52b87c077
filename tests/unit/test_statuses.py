"""`status`: what the files of a workdir say of how far it is."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from run_cli import call

from ssl_single_image.experiments.statuses import COMPLETE, RUNNING, STOPPED, status
from ssl_single_image.runs import workdir
from ssl_single_image.types import InputError


def run(place: Path, steps: int, clocks: list[dict[str, float]], saved: int | None = None) -> Path:
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"objective": "rotnet", "steps": steps}))
    for name, values in (("metrics", {"train/loss": 0.5}), ("timings", {})):
        lines = [json.dumps({**clock, **values}) for clock in clocks]
        (place / f"{name}.jsonl").write_text("".join(line + "\n" for line in lines))
    if saved is not None:
        (place / "checkpoints" / str(saved)).mkdir(parents=True)
    return place


def clock(step: int, seconds: float, rate: float = 320.0) -> dict[str, float]:
    return {"step": step, "seconds": seconds, "views_per_second": rate}


def hold(place: Path, **holder: Any) -> None:
    (place / workdir.LOCK).touch()
    me = {"host": socket.gethostname(), "pid": os.getpid(), "since": "now"}
    (place / workdir.HOLDER).write_text(json.dumps(me | holder))


def test_a_run_that_trains_has_a_rate_and_a_time_left(tmp_path: Path) -> None:
    """The newest process took 20 s for 100 steps, evaluations included; 300 are left."""
    clocks = [clock(100, 90.0), clock(200, 180.0), clock(600, 10.0, 250.0), clock(700, 30.0, 280.0)]
    place = run(tmp_path / "run", 1000, clocks, saved=500)
    hold(place)
    (found,) = status([place]).rows
    assert (found.state, found.progress, found.rate) == (RUNNING, "700 of 1,000 steps", 280.0)
    assert found.by == f"process {os.getpid()} on {socket.gethostname()}"
    assert found.left == pytest.approx(300 * 0.2)
    assert found.silent is not None
    assert 0 <= found.silent < 60
    assert "0:01:00" in str(status([place]))


def test_a_run_that_stopped_has_no_time_left(tmp_path: Path) -> None:
    place = run(tmp_path / "run", 1000, [clock(100, 10.0), clock(200, 20.0)], saved=200)
    (found,) = status([place]).rows
    assert (found.state, found.by, found.left) == (STOPPED, "", None)


def test_a_run_is_complete_with_its_last_checkpoint(tmp_path: Path) -> None:
    place = run(tmp_path / "run", 200, [clock(200, 20.0)], saved=200)
    assert status([place]).rows[0].state == COMPLETE
    assert status([run(tmp_path / "other", 200, [clock(200, 20.0)], saved=100)]).rows[0].state == STOPPED


@pytest.mark.parametrize(
    ("holder", "age", "alive"),
    [({"pid": 2**22 + 1}, 0, False), ({"host": "elsewhere"}, 0, True), ({"host": "elsewhere"}, 3600, False)],
)
def test_a_holder_that_died_holds_nothing(
    tmp_path: Path, holder: dict[str, Any], age: float, alive: bool
) -> None:
    place = run(tmp_path / "run", 200, [])
    hold(place, **holder)
    then = (place / workdir.LOCK).stat().st_mtime - age
    os.utime(place / workdir.LOCK, (then, then))
    assert (status([place]).rows[0].state == RUNNING) == alive


def test_a_study_counts_its_rows(tmp_path: Path) -> None:
    place = tmp_path / "study"
    for name, state in (("a-0", "done"), ("b-0", "failed"), ("c-0", "working")):
        (place / "rows" / name).mkdir(parents=True)
        (place / "rows" / name / "row.json").write_text(json.dumps({"state": state}))
    (place / "config.json").write_text(json.dumps({"rows": [{}, {}, {}]}))
    (found,) = status([place]).rows
    assert (found.state, found.progress) == (RUNNING, "1 done, 1 failed, 1 working")


def test_a_probe_is_complete_with_its_results(tmp_path: Path) -> None:
    place = tmp_path / "probe"
    place.mkdir()
    (place / "config.json").write_text(json.dumps({"kind": "linear"}))
    assert status([place]).rows[0].state == STOPPED
    (place / "probe.json").write_text("{}")
    assert status([place]).rows[0].state == COMPLETE


def test_the_command_prints_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = run(tmp_path / "run", 200, [clock(200, 20.0)], saved=200)
    assert call(["status", str(place)]) == 0
    assert "200 of 200 steps" in capsys.readouterr().out
    assert call(["status"]) == 2
    assert "no workdirs" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"no readable config\.json"):
        status([tmp_path])
