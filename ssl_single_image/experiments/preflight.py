"""What would happen if a command began here and now: all that can be wrong, before a job waits in a queue.

One function for each command that runs for long, with the arguments of the command's own. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from tabulate import tabulate

from ssl_single_image import parallel
from ssl_single_image.datasets import LabelledSet
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import analyses, configs, finetuning, pretraining, probing
from ssl_single_image.experiments.completion import complete
from ssl_single_image.experiments.settings import FinetuneConfig, PretrainConfig
from ssl_single_image.keys import Stream, stream
from ssl_single_image.probes import runner
from ssl_single_image.runs import checkpoint, places, workdir
from ssl_single_image.training import loop
from ssl_single_image.types import Objective, PyTree

SHOWN = 3
"""Names that are listed."""


@dataclasses.dataclass(frozen=True)
class Preflight:
    """What was checked, and found to be right; it prints as a table.

    Attributes:
      found: what it is about -> what there is.
    """

    found: dict[str, str]

    def __str__(self) -> str:
        return tabulate(list(self.found.items()), tablefmt="plain", disable_numparse=True)


def pretrain(config: Any, folder: str | Path, *, devices: int = 0) -> Preflight:
    """Checks a run, and compiles its step.

    Raises:
      InputError: a bad field, a source that can't be read, a folder that can't be used or holds another run, or more
        memory than a device has.
    """
    place = _usable(folder)
    made = pretraining.prepare(config, devices)
    settings, steps = made.settings, made.settings.steps
    step = _resumed_at(place, made.record)
    memory = _memory_of_a_step(made.objective, settings, made.data, made.devices)
    begins = "begins a run" if not step else "is complete" if step >= steps else f"goes on from step {step:,}"
    return Preflight(
        {
            "objective": f"{settings.objective}, {_schedule(settings, made.devices)}",
            "inputs": _listed([str(one.get("name", "?")) for one in made.record["inputs"]]),
            "workdir": f"{folder} {begins}",
            "memory": _within_limit(memory, made.devices, "a smaller batch_size, or more devices"),
            "checkpoints": _checkpoints(_state(made.objective, settings, made.data), settings.keep),
        }
    )


def probe(config: Any, references: str | Sequence[str], folder: str | Path) -> Preflight:
    """Checks a probe, and compiles its programs.

    Raises:
      InputError: a bad field, a checkpoint or data set that can't be read, a folder that can't be used or holds
        something else, or more memory than a device has.
    """
    place = probing.free_of_others(_usable(folder))
    names, plan = probing.prepare(config, references)
    done = complete("probe", plan.config, place, names)
    layers = list(dict.fromkeys(layer for setup in plan.setups for layer in setup.features))
    return Preflight(
        {
            "encoders": _listed(names),
            "data": _data(plan.data, plan.train_images, plan.test_images),
            "probe": f"{plan.config.kind}, {plan.config.protocol}, at {', '.join(layers)}",
            "workdir": f"{folder} {'is complete' if done else 'begins a probe'}",
            "memory": _within_limit(
                runner.memory(plan), jax.devices(), "fewer max_features or train_images, or more devices"
            ),
        }
    )


def finetune(
    config: Any, references: str | Sequence[str], folder: str | Path, *, devices: int = 0
) -> Preflight:
    """Checks the training behind frozen layers, and compiles the step of each kind of network.

    Raises:
      InputError: a bad field, a checkpoint or data set that can't be read, a folder that can't be used or holds
        something else, or more memory than a device has.
    """
    place = _usable(folder)
    settings, rows, data, used = finetuning.prepare(config, references, devices)
    names = [row.name for row in rows]
    done = complete("finetune", settings, place, names)
    inputs = pretraining.labelled_data(data, settings, used)
    kinds = {(repr(row.spec), row.frozen): row.objective(settings, len(data.classes)) for row in rows}
    needed = max(_memory_of_a_step(each, settings, inputs, used) for each in kinds.values())
    held = max(kinds.values(), key=lambda each: _bytes(_state(each, settings, inputs)))
    return Preflight(
        {
            "encoders": _listed(names),
            "data": _data(data, len(data.train), finetuning.evaluated_images(settings, data)),
            "training": _schedule(settings, used),
            "workdir": f"{folder} {'is complete' if done else 'begins or goes on'}",
            "memory": _within_limit(needed, used, "a smaller batch_size, or more devices"),
            "checkpoints": _checkpoints(_state(held, settings, inputs), settings.keep),
        }
    )


def analyse(
    references: str | Sequence[str], folder: str | Path, *, what: str = analyses.DEFAULT, **fields: Any
) -> Preflight:
    """Checks an analysis.

    Raises:
      InputError: a bad field, a checkpoint or image that can't be read, or a folder that can't be used or holds
        something else.
    """
    kind, settings = analyses.read(what, fields)
    place = analyses.free_of_others(_usable(folder), what)
    made = kind.prepare(references, settings)
    record = analyses.recorded(what, settings, [loaded.name for loaded in made.encoders])
    there = (place / kind.result).exists()
    if there:
        before = analyses.completed(what, workdir.read(place))
        if changed := workdir.differences(before, record, [*analyses.FREE, workdir.ENVIRONMENT]):
            workdir.refuse(place, changed)
    return Preflight(
        {
            "encoders": _listed([loaded.name for loaded in made.encoders]),
            "images": kind.images(settings),
            "workdir": f"{folder} {'is complete' if there else 'begins an analysis'}",
        }
    )


def _usable(folder: str | Path) -> Path:
    """The folder, which need not be there.

    Raises:
      InputError: it can't be written to, or is in use.
    """
    place = places.brought(folder, must=False)
    workdir.check_place(place)
    if holder := workdir.holder(place):
        raise InputError(f"workdir {place}: is in use by process {holder.get('pid')} on {holder.get('host')}")
    return place


def _resumed_at(place: Path, record: dict[str, Any]) -> int:
    """The step from which the folder's run would go on; 0: it would begin.

    Raises:
      InputError: the folder holds another run or a longer one.
    """
    found = checkpoint.recorded(place)
    if found is None:
        return 0
    step, before = found
    if record["steps"] < step:
        raise InputError(f"steps = {record['steps']}: the run in {place} is at step {step} already")
    completed = configs.completed("pretrain", before)
    if changed := workdir.differences(completed, record, [*pretraining.FREE, workdir.ENVIRONMENT]):
        workdir.refuse(place, changed)
    return step


def _state(objective: Objective, settings: PretrainConfig | FinetuneConfig, data: loop.Data) -> PyTree:
    """Shapes and dtypes of the state."""
    return jax.eval_shape(objective.init, stream(settings.seed, Stream.INIT), data.example)


def _memory_of_a_step(
    objective: Objective,
    settings: PretrainConfig | FinetuneConfig,
    data: loop.Data,
    devices: Sequence[jax.Device],
) -> int:
    """Bytes that a step holds on one device."""
    compiled = parallel.compile_step(
        objective.step, split_inputs=data.split, steps_per_call=settings.steps_per_call, devices=devices
    )
    key, inputs = stream(settings.seed, Stream.STEP), next(iter(data.train(0)))
    state = parallel.divide(_state(objective, settings, data), devices)
    return parallel.memory(compiled, state, key, inputs)


def _within_limit(needed: int, devices: Sequence[jax.Device], give: str) -> str:
    """What is needed of what there is, in words.

    Raises:
      InputError: it is more; says what to give.
    """
    limit = parallel.memory_limit(devices)
    if limit is not None and needed > limit:
        raise InputError(
            f"{needed / 1e9:.1f} GB are needed on each device, which has {limit / 1e9:.1f} GB: give {give}"
        )
    has = "" if limit is None else f" of {limit / 1e9:.1f} GB"
    return f"{needed / 1e9:.2f} GB{has} on each device"


def _schedule(settings: PretrainConfig | FinetuneConfig, devices: Sequence[jax.Device]) -> str:
    count, kind = len(devices), devices[0].device_kind
    return (
        f"{settings.steps:,} steps, batch_size {settings.batch_size:,}, {count:,} {kind}"
        f" device{'s' * (count > 1)}"
    )


def _data(data: LabelledSet, train: int, test: int) -> str:
    return f"{data.name}, {len(data.classes):,} classes, {train:,} training and {test:,} test images"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if names[SHOWN:] else ""
    return ", ".join(names[:SHOWN]) + more


def _checkpoints(state: PyTree, keep: int) -> str:
    return f"about {_bytes(state) / 1e6:,.0f} MB each; {keep} are kept, and the best"


def _bytes(state: PyTree) -> int:
    is_key = functools.partial(jax.dtypes.issubdtype, b=jax.dtypes.prng_key)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state) if not is_key(leaf.dtype))
