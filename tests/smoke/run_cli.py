"""Helpers for tests that run the command line, in processes of their own or in this one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssl_single_image.cli import main
from ssl_single_image.runs import load_encoder

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "--config.batch_size=4",
    "--config.log_every=1",
    "--config.eval_every=0",
]


def environment() -> dict[str, str]:
    """One CPU device; compiled programs are kept in the tests' cache, so that only the first process compiles."""
    return os.environ | {"JAX_PLATFORMS": "cpu"}


def pretrain_command(workdir: Path, *overrides: str) -> list[str]:
    command = [sys.executable, "-m", "ssl_single_image.cli.pretrain"]
    config = "--config=configs/pretrain/rotnet.py:preset=demo,image=builtin:coffee"
    return [*command, config, f"--workdir={workdir}", *TINY, *overrides]


def run(command: list[str], **changes: str) -> subprocess.CompletedProcess:
    """Runs a command from the project's root and returns what it printed."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment() | changes,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def call(words: list[str], folder: Path = ROOT) -> int:
    """Runs `ssl-single-image WORDS` in this process, from a folder; returns the exit status."""
    with contextlib.chdir(folder), pytest.raises(SystemExit) as caught:
        main.main(["ssl-single-image", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def parameters(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Of the newest checkpoint, or of that of a step."""
    encoder = load_encoder(str(workdir) + (f"@{step}" if step is not None else "")).encoder
    return {
        f"{layer}.{name}": np.asarray(x)
        for layer, block in encoder.params.items()
        for name, x in block.items()
    }
