"""launch/slurm.sbatch with stand-ins for SLURM's programs: one job, arrays, the time limit."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from launch_fakes import LAUNCH, found_first, program, wait_for

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="launch/ needs bash")

ARRAY = {"SLURM_JOB_ID": "40", "SLURM_ARRAY_JOB_ID": "40", "SLURM_ARRAY_TASK_ID": "2"}
"""As SLURM sets it for one of an array's tasks: its SLURM_JOB_ID is that of the whole array."""


def begin(folder: Path, *words: str, tasks: str = "", **environment: str) -> subprocess.Popen[str]:
    """Runs slurm.sbatch with `tasks` (bash) as srun, which notes its words; scancel and scontrol note theirs."""
    program(
        folder,
        "srun",
        f"printf '%s\\0' \"$@\" $SSL_DISTRIBUTED >{folder}/srun.log\ntouch {folder}/started\n{tasks}",
    )
    program(folder, "scancel", f'echo "$@" >>{folder}/scancel.log\ntouch {folder}/stop')
    program(folder, "scontrol", f'echo "$@" >>{folder}/scontrol.log')
    given = {"SLURM_JOB_ID": "42", "SLURM_SUBMIT_DIR": str(folder), "SSL_SINGLE_IMAGE": "cli"} | environment
    return subprocess.Popen(
        ["bash", str(LAUNCH / "slurm.sbatch"), *words],
        env=found_first(folder, **given),
        stderr=subprocess.PIPE,
        text=True,
    )


def called(folder: Path) -> list[str]:
    """What srun was given, and SSL_DISTRIBUTED."""
    return (folder / "srun.log").read_text().split("\0")[:-1]


def refused(process: subprocess.Popen[str]) -> str:
    """The one line with which it ended."""
    _, error = process.communicate(timeout=20)
    assert process.returncode == 2
    assert len(error.splitlines()) == 1, error
    return error


def test_each_task_runs_the_command(tmp_path: Path) -> None:
    words = ["pretrain", "--config=a b", "it's"]
    process = begin(tmp_path, *words, tasks="exit 3")
    process.communicate(timeout=20)
    assert process.returncode == 3
    assert called(tmp_path) == ["--kill-on-bad-exit=1", "cli", *words, "auto"]


def test_the_time_limit_requeues(tmp_path: Path) -> None:
    waits = f"while [[ ! -e {tmp_path}/stop && $SECONDS -lt 30 ]]; do sleep .05; done; sleep .3; exit 143"
    process = begin(tmp_path, "pretrain", tasks=waits)
    wait_for([tmp_path / "started"])
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert process.returncode == 143
    assert (tmp_path / "scancel.log").read_text() == "--signal=TERM 42\n"
    assert (tmp_path / "scontrol.log").read_text() == "requeue 42\n"


def test_the_time_limit_of_one_of_an_array_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "jobs.txt").write_text("pretrain\nprobe\n")
    waits = f"while [[ ! -e {tmp_path}/stop && $SECONDS -lt 30 ]]; do sleep .05; done; exit 143"
    process = begin(tmp_path, "--commands=jobs.txt", tasks=waits, **ARRAY)
    wait_for([tmp_path / "started"])
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=20)
    assert (tmp_path / "scancel.log").read_text() == "--signal=TERM 40_2\n"
    assert (tmp_path / "scontrol.log").read_text() == "requeue 40_2\n"


def test_a_failure_is_not_requeued(tmp_path: Path) -> None:
    process = begin(tmp_path, "pretrain", tasks="exit 2")
    process.communicate(timeout=20)
    assert process.returncode == 2
    assert not (tmp_path / "scontrol.log").exists()


@pytest.mark.parametrize("form", [["--commands=my jobs.txt"], ["--commands", "my jobs.txt"]])
def test_an_array_runs_its_line(tmp_path: Path, form: list[str]) -> None:
    words = ["pretrain", "--config=rotnet:image=my cat.jpg", "it's $HOME", '"*"', "--workdir=runs/b"]
    lines = ["pretrain", f"ssl-single-image {shlex.join(words)}", "probe"]
    (tmp_path / "my jobs.txt").write_text("\n".join(lines) + "\n")
    process = begin(tmp_path, *form, **ARRAY)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    assert called(tmp_path) == ["--kill-on-bad-exit=1", "cli", *words, "auto"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pretrain\n", "has no line 2, only 1; call sbatch with --array=1-1"),
        ("pretrain\nprobe 'a\n", "line 2 can't be read"),
        ("pretrain\n\nprobe\n", "line 2 has no command"),
        ("pretrain\nssl-single-image\n", "line 2 has no command"),
        (None, "no such file"),
    ],
)
def test_a_line_that_is_no_command(tmp_path: Path, text: str | None, told: str) -> None:
    if text is not None:
        (tmp_path / "jobs.txt").write_text(text)
    error = refused(begin(tmp_path, "--commands=jobs.txt", **ARRAY))
    assert told in error
    assert not (tmp_path / "srun.log").exists()


def test_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "jobs.txt").write_text("pretrain\n")
    assert "no command" in refused(begin(tmp_path))
    assert "needs a job array" in refused(begin(tmp_path, "--commands=jobs.txt"))
    assert "--commands: needs a file" in refused(begin(tmp_path, "--commands"))
