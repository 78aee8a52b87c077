"""launch/sweep.py with stand-ins for the command line and for sbatch."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from launch_fakes import LAUNCH, found_first, program, wait_for

from ssl_single_image.experiments import completion

BASE = ["pretrain", "--config=rotnet:preset=demo,image=builtin:coffee", "--config.steps=4"]
Call = Callable[..., tuple[int, str, str]]


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sweep", LAUNCH / "sweep.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["sweep"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


sweep = load()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Calls the script in an empty folder, with a stand-in as the command line that notes its words in `calls`.

    It fails at a point with seed 1, whose status is 3."""
    body = (
        "import json, os, pathlib, sys\n"
        f"pathlib.Path({str(tmp_path)!r}, 'calls').open('a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        "print('output of', sys.argv[-1])\n"
        "sys.exit(3 if '--config.seed=1' in sys.argv else 0)"
    )
    command = program(tmp_path / "bin", "cli", body, sys.executable)
    program(
        tmp_path / "bin",
        "sbatch",
        f"printf '%s\\0' \"$@\" >>{tmp_path}/sbatch.log; echo >>{tmp_path}/sbatch.log",
    )
    monkeypatch.setenv("SSL_SINGLE_IMAGE", str(command))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)

    def made(*words: str) -> tuple[int, str, str]:
        status = 0
        try:
            sweep.main(["sweep.py", *words])
        except SystemExit as end:
            status = int(str(end.code))
        return status, *capfd.readouterr()

    return made


def calls(folder: Path) -> list[list[str]]:
    path = folder / "calls"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def submitted(folder: Path) -> list[list[str]]:
    path = folder / "sbatch.log"
    return [line.split("\0")[:-1] for line in path.read_text().splitlines()] if path.exists() else []


def test_a_grid_runs_all_combinations_and_goes_on_after_a_failure(call: Call, tmp_path: Path) -> None:
    grid = ["--grid=config.seed=0,1", "--grid=config.batch_size=8,16"]
    status, _, error = call("--workdir=s", *grid, "--", *BASE)
    assert status == 1
    words = [[f"--config.seed={seed}", f"--config.batch_size={size}"] for seed in (0, 1) for size in (8, 16)]
    names = [f"seed={seed}--batch_size={size}" for seed in (0, 1) for size in (8, 16)]
    assert calls(tmp_path) == [
        [*BASE, *more, f"--workdir=s/{name}"] for more, name in zip(words, names, strict=True)
    ]
    told = "2 of 4 points failed: seed=1--batch_size=8 (status 3), seed=1--batch_size=16 (status 3)"
    assert error.splitlines()[-1] == f"sweep.py: {told}"


def test_points_that_are_done_are_skipped(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "complete", lambda kind, config, place, given: config.seed == 0)
    status, _, error = call("--workdir=s", "--grid=config.seed=0,2", "--", *BASE)
    assert status == 0
    assert [words[-1] for words in calls(tmp_path)] == ["--workdir=s/seed=2"]
    assert "done: seed=0\n" in error
    status, _, error = call("--workdir=s", "--grid=config.seed=0", "--", *BASE)
    assert (status, len(calls(tmp_path))) == (0, 1)
    assert "nothing is left to do" in error


def test_several_at_once_write_logs(call: Call, tmp_path: Path) -> None:
    status, _, error = call("--workdir=s", "--workers=2", "--grid=config.seed=0,1,2", "--", *BASE)
    assert status == 1
    assert sorted(words[-1] for words in calls(tmp_path)) == [
        f"--workdir=s/seed={seed}" for seed in (0, 1, 2)
    ]
    assert (tmp_path / "s" / "seed=2.log").read_text() == "output of --workdir=s/seed=2\n"
    assert "1 of 3 points failed: seed=1 (status 3); logs are in s" in error


def test_a_list_of_points(call: Call, tmp_path: Path) -> None:
    lines = ["# two sizes", "--config.seed=0 --config.batch_size=8", "", "'--config.source=my cat.jpg'"]
    (tmp_path / "points").write_text("\n".join(lines))
    status, out, _ = call("--workdir=s", "--points=points", "--on=print", "--", *BASE)
    assert status == 0
    assert not calls(tmp_path)
    printed = [shlex.split(line) for line in out.splitlines()]
    assert printed[0] == [
        "ssl-single-image",
        *BASE,
        "--config.seed=0",
        "--config.batch_size=8",
        "--workdir=s/seed=0--batch_size=8",
    ]
    assert printed[1][:-1] == ["ssl-single-image", *BASE, "--config.source=my cat.jpg"]
    assert printed[1][-1].startswith("--workdir=s/source=my-cat.jpg-")  # and a hash of what is lost


def test_values_with_commas_and_other_flags(call: Call) -> None:
    base = ["probe", "--config=photos", "--config.train_images=64"]
    grid = '--grid=checkpoint="random:nin,random:alexnet32",scattering'
    status, out, error = call("--workdir=s", grid, "--dry_run", "--", *base)
    assert status == 0, error
    first, second = (shlex.split(line)[4] for line in out.splitlines())
    assert (first, second) == ("--checkpoint=random:nin,random:alexnet32", "--checkpoint=scattering")


