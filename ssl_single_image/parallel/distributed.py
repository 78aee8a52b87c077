"""Joins the processes of one run. The only caller of `jax.distributed.initialize`."""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Any

import jax
from absl import logging

from ssl_single_image.types import InputError

PATIENCE = "SSL_COORDINATOR_TIMEOUT"
"""Environment variable: seconds that a process waits for process 0."""


def initialize() -> None:
    """Joins this process to its peers, as the environment says; call once, before any other use of JAX.

    SSL_NUM_PROCESSES, SSL_PROCESS_ID and JAX_COORDINATOR_ADDRESS (host:port of process 0) describe a run
    by hand. `launch/local.sh` sets them. SSL_DISTRIBUTED=auto lets JAX ask the cluster (SLURM, TPU,
    Kubernetes). With neither, the process stands alone.

    Raises:
      InputError: a variable is missing or is not a number.
    """
    if "SSL_NUM_PROCESSES" in os.environ:
        names = ("SSL_NUM_PROCESSES", "SSL_PROCESS_ID")
        try:
            count, index = (int(os.environ[name]) for name in names)
            address = os.environ["JAX_COORDINATOR_ADDRESS"]
            patience = int(os.environ.get(PATIENCE, "300"))
        except (KeyError, ValueError) as error:
            raise InputError(
                f"environment of a run in several processes: {error}; see launch/local.sh"
            ) from error
        if not 0 <= index < count:
            raise InputError(f"SSL_PROCESS_ID={index}: must be in [0, {count}), as SSL_NUM_PROCESSES says")
        if not re.fullmatch(r".+:\d{1,5}", address) or not 0 < int(address.rpartition(":")[2]) < 2**16:
            raise InputError(f"JAX_COORDINATOR_ADDRESS={address}: must be HOST:PORT of process 0")
        logging.info(
            "process %d of %d: waiting for the coordinator at %s, at most %d s",
            index,
            count,
            address,
            patience,
        )
        if index:
            _wait_for(address, patience)
        _join(
            f"the coordinator at {address} did not answer in {patience} s",
            coordinator_address=address,
            num_processes=count,
            process_id=index,
            cluster_detection_method="deactivate",
            initialization_timeout=patience,
        )
    elif os.environ.get("SSL_DISTRIBUTED") == "auto":
        _join("SSL_DISTRIBUTED=auto: no cluster was recognised here")
    elif "SSL_DISTRIBUTED" in os.environ:
        raise InputError(f"SSL_DISTRIBUTED={os.environ['SSL_DISTRIBUTED']!r}: the one value is 'auto'")
    check_devices()
    logging.info(
        "process %d of %d: %d local of %d %s devices",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
        jax.default_backend(),
    )


def check_devices() -> None:
    """Has JAX find its devices.

    Raises:
      InputError: the platform that JAX_PLATFORMS names is not there.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # without the platform's plugin JAX only asserts
        platforms = os.environ.get("JAX_PLATFORMS", "")
        reason = f" ({' '.join(str(error).split())[:200]})" if str(error) else ""
        raise InputError(f"JAX_PLATFORMS={platforms}: JAX finds no such devices here{reason}") from error


def _wait_for(address: str, patience: int) -> None:
    """Until process 0 listens: JAX's own client aborts the process when it gives up.

    Raises:
      InputError: nobody listens within `patience` seconds.
    """
    host, _, port = address.rpartition(":")
    end = time.monotonic() + patience
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > end:
                raise InputError(
                    f"the coordinator at {address} did not answer in {patience} s ({error.strerror or error})"
                ) from error
            time.sleep(0.5)


def _join(failed: str, **arguments: Any) -> None:
    try:
        jax.distributed.initialize(**arguments)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{failed} ({' '.join(str(error).split())[:200]})") from error
