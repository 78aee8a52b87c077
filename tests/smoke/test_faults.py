"""Twenty kills at random moments, most of them while a checkpoint is being written: no finished step is lost."""

from __future__ import annotations

import random
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import run_cli

from ssl_single_image.runs import checkpoint

KILLS = 20
CONSTANT = ("--config.optimizer.schedule=constant", "--config.log_every=1000")
"""A rate that does not depend on the length of the run, which is decided when the kills are over."""


def command(workdir: Path, steps: int, every: int) -> list[str]:
    length = (f"--config.steps={steps}", f"--config.checkpoint_every={every}")
    return run_cli.pretrain_command(workdir, *CONSTANT, *length)


def saved(workdir: Path) -> int:
    """The newest finished checkpoint's step; 0 if there is none."""
    return max(checkpoint.finished(workdir / "checkpoints"), default=0)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    rng, workdir, before = random.Random(0), tmp_path / "run", 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(workdir, 10**6, 1),
            cwd=run_cli.ROOT,
            env=run_cli.environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 300
        while saved(workdir) <= before:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        _, errors = process.communicate()
        if before:
            assert re.findall(r"resumed from step (\d+)", errors) == [str(before)]
        before = saved(workdir)
    steps = before + 2
    assert run_cli.run(command(workdir, steps, steps)).returncode == 0
    assert run_cli.run(command(tmp_path / "whole", steps, steps)).returncode == 0
    killed, whole = run_cli.parameters(workdir), run_cli.parameters(tmp_path / "whole")
    for name in whole:
        np.testing.assert_array_equal(killed[name], whole[name], err_msg=name)
