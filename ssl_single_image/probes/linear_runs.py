"""Running linear probes of one encoder after the other by either protocol."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax
import numpy as np

from ssl_single_image import parallel
from ssl_single_image.datasets import labelling
from ssl_single_image.keys import Stream, stream, unused
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.extraction import Extracted, Extractor, share_of
from ssl_single_image.probes.kinds import Answers, Kind
from ssl_single_image.probes.passes import one_pass, own_part, progress_bar
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.runs import metrics as metrics_lib
from ssl_single_image.types import InputError, Metrics, State

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan


def make(plan: ProbePlan, setup: linear.Setup) -> Cached | Published:
    """The program of the plan's protocol for encoders of one spec."""
    return (Cached if plan.config.protocol == "cached" else Published)(plan, setup)


class Cached:
    """The cached protocol for encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._steps = plan.train_images // setup.batch_size
        self._probe = cached.probe(setup, plan.train_images)
        self._extractor = Extractor(plan, setup)
        self._train = parallel.compile_step(self._probe.step, split_inputs=True, steps_per_call=self._steps)
        self._classify = parallel.compile_evaluate(self._probe.classify, split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Answers:
        config = self._plan.config
        found = self._extractor.run(loaded)
        seeds = range(config.seed, config.seed + config.seeds)
        repeats = [self._repeat(loaded, found, seed) for seed in seeds]
        return answers(self._setup, repeats, found.label)

    def memory(self, loaded: LoadedEncoder) -> int:
        train, test = self._extractor.shapes()
        state = jax.eval_shape(functools.partial(self._probe.init, 0, loaded.encoder))
        training = parallel.memory(self._train, state, unused(), train) + share_of(test)
        testing = parallel.memory(self._classify, state, unused(), test) + share_of(train)
        return max(self._extractor.memory(loaded), training, testing)

    def _repeat(self, loaded: LoadedEncoder, found: Extracted, seed: int) -> dict[str, np.ndarray]:
        config, rows = self._plan.config, self._steps * self._setup.batch_size
        state = self._probe.init(seed, loaded.encoder)
        state = state.replace(batch_stats=jax.tree.map(lambda x: x.copy(), found.statistics))  # to be donated
        with progress_bar(config.epochs * rows, f"{loaded.name}: heads") as bar:
            for epoch in range(config.epochs):
                state, metrics = self._train(state, stream(seed, Stream.HEADS_STEP), found.train)
                losses = _losses(metrics, loaded.name, epoch)
                bar.update(rows)
            progress.show(bar, losses)
        given = jax.device_get(self._classify(state, unused(), found.test))
        return {layer: each[: len(found.label)] for layer, each in given.items()}


class Published:
    """The published protocol for encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._probe = linear.published(setup)
        self._step = parallel.compile_step(self._probe.step, split_inputs=True)
        self._classify = parallel.compile_evaluate(self._probe.classify, split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Answers:
        config, repeats = self._plan.config, []
        for seed in range(config.seed, config.seed + config.seeds):
            state = self._fit(loaded.name, self._probe.init(seed, loaded.encoder), seed)
            given, label = self._test(loaded.name, state)
            repeats.append(given)
        return answers(self._setup, repeats, label)

    def memory(self, loaded: LoadedEncoder) -> int:
        state = jax.eval_shape(functools.partial(self._probe.init, 0, loaded.encoder))
        size, test = self._setup.batch_size, self._plan.data.test
        batch = own_part(next(one_pass(test, size, min(len(test), size), 0)))
        return max(parallel.memory(each, state, unused(), batch) for each in (self._step, self._classify))

    def _fit(self, name: str, state: State, seed: int) -> State:
        plan, size = self._plan, self._setup.batch_size
        steps, key = plan.train_images // size, stream(seed, Stream.HEADS_STEP)
        shard = (jax.process_index(), jax.process_count())
        batches = plan.data.train.batches(size, seed=seed, shard=shard)
        with progress_bar(plan.config.epochs * steps * size, f"{name}: heads") as bar:
            for epoch in range(plan.config.epochs):
                total: Metrics | None = None
                for _ in range(steps):
                    state, metrics = self._step(state, key, next(batches))
                    jax.block_until_ready(total)  # one step ahead of the device, no more
                    total = metrics_lib.add(total, metrics)
                    bar.update(size)
                assert total is not None
                progress.show(bar, _losses(total, name, epoch))
        return state

    def _test(self, name: str, state: State) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Layer -> answers (N, ...) to the test images, and their labels."""
        plan, parts, labels = self._plan, [], []
        with progress_bar(plan.test_images, f"{name}: test") as bar:
            for batch in one_pass(plan.data.test, self._setup.batch_size, plan.test_images, plan.config.seed):
                given = jax.device_get(self._classify(state, unused(), own_part(batch)))
                valid = labelling.is_image(batch.label)
                parts.append({layer: each[valid] for layer, each in given.items()})
                labels.append(batch.label[valid])
                bar.update(int(valid.sum()))
            progress.show(bar, {})
        return {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}, np.concatenate(
            labels
        )


def answers(setup: linear.Setup, repeats: list[dict[str, np.ndarray]], label: np.ndarray) -> Answers:
    """Answers of a kind without settings, from layer -> answers (N, ...) of every repeat."""
    stacked = {layer: np.stack([one[layer] for one in repeats]) for layer in setup.features}
    return Answers({"": stacked}, setup.features, label)


def _losses(metrics: Mapping[str, tuple[jax.Array, jax.Array]], name: str, epoch: int) -> dict[str, float]:
    """Layer -> mean loss of an epoch.

    Raises:
      InputError: one of them is not a number.
    """
    means = metrics_lib.means({key: pair for key, pair in metrics.items() if key.endswith("/loss")}, "train")
    losses = {key.split("/")[1]: round(value, 3) for key, value in means.items()}
    for layer, loss in losses.items():
        if not math.isfinite(loss):
            raise InputError(
                f"probe of {name}: the loss at {layer} is {loss} in epoch {epoch + 1}; lower optimizer.learning_rate,"
                " or check that the checkpoint's run did not diverge"
            )
    return losses


KIND = Kind(make, "linear probes", published=True, multi_label=True)
