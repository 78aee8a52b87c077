"""What is watched while a run trains: use of the devices, traces, and steps that never end."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from ssl_single_image import parallel
from ssl_single_image.training import observing
from ssl_single_image.training.observing import Profile, Usage, Watchdog


def device(kind: str, stats: dict[str, int] | None = None) -> Any:
    return types.SimpleNamespace(device_kind=kind, memory_stats=lambda: stats, process_index=0)


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("TPU v5 lite", 197e12),
        ("TPU v5p", 459e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("cpu", None),
    ],
)
def test_peaks_are_found_by_the_longest_name(kind: str, peak: float | None) -> None:
    assert observing.peak(device(kind)) == peak


def test_operations_are_those_of_the_program() -> None:
    """A product of an m x k and a k x n matrix has 2mkn operations."""
    product = jax.jit(lambda state, key, inputs: (state @ inputs, {}))
    arguments: Any = (jnp.ones((4, 8)), jax.random.key(0), jnp.ones((8, 16)))
    assert parallel.operations(product, *arguments) == 2 * 4 * 8 * 16


def test_usage_is_told_where_it_is_known() -> None:
    gpu = device("NVIDIA H200", {"peak_bytes_in_use": 3 * 10**9})
    other = device("NVIDIA H200", {"peak_bytes_in_use": 5 * 10**9})
    told = Usage([gpu, other], operations=989e12).told(seconds=2.0)
    assert told == {"device_memory_gb": 5.0, "flop_utilisation": 0.5}
    assert Usage([device("cpu")]).told(1.0) == {}


def test_a_step_that_does_not_end_shows_where_it_is() -> None:
    code = """
import time
from ssl_single_image.training.observing import Watchdog
dog = Watchdog(0.3)
dog.alive()
def stuck():
    time.sleep(1)
stuck()
dog.rest()
time.sleep(0.6)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.count("Timeout (0:00:00.3") == 3  # every 0.3 s, and not at rest
    assert "in stuck" in done.stderr


def test_no_seconds_no_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        observing.faulthandler, "dump_traceback_later", lambda *_, **__: pytest.fail("it watches")
    )
    dog = Watchdog(0)
    dog.alive()
    dog.rest()


def test_a_trace_of_chosen_steps(tmp_path: Path) -> None:
    tracer = Profile(tmp_path, (2, 4))
    for step in range(6):
        with tracer.step(step):
            result = jnp.ones(3) + step
        tracer.ended(step + 1, result)
        assert bool(list(tmp_path.rglob("*.xplane.pb"))) == (step + 1 >= 4)
    tracer.close()
    (perfetto,) = tmp_path.rglob("perfetto_trace.json.gz")
    assert perfetto.is_relative_to(tmp_path / "profile")


def test_without_steps_there_is_no_trace(tmp_path: Path) -> None:
    tracer = Profile(tmp_path, None)
    with tracer.step(0):
        pass
    tracer.ended(1, None)
    tracer.close()
    assert not list(tmp_path.iterdir())
