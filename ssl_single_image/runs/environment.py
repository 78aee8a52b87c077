"""What a result was computed with: versions, commit and devices. For the record; it decides nothing."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import jax

import ssl_single_image

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
"""Packages whose versions decide how a step is computed."""


@functools.cache
def describe() -> dict[str, Any]:
    """JSON-able: versions, the commit of this package (None if unknown), platform, devices and processes."""
    device = jax.devices()[0]
    return {
        "version": ssl_single_image.__version__,
        "commit": commit(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "backend": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "processes": jax.process_count(),
    }


def processor() -> str:
    """The model of the host's processor; on Linux, where Python does not know it, as the kernel names it."""
    kernel = Path("/proc/cpuinfo")
    named = re.search(r"model name\s*:\s*(.+)", kernel.read_text()) if kernel.exists() else None
    return named[1] if named else platform.processor()


def commit() -> str | None:
    """The commit of the clone that the package lies in, with "-dirty" where files differ from it.

    An installed package has the commit where pip got it from Git, and else None.
    """
    root = Path(ssl_single_image.__file__).parents[1]
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return None
    try:
        origin = importlib.metadata.distribution("ssl-single-image").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return None
    vcs: dict[str, str] = json.loads(origin or "{}").get("vcs_info", {})
    return vcs.get("commit_id")
