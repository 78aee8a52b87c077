"""What compiled functions cost, and what devices have."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, cast

import jax

from ssl_single_image.parallel.compile import CompiledEvaluate, CompiledStep


def operations(compiled: CompiledStep | CompiledEvaluate, *arguments: Any) -> float | None:
    """Floating-point operations of one call on one device, by XLA's count before it optimises; None if it has none."""
    costs = cast(Any, compiled).lower(*arguments).cost_analysis() or {}
    return costs.get("flops") or None


def memory(compiled: Callable[..., Any], *arguments: Any) -> int:
    """Bytes that one device holds during a call: arguments, results and what is between them, as XLA has planned it.

    The program is compiled for it. Arguments may be shapes and dtypes, as from `jax.eval_shape`.
    """
    sizes = cast(Any, compiled).lower(*arguments).compile().memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return int(held - sizes.alias_size_in_bytes)


def memory_limit(devices: Sequence[jax.Device]) -> int | None:
    """Bytes that one device has for arrays; of CPUs, the host's memory divided by their number."""
    here = [device for device in devices if device.process_index == jax.process_index()]
    stats = here[0].memory_stats() if here else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if not here or here[0].platform != "cpu":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(here)
