"""Two processes, joined by jax.distributed through launch/local.sh, give the run that one gives."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "smoke"))
import runs


def test_two_processes_are_one(tmp_path):
    overrides = ["--config.steps=4", "--config.checkpoint_every=2"]
    one = runs.run(runs.pretrain_command(tmp_path / "one", *overrides), tmp_path / "cache")
    assert one.returncode == 0, one.stderr
    # The launcher takes the words after the program: `pretrain --config ...`.
    words = runs.pretrain_command(tmp_path / "two", *overrides)[3:]
    command = ["bash", "launch/local.sh", "2", "--", "pretrain", *words]
    program = str(Path(sys.executable).with_name("ssl-single-image"))
    two = runs.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert two.returncode == 0, two.stderr
    want, got = runs.parameters(tmp_path / "one"), runs.parameters(tmp_path / "two")
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=2e-3, atol=2e-4)
    resumed = runs.run(command, tmp_path / "cache", SSL_SINGLE_IMAGE=program)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from step 4" in resumed.stderr
