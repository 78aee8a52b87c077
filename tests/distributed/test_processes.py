"""Two processes, joined by jax.distributed through launch/local.sh, give the run that one gives."""

import json
import sys
from pathlib import Path

import numpy as np
import run_cli

JOINED_STEPS = str(Path(__file__).with_name("joined_steps.py"))


def test_steps_of_two_processes_are_those_of_one(tmp_path):
    """In float64, where they differ by the order of sums alone."""
    one = run_cli.run([sys.executable, JOINED_STEPS, f"{tmp_path}/one.npy"])
    assert one.returncode == 0, one.stderr
    command = ["bash", "launch/local.sh", "2", "--", JOINED_STEPS, f"{tmp_path}/two.npy"]
    two = run_cli.run(command, SSL_SINGLE_IMAGE=sys.executable)
    assert two.returncode == 0, two.stderr
    got, want = (np.load(tmp_path / f"{name}.npy") for name in ("two", "one"))
    assert got.dtype == np.float64
    for step in (1, 2):
        change = np.linalg.norm(want[step] - want[step - 1])
        assert np.linalg.norm(got[step] - want[step]) < 1e-9 * change


def test_a_run_of_two_processes(tmp_path):
    """The command: it starts like the run of one process, ends, saves, and is resumed."""
    overrides = ["--config.steps=2", "--config.checkpoint_every=1"]
    one = run_cli.run(run_cli.pretrain_command(tmp_path / "one", *overrides))
    assert one.returncode == 0, one.stderr
    # The launcher takes the words after the program: `pretrain --config ...`.
    words = run_cli.pretrain_command(tmp_path / "two", *overrides)[3:]
    command = ["bash", "launch/local.sh", "2", "--", "pretrain", *words]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    two = run_cli.run(command, SSL_SINGLE_IMAGE=program)
    assert two.returncode == 0, two.stderr
    want, got = (
        json.loads((tmp_path / name / "metrics.jsonl").read_text().splitlines()[0]) for name in ("one", "two")
    )
    # The first loss precedes any update and is continuous in what is rounded; of half the batch it is 1 % off.
    assert got["step"] == want["step"] == 1
    np.testing.assert_allclose(got["train/loss"], want["train/loss"], rtol=1e-4)
    assert (tmp_path / "two" / "checkpoints" / "2").is_dir()
    resumed = run_cli.run(command, SSL_SINGLE_IMAGE=program)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 2" in resumed.stderr
    refused = run_cli.run([*command, "--config.seed=1"], SSL_SINGLE_IMAGE=program, SSL_KILL_AFTER="100")
    assert refused.returncode == 2
    told = [line for line in (refused.stdout + refused.stderr).splitlines() if "seed was 0, is 1" in line]
    assert len(told) == 2  # one from each process
    assert "Traceback" not in refused.stdout + refused.stderr
