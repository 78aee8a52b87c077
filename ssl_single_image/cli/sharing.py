"""Processes that share this host: each gets its accelerator, or its part of the cores."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

DEVICES = "import jax; print(jax.default_backend(), jax.local_device_count())"
"""Asked in a process of its own, because a process that has looked keeps the devices."""
CHIP = {"TPU_PROCESS_BOUNDS": "1,1,1", "TPU_CHIPS_PER_PROCESS_BOUNDS": "1,1,1"}
"""Has a process use one chip of a TPU host, which TPU_VISIBLE_CHIPS names."""


def devices() -> list[tuple[str, str]]:
    """Backend and number of each accelerator of this host, as the environment names them; [] for a CPU."""
    told = subprocess.run(
        [sys.executable, "-c", DEVICES], capture_output=True, text=True, check=False
    ).stdout.split()
    if len(told) != 2 or told[0] == "cpu":
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "") if told[0] != "tpu" else ""
    names = visible.split(",") if visible else [str(number) for number in range(int(told[1]))]
    return [(told[0], name) for name in names]


def share_of(found: Sequence[tuple[str, str]], worker: int) -> dict[str, str]:
    """What a worker's environment has beside ours, so that it sees one of the accelerators `found`."""
    if not found:
        return {}
    backend, name = found[worker % len(found)]
    return {"TPU_VISIBLE_CHIPS": name, **CHIP} if backend == "tpu" else {"CUDA_VISIBLE_DEVICES": name}


def keep_to_cores(process: int, worker: int, workers: int) -> None:
    """Gives a process its part of this process's cores: two threads of one worker wait for each other.

    The process has no threads yet when this is called, and those it will have stay on its cores.
    """
    if sys.platform != "linux":
        return
    cores = sorted(os.sched_getaffinity(0))
    part = cores[worker * len(cores) // workers : (worker + 1) * len(cores) // workers]
    os.sched_setaffinity(process, part or [cores[worker % len(cores)]])
