"""`study`: the plan, the commands of its rows, bad flags, and several workers."""

from __future__ import annotations

import json
import os
import shlex
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from ssl_single_image.cli import common, main, sharing
from ssl_single_image.cli import study as command
from ssl_single_image.experiments import configs
from ssl_single_image.experiments.studying import plan

FILE = """
from ssl_single_image.experiments.presets import as_config_dict
from ssl_single_image.experiments.study_rows import row
from ssl_single_image.experiments.study_settings import StudyConfig


def get_config(arg=""):
    sources = {"b": "builtin:coffee"}
    rows = (
        row("random", method="untrained", images="none", reference="random:alexnet32"),
        row("rotnet-b", method="RotNet", images="image B", source="b", pretrain="rotnet", views=48_000, seeds=2),
    )
    return as_config_dict(StudyConfig(sources=sources, probe="photos", rows=rows))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "study.py"
    path.write_text(FILE)
    return path


def call(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main.main(["ssl-single-image", "study", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code, *capsys.readouterr()


def test_a_dry_run_prints_what_is_left(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = call(
        capsys, f"--config={config}", f"--workdir={tmp_path / 's'}", "--dry_run", "--budget=0.5"
    )
    assert status == 0
    assert "rotnet-b-1  24,064   pretrain 0:01:09 (estimated), probe 0:01:20 (estimated)" in out
    assert "3 of 3 rows are left: 0:06:18; checkpoints take" in out
    assert not (tmp_path / "s").exists()


def test_jobs_are_commands_that_work_on_one_row_each(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "with blank"
    words = [f"--config={config}", "--workdir", str(place), "--config.budget=0.5", "--rows", "rotnet*"]
    status, out, _ = call(capsys, *words, "--jobs")
    assert status == 0
    lines = out.splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ("rotnet-b-0", "rotnet-b-1"), strict=True):
        program, called, *given = shlex.split(line)
        assert (program, called) == ("ssl-single-image", "study")
        args = common.parse("study", "study", ["study", *given])
        assert args.rows == [name]
        assert args.workdir == str(place)
        assert args.config.budget == 0.5
        (unit,) = plan.units(configs.read("study", args.config), args.rows)
        assert unit.name == name


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--rows=nothing"], "--rows=nothing: matches no row; there are random, rotnet-b"),
        (["--budget=0"], "budget = 0.0: must be a number above 0"),
        (["--config.budgett=1"], "budgett: the config has no such field; did you mean budget?"),
        (["--workers=-1"], "--workers"),
        (["--config.sources.b=nowhere.jpg"], "sources.b: nowhere.jpg: no such file"),
    ],
)
def test_bad_flags_get_one_line(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    status, _, error = call(capsys, f"--config={config}", f"--workdir={tmp_path / 's'}", *words)
    assert status == 2
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_a_workdir_is_needed(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, error = call(capsys, f"--config={config}", "--dry_run")
    assert status == 2
    assert "Flag --workdir must have a value." in error


# Several workers


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of a driver: a program that notes what it was given; it fails where its words say so."""
    (tmp_path / "fake_driver.py").write_text(
        textwrap.dedent(
            """
            import json, os, sys, tempfile, time
            seen = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "TPU_VISIBLE_CHIPS")}
            if "--rows=cores" in sys.argv:
                time.sleep(0.5)  # a driver looks at its cores when it has imported JAX
                seen = {"cores": sorted(os.sched_getaffinity(0))}
            with tempfile.NamedTemporaryFile("w", dir="notes", suffix=".json", delete=False) as file:
                json.dump([sys.argv[1:], seen], file)
            sys.exit(3 if "--rows=fail" in sys.argv else 0)
            """
        )
    )
    (tmp_path / "notes").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "MODULE", "fake_driver")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "notes"


def notes(folder: Path) -> list[tuple[list[str], dict[str, Any]]]:
    return [tuple(json.loads(path.read_text())) for path in folder.glob("*.json")]


def test_workers_get_one_accelerator_each_and_the_same_words(
    worker: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "DEVICES", "print('gpu', 2)")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    status, _, _ = call(capsys, f"--config={config}", "--workdir=s", "--workers=3")
    assert status == 0
    found = notes(worker)
    assert sorted(str(seen["CUDA_VISIBLE_DEVICES"]) for _, seen in found) == ["4", "4", "7"]
    assert all(words == [f"--config={config}", "--workdir=s"] for words, _ in found)


def test_without_a_number_there_is_a_worker_for_each_accelerator(
    worker: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "DEVICES", "print('tpu', 4)")
    assert call(capsys, f"--config={config}", "--workdir=s", "--workers", "0")[0] == 0
    assert sorted(str(seen["TPU_VISIBLE_CHIPS"]) for _, seen in notes(worker)) == ["0", "1", "2", "3"]


def test_a_worker_that_fails_is_told(
    worker: Path, config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sharing, "DEVICES", "print('cpu', 1)")
    status, _, error = call(capsys, f"--config={config}", "--workdir=s", "--workers=2", "--rows=fail")
    assert status == 3
    assert "2 of 2 workers did not complete" in error
    assert {tuple(seen.values()) for _, seen in notes(worker)} == {(None, None)}


@pytest.mark.skipif(sys.platform != "linux", reason="processes are bound to cores on Linux alone")
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_divide_the_cores_where_there_is_no_accelerator(
    worker: Path,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    workers: int,
) -> None:
    monkeypatch.setattr(sharing, "DEVICES", "print('cpu', 1)")
    ours = sorted(os.sched_getaffinity(0))
    words = (f"--config={config}", "--workdir=s", f"--workers={workers}", "--rows=cores")
    assert call(capsys, *words)[0] == 0
    parts = [seen["cores"] for _, seen in notes(worker)]
    assert sorted({core for part in parts for core in part}) == ours
    assert len(parts) == workers
    if workers <= len(ours):
        assert sum(map(len, parts)) == len(ours)
    else:
        assert all(len(part) == 1 for part in parts)


def test_the_module_can_be_called() -> None:
    assert command.MODULE in sys.modules
