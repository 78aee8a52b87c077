"""Steps of every objective and answers of every probe in float64, over all processes that the environment names.

`joined_steps.py FILE [NAME...]` writes what they give to an archive of NumPy, from the first process. Without names of
objectives it takes all.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

for _folder in ("", "unit", "distributed"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))

import jax  # noqa: E402
import numpy as np  # noqa: E402
import probe_fakes  # noqa: E402
from objective_fakes import entry, inputs_of, make, start  # noqa: E402
from precision import float64, widened  # noqa: E402

from ssl_single_image import parallel  # noqa: E402
from ssl_single_image.datasets.base import numpy_batch  # noqa: E402
from ssl_single_image.objectives import OBJECTIVES  # noqa: E402
from ssl_single_image.parallel import distributed  # noqa: E402
from ssl_single_image.probes import (  # noqa: E402
    ProbeConfig,
    cached,
    fewshot,
    knn,
    linear,
    make_plan,
    ridge,
)
from ssl_single_image.probes.passes import own_part  # noqa: E402

STEPS = 2
BATCH, TRAIN, TEST = 20, 60, 40
KINDS = {
    "ridge": lambda setup: functools.partial(ridge.classify, setup, ridge.Options(), TRAIN),
    "knn": lambda setup: functools.partial(knn.classify, setup, knn.Options(neighbours=25)),
    "fewshot": lambda setup: functools.partial(
        fewshot.classify, setup, fewshot.Options(shots=(2, 5), draws=2)
    ),
}


def flat(tree: Any) -> np.ndarray:
    """All numbers of a tree, one after the other."""
    return np.concatenate([np.ravel(np.asarray(leaf, np.float64)) for leaf in jax.tree.leaves(tree)])


def trained(name: str) -> Iterator[np.ndarray]:
    """Parameters, statistics and what is shared out before the first step and after each, behind a refresh."""
    objective, inputs, split = make(name, backbone="tiny"), inputs_of(name), entry(name).labelled
    state: Any = start(name, inputs, "tiny")
    if objective.refresh is not None:
        refresh = parallel.compile_step(objective.refresh, split_inputs=split)
        state = widened(refresh(state, jax.random.key(5), inputs)[0])  # its new head is of float32
        yield flat(state.extras.labels())
    bank = state.extras if name == "pirl" else ()
    yield flat((state.params, state.batch_stats, bank))
    step, whole = parallel.compile_step(objective.step, split_inputs=split), parallel.compile_whole()
    for _ in range(STEPS):
        given = own_part(inputs) if split else inputs
        state, _ = step(parallel.divide(state), jax.random.key(1), given)
        state = jax.device_get(whole(state))
        bank = state.extras if name == "pirl" else ()
        yield flat((state.params, state.batch_stats, bank))


def probed() -> dict[str, np.ndarray]:
    """What heads of both protocols learn and answer, and what the kinds in closed form answer."""
    config = ProbeConfig.from_config({"dataset": "stripes", "batch_size": BATCH, "max_features": 200})
    plan = make_plan([probe_fakes.loaded()], probe_fakes.labelled(train=TRAIN, test=TEST), config)
    setup = dataclasses.replace(plan.setups[0], dtype="float64")
    encoder, key = plan.encoders[0].encoder, jax.random.key(3)
    train, test = (_features(setup, encoder, split, seed) for seed, split in enumerate((TRAIN, TEST)))
    probe = cached.probe(setup, TRAIN)
    fit = parallel.compile_step(functools.partial(cached.fit_statistics, setup), split_inputs=True)
    state = fit(widened(probe.init(0, encoder)), key, train)[0]
    found = {"statistics": flat(state.batch_stats)}
    statistics = jax.device_get(state.batch_stats)
    step = parallel.compile_step(probe.step, split_inputs=True, steps_per_call=6)
    state = step(state, key, train)[0]
    found["cached"] = flat(state.params)
    found["cached answers"] = flat(
        parallel.compile_evaluate(probe.classify, split_inputs=True)(state, key, test)
    )
    published = linear.published(setup)
    state = widened(published.init(0, encoder))
    batch = own_part(probe_fakes.striped(BATCH))
    found["published"] = flat(
        parallel.compile_step(published.step, split_inputs=True)(state, key, batch)[0].params
    )
    for name, kind in KINDS.items():
        found[name] = _answers(kind(setup), statistics, key, train, test)
    return found


def _features(setup: linear.Setup, encoder: Any, images: int, seed: int) -> parallel.Shards[cached.Cache]:
    fill = parallel.compile_fill(functools.partial(cached.extract, setup))
    shards = cached.empty(setup, images, "float64")
    data = probe_fakes.striped(images, seed=seed)
    wrong = np.arange(images) % 3 == 0
    data = numpy_batch(
        *map(np.asarray, (data.image, np.where(wrong, (data.label + 1) % 3, data.label), data.extent))
    )
    for number in range(images // BATCH):
        rows = slice(number * BATCH, (number + 1) * BATCH)
        batch = own_part(jax.tree.map(lambda x, rows=rows: x[rows], data))
        shards = fill(shards, (linear.variables(encoder), np.int32(number)), batch)
    return shards


def _answers(classify: Any, statistics: Any, key: jax.Array, train: Any, test: Any) -> np.ndarray:
    def answered(state: Any, key: jax.Array, inputs: Any, *, axis_name: str | None) -> Any:
        parts = [linear.Labelled(part.features["conv2"], part.label) for part in inputs]
        outcome = classify(*parts, key, linear.Moments(**state["conv2"]), axis_name)
        return cached.in_order(outcome.given, BATCH, axis_name)

    compiled = parallel.compile_evaluate(answered, split_inputs=True)
    return flat(compiled(statistics, key, parallel.Shards((train.parts, test.parts))))


def everything(names: Sequence[str]) -> dict[str, np.ndarray]:
    """Name of an objective, with the number of the step, or of what a probe gives -> numbers."""
    found = {f"{name} {number}": values for name in names for number, values in enumerate(trained(name))}
    return found | probed()


if __name__ == "__main__":
    distributed.initialize()
    with float64(), probe_fakes.registered():
        arrays = everything(sys.argv[2:] or sorted(OBJECTIVES))
    if jax.process_index() == 0:
        np.savez(sys.argv[1], **arrays)  # type: ignore[arg-type]
