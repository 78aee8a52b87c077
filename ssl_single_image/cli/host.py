"""Settings of the host that make JAX faster on CPUs: huge pages, flags of XLA, compiled programs kept on disk.

Hosts with an accelerator are left alone, and SSL_TUNE=0 switches all of it off. What the user has set wins.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

SWITCH = "SSL_TUNE"
"""Environment variable; "0" leaves the host as it is."""

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Has malloc ask for huge pages. XLA takes its temporaries afresh at every step, hundreds of MiB on a CPU, and
faulting them in by pages of 4 KiB costs about a third of the time of a training step."""

XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false"
"""Has XLA compile for CPUs by its older emitters, whose programs are as fast and take 400 MiB less to compile."""

COMPILED = ".compiled"
"""Folder beside a workdir for compiled programs, which all runs there share."""

DEVICES = ("nvidiactl", "nvidia[0-9]*", "kfd", "accel[0-9]*", "accel/accel*", "vfio/[0-9]*")
"""Device files in /dev of GPUs (NVIDIA, AMD) and TPUs."""


def tune() -> None:
    """Sets XLA's flags and, on Linux, starts this process anew with HUGE_PAGES: glibc reads its tunables only then."""
    if not wanted():
        return
    set_xla_flags()
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_compiled(workdir: Path) -> None:
    """Has JAX keep compiled programs beside `workdir` for the next run, unless JAX_COMPILATION_CACHE_DIR is set."""
    if not wanted():
        return
    import jax

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(workdir.parent / COMPILED))


def wanted() -> bool:
    """Whether this host is tuned: it computes on its CPU, and the user has not switched it off."""
    if os.environ.get(SWITCH) == "0":
        return False
    platforms = os.environ.get("JAX_PLATFORMS", "")
    return platforms == "cpu" if platforms else not has_accelerator(Path("/dev"))


def has_accelerator(devices: Path) -> bool:
    """Whether the folder of device files has one of a GPU or TPU."""
    return any(next(devices.glob(pattern), None) is not None for pattern in DEVICES)


def set_xla_flags() -> None:
    """Puts XLA_FLAGS before the user's in the environment; only before JAX is imported has it an effect."""
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA aborts on a flag that it doesn't know, and flags come and go.
    if XLA_FLAGS not in flags and importlib.metadata.version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {flags}".strip()  # of a flag given twice the last counts
