"""The features of an encoder on a labelled set, computed once: where every kind of probe with a cache begins."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ssl_single_image import parallel
from ssl_single_image.datasets import Split, labelling
from ssl_single_image.keys import unused
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.passes import one_pass, own_part, progress_bar
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.types import InputError, PyTree, State

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan


class Extracted(NamedTuple):
    """Features of all images, and their mean and variance over the training images as `batch_stats` holds them."""

    train: cached.Cache
    test: cached.Cache
    statistics: PyTree

    @property
    def label(self) -> np.ndarray:
        """Of the test images, without padding."""
        label = np.asarray(self.test.label)
        return label[labelling.is_image(label)]


class Extractor:
    """Computes features of encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._extract = parallel.compile_step(functools.partial(cached.extract, setup), split_inputs=True)
        self._fit = parallel.compile_step(functools.partial(cached.fit_statistics, setup), split_inputs=False)

    def run(self, loaded: LoadedEncoder) -> Extracted:
        """Features of one encoder.

        Raises:
          InputError: those of a layer are not finite.
        """
        plan = self._plan
        train = self._cache(loaded, plan.data.train, plan.train_images, "train")
        test = self._cache(loaded, plan.data.test, plan.test_images, "test")
        empty = State(jnp.int32(0), {}, linear.no_statistics(self._setup), {}, {})
        statistics = self._fit(empty, unused(), train)[0].batch_stats
        for layer, stats in statistics.items():
            if not bool(jnp.isfinite(stats["var"]).all()):
                raise InputError(f"checkpoint {loaded.name}: its features at {layer} are not finite")
        return Extracted(train, test, statistics)

    def _cache(self, loaded: LoadedEncoder, split: Split, images: int, name: str) -> cached.Cache:
        state = cached.empty_state(self._setup, loaded.encoder, images, self._plan.config.feature_dtype)
        key = unused()
        with progress_bar(images, f"{loaded.name}: features of {name} images") as bar:
            for batch in one_pass(split, self._setup.batch_size, images, self._plan.config.seed):
                state, _ = self._extract(state, key, own_part(batch))
                jax.block_until_ready(state.step)
                bar.update(int(labelling.is_image(batch.label).sum()))
            progress.show(bar, {})
        return state.extras["cache"]
