"""What would happen if a run began here and now: all that can be wrong, before a job waits in a queue for nothing."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from tabulate import tabulate

from ssl_single_image import parallel
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs
from ssl_single_image.experiments.pretraining import FREE, Prepared, prepare
from ssl_single_image.keys import Stream, stream
from ssl_single_image.runs import checkpoint, places, workdir
from ssl_single_image.types import PyTree

SHOWN = 3
"""Names of inputs that are listed."""


@dataclasses.dataclass(frozen=True)
class Preflight:
    """What was checked, and found to be right; it prints as a table.

    Attributes:
      found: what it is about -> what there is.
    """

    found: dict[str, str]

    def __str__(self) -> str:
        return tabulate(list(self.found.items()), tablefmt="plain", disable_numparse=True)


def preflight(config: Any, folder: str | Path, *, devices: int = 0) -> Preflight:
    """Checks a run as `pretrain` would, with the same arguments, and compiles its step. Nothing is written.

    Raises:
      InputError: a bad field, a source that can't be read, a folder that can't be used or holds another run, or more
        memory than a device has.
    """
    place = places.brought(folder, must=False)
    workdir.check_place(place)
    made = prepare(config, devices)
    step = _resumed_at(place, made.record)
    state = _shapes(made)
    needed, limit = _memory(made, state), _limit(made.devices)
    if limit is not None and needed > limit:
        raise InputError(
            f"a step needs {needed / 1e9:.1f} GB on each device, which has {limit / 1e9:.1f} GB: give a smaller"
            " batch_size, or more devices"
        )
    return Preflight(_told(made, place, step, state, needed, limit))


def _resumed_at(place: Path, record: dict[str, Any]) -> int:
    """The step from which the folder's run would go on; 0: it would begin.

    Raises:
      InputError: the folder is in use, or holds another run or a longer one.
    """
    if holder := workdir.holder(place):
        raise InputError(f"workdir {place}: is in use by process {holder.get('pid')} on {holder.get('host')}")
    found = checkpoint.recorded(place)
    if found is None:
        return 0
    step, before = found
    if record["steps"] < step:
        raise InputError(f"steps = {record['steps']}: the run in {place} is at step {step} already")
    completed = configs.completed("pretrain", before)
    if changed := workdir.differences(completed, record, [*FREE, workdir.ENVIRONMENT]):
        workdir.refuse(place, changed)
    return step


def _shapes(made: Prepared) -> PyTree:
    """Shapes and dtypes of the state."""
    return jax.eval_shape(made.objective.init, stream(made.settings.seed, Stream.INIT), made.data.example)


def _memory(made: Prepared, state: PyTree) -> int:
    """Bytes that a step holds on one device."""
    compiled = parallel.compile_step(
        made.objective.step,
        split_inputs=made.data.split,
        steps_per_call=made.settings.steps_per_call,
        devices=made.devices,
    )
    return parallel.memory(compiled, state, stream(made.settings.seed, Stream.STEP), next(made.data.train(0)))


def _limit(devices: Sequence[jax.Device]) -> int | None:
    """Bytes that one device has for arrays; of CPUs, the host's memory divided by their number."""
    here = [device for device in devices if device.process_index == jax.process_index()]
    stats = here[0].memory_stats() if here else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    if not here or here[0].platform != "cpu":
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // len(here)


def _told(
    made: Prepared, place: Path, step: int, state: PyTree, needed: int, limit: int | None
) -> dict[str, str]:
    settings, steps = made.settings, made.settings.steps
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state) if not _is_key(leaf))
    begins = "begins a run" if not step else "is complete" if step >= steps else f"goes on from step {step:,}"
    has = "" if limit is None else f" of {limit / 1e9:.1f} GB"
    count, kind = len(made.devices), made.devices[0].device_kind
    names = [str(one.get("name", "?")) for one in made.record["inputs"]]
    return {
        "objective": f"{settings.objective}, {steps:,} steps, batch_size {settings.batch_size:,},"
        f" {count:,} {kind} device{'s' * (count > 1)}",
        "inputs": ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN:,} more" if names[SHOWN:] else ""),
        "workdir": f"{place} {begins}",
        "memory": f"{needed / 1e9:.2f} GB{has} on each device",
        "checkpoints": f"about {size / 1e6:,.0f} MB each; {settings.keep} are kept, and the best",
    }


def _is_key(leaf: Any) -> bool:
    return bool(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key))