def test_one_sbatch_a_point(call: Call, tmp_path: Path) -> None:
    words = ["--workdir=s", "--on=slurm", "--sbatch=--gres=gpu:1 --time=4:00:00", "--grid=config.seed=0,2"]
    status, out, _ = call(*words, "--dry_run", "--", *BASE)
    assert (status, submitted(tmp_path)) == (0, [])
    printed = [shlex.split(line)[1:] for line in out.splitlines()]
    assert call(*words, "--", *BASE)[0] == 0
    assert submitted(tmp_path) == printed
    script = str(LAUNCH / "slurm.sbatch")
    assert printed[1][:4] == ["--gres=gpu:1", "--time=4:00:00", "--job-name=seed=2", script]
    assert printed[1][4:] == [*BASE, "--config.seed=2", "--workdir=s/seed=2"]


def test_an_array_has_a_file_that_later_calls_leave_alone(call: Call, tmp_path: Path) -> None:
    words = ["--workdir=s", "--on=array", "--at_once=3"]
    assert call(*words, "--grid=config.seed=0,2", "--dry_run", "--", *BASE)[0] == 0
    assert not (tmp_path / "s").exists()
    assert call(*words, "--grid=config.seed=0,2", "--", *BASE)[0] == 0
    assert call(*words, "--grid=config.seed=0,2,4", "--", *BASE)[0] == 0
    first, second = submitted(tmp_path)
    assert [first[0], second[0]] == ["--array=1-2%3", "--array=1-3%3"]
    file = tmp_path / first[2].removeprefix("--commands=")
    assert first[2] != second[2]
    assert [shlex.split(line)[-1] for line in file.read_text().splitlines()] == [
        "--workdir=s/seed=0",
        "--workdir=s/seed=2",
    ]


def test_rows_of_a_study_are_those_that_it_prints(call: Call, tmp_path: Path) -> None:
    body = "for name in ('a', 'b-1'): print(f'ssl-single-image study --config=x --rows={name}')"
    program(tmp_path / "bin", "cli", body, sys.executable)
    status, _, error = call("--on=array", "--", "study", "--config=x", "--workdir=runs/study")
    assert status == 0, error
    (found,) = submitted(tmp_path)
    file = tmp_path / found[2].removeprefix("--commands=")
    assert file.parent == tmp_path / "runs" / "study"
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["--rows=a", "--rows=b-1"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workdir=s", "--grid=config.seed=0"], "give pretrain, probe, finetune or study"),
        (["--workdir=s", "--grid=config.seed=0", "--", "sample"], "'sample': give pretrain"),
        (["--grid=config.seed=0", "--", *BASE], "--workdir: missing"),
        (["--workdir=s", "--", *BASE], "--grid=FLAG=VALUE,VALUE or by --points"),
        (["--workdir=s", "--grid=config.seed", "--", *BASE], "--grid=config.seed: must be FLAG=VALUE"),
        (
            ["--workdir=s", "--grid=config.sed=0", "--", *BASE],
            "point sed=0: sed: the config has no such field",
        ),
        (["--workdir=s", "--grid=config.seed=0,0", "--", *BASE], "point seed=0: is given twice"),
        (["--workdir=s", "--grid=config.seed=-3", "--", *BASE], "seed = -3: must be"),
        (["--workdir=s", "--points=nope", "--", *BASE], "--points=nope: can't be read: No such file"),
        (["--workdir=s", "--grid=config.seed=0", "--", *BASE, "--workdir=x"], "give it before pretrain"),
        (["--wrkdir=s", "--", *BASE], "wrkdir"),
        (["--workers=0", "--", *BASE], "--workers"),
        (["--workdir=s", "--", "study", "--workdir=x"], "--workdir: study has rows"),
    ],
)
def test_bad_input_gets_one_line(call: Call, tmp_path: Path, words: list[str], told: str) -> None:
    status, _, error = call(*words)
    assert status == 2
    assert told in error
    assert len(error.splitlines()) == 1
    assert not calls(tmp_path)
    assert not (tmp_path / "s").exists()


def test_sbatch_is_not_there(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    status, _, error = call("--workdir=s", "--on=slurm", "--grid=config.seed=0", "--", *BASE)
    assert status == 2
    assert "sbatch: not found" in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_nothing_more_begins(tmp_path: Path, number: signal.Signals) -> None:
    body = (
        "import pathlib, signal, sys, time\n"
        "seen = []\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, lambda n, frame: seen.append(n))\n"
        f"place = pathlib.Path({str(tmp_path)!r})\n"
        "with (place / 'started').open('a') as file: file.write('x')\n"
        "end = time.monotonic() + 30\n"
        "while not seen and time.monotonic() < end: time.sleep(.01)\n"
        "time.sleep(.3)\n"
        "(place / 'saved').write_text(str(seen))\n"
        "sys.exit(128 + seen[0])"
    )
    cli = program(tmp_path / "bin", "cli", body, sys.executable)
    words = ["--workdir=s", "--grid=config.seed=0,1", "--", *BASE]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [sys.executable, str(LAUNCH / "sweep.py"), *words],
            env=found_first(tmp_path, SSL_SINGLE_IMAGE=str(cli), PYTHONPATH=str(LAUNCH.parent)),
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    wait_for([tmp_path / "started"], patience=120)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (tmp_path / "saved").read_text() == f"[{int(number)}]"
    assert (tmp_path / "started").read_text() == "x"
    assert f"stopped by {number.name}; the same command goes on" in error
