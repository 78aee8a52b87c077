"""What tests of launchers share: stand-ins for programs of a cluster, and waiting for what they do."""

from __future__ import annotations

import os
import time
from pathlib import Path

LAUNCH = Path(__file__).resolve().parents[2] / "launch"


def program(folder: Path, name: str, body: str, language: str = "/usr/bin/env bash") -> Path:
    """Makes `folder/name`, a program that does what `body` says."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!{language}\n{body}\n")
    path.chmod(0o755)
    return path


def found_first(folder: Path, **more: str) -> dict[str, str]:
    """An environment whose programs in `folder` come before all others."""
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", **more}


def wait_for(paths: list[Path], patience: float = 20) -> None:
    """Until all of them are there."""
    end = time.monotonic() + patience
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, f"{paths} did not appear"
        time.sleep(0.02)
