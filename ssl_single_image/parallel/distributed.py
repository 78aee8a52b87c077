"""Joins the processes of one run. The only caller of `jax.distributed.initialize`."""

from __future__ import annotations

import os

import jax
from absl import logging

from ssl_single_image.types import InputError


def initialize() -> None:
    """Joins this process to its peers, as the environment says; call once, before any other use of JAX.

    SSL_NUM_PROCESSES, SSL_PROCESS_ID and JAX_COORDINATOR_ADDRESS (host:port of process 0) describe a run
    by hand, as `launch/local.sh` sets them; SSL_DISTRIBUTED=auto lets JAX ask the cluster (SLURM, TPU,
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
        jax.distributed.initialize(address, count, index, cluster_detection_method="deactivate")
    elif os.environ.get("SSL_DISTRIBUTED") == "auto":
        jax.distributed.initialize()
    elif "SSL_DISTRIBUTED" in os.environ:
        raise InputError(f"SSL_DISTRIBUTED={os.environ['SSL_DISTRIBUTED']!r}: the one value is 'auto'")
    logging.info(
        "process %d of %d: %d local of %d %s devices",
        jax.process_index(),
        jax.process_count(),
        jax.local_device_count(),
        jax.device_count(),
        jax.default_backend(),
    )
