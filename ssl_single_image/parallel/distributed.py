"""Joins the processes of one run. The only caller of `jax.distributed.initialize`."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from ssl_single_image.types import InputError

PATIENCE = "SSL_COORDINATOR_TIMEOUT"
"""Environment variable: seconds that a process waits for process 0."""

_LONGEST = 1000  # bytes of an error that are told to other processes
MARGIN = 60
"""Seconds after which JAX gives up waiting later than this program."""


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
        awaited = f"the coordinator at {address}" if index else f"{count - 1} others to join {address}"
        logging.info("process %d of %d: waiting for %s, at most %d s", index, count, awaited, patience)
        if index:
            _wait_for(address, patience)
        _join(
            f"not all of the {count} processes joined {address} in {patience} s",
            coordinator_address=address,
            num_processes=count,
            process_id=index,
            cluster_detection_method="deactivate",
            initialization_timeout=patience + MARGIN,
            within=patience,
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


def first_decides(act: Callable[[], None]) -> None:
    """Calls `act` in process 0 alone. Where that fails, all processes end, and none waits for it in vain.

    Raises:
      InputError: `act` raised something, which process 0 raises as it is.
    """
    failed: Exception | None = None
    if jax.process_index() == 0:
        try:
            act()
        except Exception as error:
            failed = error
    said = f"{failed}" if failed else ""
    if jax.process_count() > 1:
        told = np.frombuffer(said.encode()[:_LONGEST].ljust(_LONGEST, b"\0"), np.uint8)
        told = np.asarray(multihost_utils.broadcast_one_to_all(told))
        said = told.tobytes().rstrip(b"\0").decode(errors="replace")
    if failed is not None:
        raise failed
    if said:
        raise InputError(said)


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


def _join(failed: str, within: float | None = None, **arguments: Any) -> None:
    """Joins the processes; in a thread that is left alone when it takes too long, for JAX then aborts the process.

    Raises:
      InputError: it failed, or took longer than `within` seconds.
    """
    errors: list[Exception] = []

    def join() -> None:
        try:
            jax.distributed.initialize(**arguments)
        except (RuntimeError, ValueError) as error:
            errors.append(error)

    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(within)
    if thread.is_alive():
        raise InputError(failed)
    if errors:
        raise InputError(f"{failed} ({' '.join(str(errors[0]).split())[:200]})") from errors[0]
