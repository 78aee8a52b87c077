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
    """Features of all images.

    Attributes:
      train: of the training images, shared out over the devices.
      test: of the test images, likewise.
      statistics: mean and variance over the training images, as `batch_stats` holds them.
      train_label: (images,) int32, or (images, classes) int8, without padding.
      label: of the test images, likewise.
    """

    train: parallel.Shards[cached.Cache]
    test: parallel.Shards[cached.Cache]
    statistics: PyTree
    train_label: np.ndarray
    label: np.ndarray


class Extractor:
    """Computes features of encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._extract = parallel.compile_fill(functools.partial(cached.extract, setup))
        self._fit = parallel.compile_step(functools.partial(cached.fit_statistics, setup), split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Extracted:
        """Features of one encoder.

        Raises:
          InputError: those of a layer are not finite.
        """
        plan = self._plan
        train, train_label = self._cache(loaded, plan.data.train, plan.train_images, "train")
        test, label = self._cache(loaded, plan.data.test, plan.test_images, "test")
        empty = State(jnp.int32(0), {}, linear.no_statistics(self._setup), {}, {})
        statistics = self._fit(empty, unused(), train)[0].batch_stats
        for layer, stats in statistics.items():
            if not bool(jnp.isfinite(stats["var"]).all()):
                raise InputError(f"checkpoint {loaded.name}: its features at {layer} are not finite")
        return Extracted(train, test, statistics, train_label, label)

    def shapes(self) -> tuple[parallel.Shards[cached.Cache], parallel.Shards[cached.Cache]]:
        """The shapes and dtypes of the features of training images, and of test images."""
        plan = self._plan
        counts, dtype = (plan.train_images, plan.test_images), plan.config.feature_dtype
        train, test = (cached.shapes(self._setup, count, dtype) for count in counts)
        return train, test

    def memory(self, loaded: LoadedEncoder) -> int:
        """Bytes that one device holds at most; the programs are compiled for that."""
        plan, (train, test) = self._plan, self.shapes()
        split = plan.data.test
        batch = next(one_pass(split, self._setup.batch_size, min(len(split), plan.test_images), 0))
        common = (linear.variables(loaded.encoder), np.int32(0))
        filling = [parallel.memory(self._extract, each, common, own_part(batch)) for each in (train, test)]
        return max(filling[0], filling[1] + share_of(train))

    def _cache(
        self, loaded: LoadedEncoder, split: Split, images: int, name: str
    ) -> tuple[parallel.Shards[cached.Cache], np.ndarray]:
        """Features of a split, and its labels."""
        cache = cached.empty(self._setup, images, self._plan.config.feature_dtype)
        encoder, labels = linear.variables(loaded.encoder), []
        batches = one_pass(split, self._setup.batch_size, images, self._plan.config.seed)
        with progress_bar(images, f"{loaded.name}: features of {name} images") as bar:
            for number, batch in enumerate(batches):
                cache = self._extract(cache, (encoder, np.int32(number)), own_part(batch))
                jax.block_until_ready(cache)
                labels.append(batch.label[labelling.is_image(batch.label)])
                bar.update(len(labels[-1]))
            progress.show(bar, {})
        return cache, np.concatenate(labels)


def share_of(shards: parallel.Shards[PyTree]) -> int:
    """Bytes of what one device holds of arrays, or of their shapes and dtypes."""
    here = jax.local_device_count() if jax.device_count() > 1 else 1
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shards)) // here
