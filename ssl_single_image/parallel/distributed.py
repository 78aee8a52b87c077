"""Joins the processes of one run. The only caller of `jax.distributed.initialize`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils

from ssl_single_image.types import Halted, InputError

PATIENCE = "SSL_COORDINATOR_TIMEOUT"
"""Environment variable: seconds that a process waits for process 0."""
SILENCE = "SSL_PEER_TIMEOUT"
"""Environment variable: seconds without a sign of life after which a process counts as lost."""

_LONGEST = 1000  # bytes of an error that are told to other processes
MARGIN = 60
"""Seconds after which JAX gives up waiting later than this program."""
LOST = (
    "another process of this run has ended or can't be reached, so this one ends too; what it said last stands above."
    " What is saved can be resumed: start all processes again"
)
SIGNS = ("Gloo", "NCCL", "Connection reset", "Connection closed", "coordination service", "heartbeat")
"""What errors of JAX say when another process is lost."""


class Lost(Halted):
    """Another process of the run is gone, or can't be reached; status 1."""

    lost = True

    def __init__(self) -> None:
        super().__init__(LOST, 1)


def initialize() -> None:
    """Joins this process to its peers, as the environment says; call once, before any other use of JAX.

    From then on a process that is lost ends the others: after `SSL_PEER_TIMEOUT` seconds, default 60, if it only falls
    silent.

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
        except (KeyError, ValueError) as error:
            raise InputError(
                f"environment of a run in several processes: {error}; see launch/local.sh"
            ) from error
        patience = _seconds(PATIENCE, 300)
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
        patience = _seconds(PATIENCE, 300)
        _join(
            f"SSL_DISTRIBUTED=auto: no cluster was recognised here, or not all its processes joined in {patience} s",
            initialization_timeout=patience + MARGIN,
            within=patience,
        )
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


def _seconds(name: str, default: int) -> int:
    """What an environment variable says.

    Raises:
      InputError: it is no whole number above 0.
    """
    text = os.environ.get(name, str(default))
    if not text.isdecimal() or not int(text):
        raise InputError(f"{name}={text}: must be a whole number of seconds, at least 1")
    return int(text)


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

    arguments["heartbeat_timeout_seconds"] = _seconds(SILENCE, 60)
    thread = threading.Thread(target=join, daemon=True)
    thread.start()
    thread.join(within)
    if thread.is_alive():
        raise InputError(failed)
    if errors:
        raise InputError(f"{failed} ({' '.join(str(errors[0]).split())[:200]})") from errors[0]
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))  # JAX has put its own handler there
    if jax.process_count() > 1:
        _speak_at_abort()


def _speak_at_abort() -> None:
    """Has the process say `LOST` when it is aborted, with status 1.

    JAX aborts a process that has lost process 0, or that process 0 has lost, from a thread that runs no Python. It
    prints a stack trace and lets no caller answer. Handlers of Python's own `signal` module would be called too late.
    """

    def speak(_: int) -> None:
        os.write(2, f"\nssl-single-image: {LOST}\n".encode())
        os._exit(1)

    global _handler
    _handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(speak)
    ctypes.CDLL(None).signal(signal.SIGABRT, _handler)


_handler: Any = None


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What is computed with other processes: where one of them is gone, JAX's error becomes a `Lost`.

    From then on SIGTERM is ignored. The launcher sends it to those that are left, and this process is about to say why
    it ends.

    Raises:
      Lost: a collective has failed because of that.
    """
    try:
        yield
    except Exception as error:
        if not lost(error):
            raise
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Lost() from error


def lost(error: BaseException) -> bool:
    """Whether an error says that another process of this run is gone."""
    return jax.process_count() > 1 and any(sign in str(error) for sign in SIGNS)
