"""Running linear probes of one encoder after the other by either protocol."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import parallel
from ssl_single_image.datasets import Split
from ssl_single_image.keys import Stream, stream, unused
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.kinds import Measured
from ssl_single_image.probes.passes import one_pass, own_part, progress_bar
from ssl_single_image.probes.plan import ProbePlan
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.runs import metrics as metrics_lib
from ssl_single_image.types import InputError, Metrics, State


def make(plan: ProbePlan, setup: linear.Setup) -> Cached | Published:
    """The program of the plan's protocol for encoders of one spec."""
    return (Cached if plan.config.protocol == "cached" else Published)(plan, setup)


class Cached:
    """The cached protocol for encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._steps = plan.train_images // setup.batch_size
        self._probe = cached.probe(setup, plan.train_images)
        self._extract = parallel.compile_step(functools.partial(cached.extract, setup), split_inputs=True)
        self._fit = parallel.compile_step(functools.partial(cached.fit_statistics, setup), split_inputs=False)
        self._train = parallel.compile_step(self._probe.step, split_inputs=False, steps_per_call=self._steps)
        self._evaluate = parallel.compile_evaluate(self._probe.evaluate, split_inputs=False)

    def run(self, loaded: LoadedEncoder) -> Measured:
        plan, seed = self._plan, self._plan.config.seed
        key = unused()
        train = self._cache(loaded, plan.data.train, plan.train_images, "train")
        test = self._cache(loaded, plan.data.test, plan.test_images, "test")
        state, _ = self._fit(self._probe.init(stream(seed, Stream.HEADS_INIT), loaded.encoder), key, train)
        for layer, stats in state.batch_stats.items():
            if not bool(jnp.isfinite(stats["var"]).all()):
                raise InputError(f"checkpoint {loaded.name}: its features at {layer} are not finite")
        rows = self._steps * self._setup.batch_size
        with progress_bar(plan.config.epochs * rows, f"{loaded.name}: heads") as bar:
            for epoch in range(plan.config.epochs):
                state, metrics = self._train(state, stream(seed, Stream.HEADS_STEP), train)
                losses = _losses(metrics, loaded.name, epoch)
                bar.update(rows)
            progress.show(bar, losses)
        label = np.asarray(test.label)
        counts = np.bincount(label[label >= 0], minlength=len(plan.data.classes))
        return measured(self._setup, self._evaluate(state, key, test), counts)

    def _cache(self, loaded: LoadedEncoder, split: Split, images: int, name: str) -> cached.Cache:
        state = cached.empty_state(self._setup, loaded.encoder, images, self._plan.config.feature_dtype)
        key = unused()
        with progress_bar(images, f"{loaded.name}: features of {name} images") as bar:
            for batch in one_pass(split, self._setup.batch_size, images, self._plan.config.seed):
                state, _ = self._extract(state, key, own_part(batch))
                jax.block_until_ready(state.step)
                bar.update(int((batch.label >= 0).sum()))
            progress.show(bar, {})
        return state.extras["cache"]


class Published:
    """The published protocol for encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._probe = linear.published(setup)
        self._step = parallel.compile_step(self._probe.step, split_inputs=True)
        self._evaluate = parallel.compile_evaluate(self._probe.evaluate, split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Measured:
        seed = self._plan.config.seed
        state = self._probe.init(stream(seed, Stream.HEADS_INIT), loaded.encoder)
        state = self._fit(loaded.name, state, stream(seed, Stream.HEADS_STEP))
        return self._test(loaded.name, state)

    def _fit(self, name: str, state: State, key: jax.Array) -> State:
        plan, size = self._plan, self._setup.batch_size
        steps = plan.train_images // size
        shard = (jax.process_index(), jax.process_count())
        batches = plan.data.train.batches(size, seed=plan.config.seed, shard=shard)
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

    def _test(self, name: str, state: State) -> Measured:
        key = unused()
        plan, size = self._plan, self._setup.batch_size
        counts = np.zeros(len(plan.data.classes), np.int64)
        total: Metrics | None = None
        with progress_bar(plan.test_images, f"{name}: test") as bar:
            for batch in one_pass(plan.data.test, size, plan.test_images, plan.config.seed):
                jax.block_until_ready(total)
                total = metrics_lib.add(total, self._evaluate(state, key, own_part(batch)))
                label = np.asarray(batch.label)[batch.label >= 0]
                counts += np.bincount(label, minlength=len(counts))
                bar.update(len(label))
            progress.show(bar, {})
        assert total is not None
        return measured(self._setup, total, counts)


def measured(setup: linear.Setup, metrics: Metrics, label_counts: np.ndarray) -> Measured:
    """The metrics of a test in percent."""
    values = metrics_lib.means(metrics, "test")
    layers = {
        layer: {
            "top1": round(100 * values[f"test/{layer}/top1"], 4),
            "top5": round(100 * values[f"test/{layer}/top5"], 4),
            "features": features,
        }
        for layer, features in setup.features.items()
    }
    return Measured(layers, label_counts)


def _losses(metrics: Metrics, name: str, epoch: int) -> dict[str, float]:
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
