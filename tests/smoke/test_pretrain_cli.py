"""`pretrain` as a user runs it: killed and resumed, stopped, and refused."""

import random
import signal
import subprocess
import time

import numpy as np
import pytest
import run_cli


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run of 12 steps."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    done = run_cli.run(run_cli.pretrain_command(workdir, "--config.steps=12", "--config.checkpoint_every=2"))
    assert done.returncode == 0, done.stderr
    return workdir


def start(workdir):
    command = run_cli.pretrain_command(workdir, "--config.steps=12", "--config.checkpoint_every=2")
    return subprocess.Popen(
        command, cwd=run_cli.ROOT, env=run_cli.environment(), stderr=subprocess.PIPE, text=True
    )


def wait_for(workdir, count):
    """Until `count` lines of metrics are there."""
    deadline = time.monotonic() + 300
    path = workdir / "metrics.jsonl"
    while time.monotonic() < deadline:
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        time.sleep(0.02)
    raise TimeoutError(f"{path} never had {count} lines")


def test_it_leaves_what_the_documentation_says(whole):
    names = {path.name for path in whole.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "samples.png"} <= names
    assert any(name.startswith("events") for name in names)
    assert not [name for name in names if name.endswith(".tmp")]


def test_kill_and_resume_has_the_bits_of_an_uninterrupted_run(tmp_path, whole):
    workdir = tmp_path / "run"
    for lines in (3, 7):
        process = start(workdir)
        wait_for(workdir, lines)
        time.sleep(random.Random(lines).random() / 10)
        process.kill()
        process.communicate()
    process = start(workdir)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert "resumed from step" in errors
    killed, want = run_cli.parameters(workdir), run_cli.parameters(whole)
    for name in want:
        np.testing.assert_array_equal(killed[name], want[name])
    assert (workdir / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_sigterm_saves_and_says_so(tmp_path, whole):
    process = start(tmp_path / "run")
    wait_for(tmp_path / "run", 3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 143, errors
    assert "stopped by SIGTERM; the state of step" in errors  # on a busy machine not in the last line


def test_a_workdir_of_another_run_is_refused(whole):
    """By a process, which also shows the exit status that a shell sees."""
    done = run_cli.run(run_cli.pretrain_command(whole, "--config.steps=12", "--config.seed=5"))
    assert done.returncode == 2
    assert "seed was 0, is 5" in done.stderr.splitlines()[-1]
