"""Two processes, joined by jax.distributed through launch/local.sh, give the run that one gives."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "smoke"))
import run_cli


def test_two_processes_are_one(tmp_path):
    overrides = ["--config.steps=4", "--config.checkpoint_every=2"]
    one = run_cli.run(run_cli.pretrain_command(tmp_path / "one", *overrides), tmp_path / "cache")
    assert one.returncode == 0, one.stderr
    # The launcher takes the words after the program: `pretrain --config ...`.
    words = run_cli.pretrain_command(tmp_path / "two", *overrides)[3:]
    command = ["bash", "launch/local.sh", "2", "--", "pretrain", *words]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    two = run_cli.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert two.returncode == 0, two.stderr
    before, want = (run_cli.parameters(tmp_path / "one", step) for step in (2, 4))
    got = run_cli.parameters(tmp_path / "two", 4)
    for name in want:
        # Rounding grows over the steps (see test_devices); a gradient of half the batch would differ by about 1.
        assert np.linalg.norm(got[name] - want[name]) < 0.05 * np.linalg.norm(want[name] - before[name])
    resumed = run_cli.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 4" in resumed.stderr
