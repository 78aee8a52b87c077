"""Two processes, joined by jax.distributed through launch/local.sh, give the run that one gives."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "smoke"))
import run_cli


def test_two_processes_are_one(tmp_path):
    # A small learning rate: at the preset's, rounding grows by ten with each step (one process whose parameters are
    # changed by 1e-7 of themselves is 7 % off after two steps, 17 % after three).
    overrides = ["--config.steps=2", "--config.checkpoint_every=1", "--config.optimizer.learning_rate=0.001"]
    one = run_cli.run(run_cli.pretrain_command(tmp_path / "one", *overrides), tmp_path / "cache")
    assert one.returncode == 0, one.stderr
    # The launcher takes the words after the program: `pretrain --config ...`.
    words = run_cli.pretrain_command(tmp_path / "two", *overrides)[3:]
    command = ["bash", "launch/local.sh", "2", "--", "pretrain", *words]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    two = run_cli.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert two.returncode == 0, two.stderr
    before, want = (run_cli.parameters(tmp_path / "one", step) for step in (1, 2))
    got = run_cli.parameters(tmp_path / "two", 2)
    for name in want:
        # Rounding makes up 2 % of it; a gradient of half the batch would differ by about 1.
        assert np.linalg.norm(got[name] - want[name]) < 0.05 * np.linalg.norm(want[name] - before[name])
    resumed = run_cli.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 2" in resumed.stderr
