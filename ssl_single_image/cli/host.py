"""Settings of the host that make JAX faster on CPUs: huge pages, flags of XLA, and compiled programs kept on disk.

Hosts with an accelerator are left alone. SSL_TUNE=0 switches all settings off. What the user has set wins.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from pathlib import Path

from absl import logging

SWITCH = "SSL_TUNE"
"""Environment variable; "0" leaves the host as it is."""

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Makes malloc ask for huge pages. XLA allocates hundreds of MiB of temporaries at every step on a CPU. Faulting
them in by pages of 4 KiB costs about a third of the time of a training step."""

XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false"
"""Makes XLA compile for CPUs by its older emitters: programs are as fast, and compiling takes 400 MiB less."""

COMPILED = "ssl_single_image"
"""Folder for compiled programs, in the user's own cache folder: nobody else can put programs there."""

DEVICES = ("nvidiactl", "nvidia[0-9]*", "kfd", "accel[0-9]*", "accel/accel*", "vfio/[0-9]*")
"""Device files in /dev of GPUs (NVIDIA, AMD) and TPUs."""


def tune() -> None:
    """Sets XLA's flags and, on Linux, restarts this process with HUGE_PAGES: glibc reads its tunables at the start."""
    if not wanted():
        return
    set_xla_flags()
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def keep_compiled() -> None:
    """Has JAX keep compiled programs for the next run, unless JAX_COMPILATION_CACHE_DIR says where."""
    if not wanted():
        return
    import jax

    folder = compiled_folder()
    if jax.config.jax_compilation_cache_dir is None and _private(folder):  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(folder))


def compiled_folder() -> Path:
    """Where compiled programs are kept, by the XDG base directories."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / COMPILED


def _private(folder: Path) -> bool:
    """Makes the folder, for this user alone; says where it is the first time. False where that can't be done."""
    try:
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True)
            logging.info("compiled programs are kept in %s", folder)
        return folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022
    except OSError:
        return False


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
    """Puts XLA_FLAGS before the user's flags in the environment; this has an effect only before JAX is imported."""
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA aborts on a flag that it doesn't know, and flags come and go.
    if XLA_FLAGS not in flags and importlib.metadata.version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {flags}".strip()  # of two values the last counts
