"""What is watched while a run trains: how far devices are used, a trace of chosen steps, steps that never end."""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
from absl import logging

from ssl_single_image import parallel

PEAKS = {
    "TPU v2": 22.5e12,
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5": 459e12,
    "TPU v6 lite": 918e12,
    "NVIDIA A100": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA GH200": 989e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "Tesla V100": 125e12,
    "Tesla T4": 65e12,
}
"""Beginning of a device's kind, as JAX names it -> its dense peak, floating-point operations a second.

The peaks are those that the makers state for bfloat16, or float16 where a device has no bfloat16. A chip of TPU v2 or
v3 is two devices. The longest name that fits counts.
"""
TRACE = "profile"
"""Folder of a workdir that gets traces, which TensorBoard and Perfetto read."""


def peak(device: jax.Device) -> float | None:
    """Dense peak of a device in operations a second; None where it is not known, as of a CPU."""
    fitting = [name for name in PEAKS if device.device_kind.startswith(name)]
    return PEAKS[max(fitting, key=len)] if fitting else None


def memory(devices: Sequence[jax.Device]) -> dict[str, float]:
    """`device_memory_gb`, the most that any of these devices has held at once; {} where JAX does not know it."""
    found = [device.memory_stats() for device in devices]
    peaks = [stats["peak_bytes_in_use"] for stats in found if stats and "peak_bytes_in_use" in stats]
    return {"device_memory_gb": max(peaks) / 1e9} if peaks else {}


@dataclasses.dataclass(frozen=True)
class Usage:
    """How much of the devices a run uses.

    Attributes:
      devices: those of this process.
      operations: floating-point operations of one call on one device, by XLA's count of the program as written; None
        where the devices' peak is not known.
    """

    devices: Sequence[jax.Device] = ()
    operations: float | None = None

    @classmethod
    def of(
        cls, advance: parallel.CompiledStep, *arguments: Any, devices: Sequence[jax.Device] | None = None
    ) -> Usage:
        """Of a compiled step that is called with these arguments, none of which is used up."""
        local = [device for device in devices or jax.devices() if device.process_index == jax.process_index()]
        known = bool(local) and peak(local[0]) is not None
        return cls(local, parallel.operations(advance, *arguments) if known else None)

    def told(self, seconds: float) -> dict[str, float]:
        """`device_memory_gb` and `flop_utilisation`, those of them that are known, where a call takes `seconds`."""
        told = memory(self.devices)
        if self.operations is not None:
            told["flop_utilisation"] = self.operations / seconds / (peak(self.devices[0]) or 1.0)
        return told


class Watchdog:
    """Prints what every thread is doing when no step has ended for a while.

    A thread of C does it, so it works where Python itself is stuck. Nothing else happens: it may be a slow disk.

    Args:
      seconds: how long; 0: it never speaks.
    """

    EVERY = 1.0
    """Seconds between two signs of life at least: each starts a thread."""

    def __init__(self, seconds: float):
        self._seconds, self._told = seconds, 0.0

    def alive(self) -> None:
        """A step has ended; the next one is awaited."""
        now = time.monotonic()
        if self._seconds and now - self._told >= self.EVERY:
            # In some notebooks stderr is not a file.
            with contextlib.suppress(ValueError, AttributeError):
                faulthandler.dump_traceback_later(self._seconds, repeat=True)
            self._told = now

    def rest(self) -> None:
        """What follows is no step, and may take long."""
        if self._seconds:
            faulthandler.cancel_dump_traceback_later()
        self._told = 0.0


class Profile:
    """A trace of some steps, which JAX's profiler writes to a workdir.

    Args:
      workdir: its folder `profile` gets the trace.
      steps: (start, stop): the steps after `start` up to `stop`; None: no trace.
    """

    def __init__(self, workdir: Path, steps: tuple[int, int] | None):
        self._place, self._steps, self._open = workdir / TRACE, steps, False

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[None]:
        """Around the call that takes the steps after `step`."""
        if self._steps is None:
            yield
            return
        if not self._open and self._steps[0] <= step < self._steps[1]:
            jax.profiler.start_trace(str(self._place), create_perfetto_trace=True)
            self._open = True
        with jax.profiler.StepTraceAnnotation("train", step_num=step):
            yield

    def ended(self, step: int, result: Any) -> None:
        """The call has been made that ends at `step`, with its result."""
        if self._open and self._steps is not None and step >= self._steps[1]:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Writes the trace, if one is open."""
        if self._open:
            jax.profiler.stop_trace()
            self._open = False
            logging.info("a trace of the profiler is in %s", self._place)
