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
from ssl_single_image.probes import cached, linear, shifted
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


class Fitted(NamedTuple):
    """Features of the training images: as the fields `train`, `statistics` and `train_label` of `Extracted`."""

    features: parallel.Shards[cached.Cache]
    statistics: PyTree
    label: np.ndarray


class Extractor:
    """Computes features of encoders of one spec; compiled once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self.shifter = shifted.Shifter(plan, setup)
        self._extract = parallel.compile_fill(functools.partial(cached.extract, setup))
        self._extract_shifted = parallel.compile_fill(functools.partial(shifted.extract, setup))
        self._fit = parallel.compile_step(functools.partial(cached.fit_statistics, setup), split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Extracted:
        """Features of one encoder, of images that are shifted as the plan's config says.

        Raises:
          InputError: those of a layer are not finite.
        """
        plan = self._plan
        fitted = self.train(loaded, self._shifting(shifted.TRAIN) if plan.config.retrain else None)
        test, label = self._cache(
            loaded, plan.data.test, plan.test_images, "test", self._shifting(shifted.TEST)
        )
        return Extracted(fitted.features, test, fitted.statistics, fitted.label, label)

    def train(self, loaded: LoadedEncoder, shifting: shifted.Shifting | None = None) -> Fitted:
        """Features of the training images of one encoder, shifted where it is said how.

        Raises:
          InputError: those of a layer are not finite.
        """
        plan = self._plan
        train, label = self._cache(loaded, plan.data.train, plan.train_images, "train", shifting)
        empty = State(jnp.int32(0), {}, linear.no_statistics(self._setup), {}, {})
        statistics = self._fit(empty, unused(), train)[0].batch_stats
        for layer, stats in statistics.items():
            if not bool(jnp.isfinite(stats["var"]).all()):
                raise InputError(f"checkpoint {loaded.name}: its features at {layer} are not finite")
        return Fitted(train, statistics, label)

    def _shifting(self, split: int) -> shifted.Shifting | None:
        config = self._plan.config
        if not config.shift:
            return None
        return self.shifter.prepare([config.shift], split).of(config.shift, config.severity)

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
        encoder, first = linear.variables(loaded.encoder), np.int32(0)
        shifting = self._shifting(shifted.TEST)

        def filling(cache: parallel.Shards[cached.Cache], shifts: bool) -> int:
            if shifting is None or not shifts:
                return parallel.memory(self._extract, cache, (encoder, first), own_part(batch))
            (inputs,) = shifted.numbered([batch], self._setup.batch_size)
            return parallel.memory(self._extract_shifted, cache, (encoder, first, shifting), own_part(inputs))

        return max(filling(train, plan.config.retrain), filling(test, True) + share_of(train))

    def _cache(
        self,
        loaded: LoadedEncoder,
        split: Split,
        images: int,
        name: str,
        shifting: shifted.Shifting | None,
    ) -> tuple[parallel.Shards[cached.Cache], np.ndarray]:
        """Features of a split, and its labels."""
        cache = cached.empty(self._setup, images, self._plan.config.feature_dtype)
        encoder, labels = linear.variables(loaded.encoder), []
        size = self._setup.batch_size
        batches = shifted.numbered(one_pass(split, size, images, self._plan.config.seed), size)
        with progress_bar(images, f"{loaded.name}: features of {name} images") as bar:
            for number, inputs in enumerate(batches):
                batch = inputs.batch
                if shifting is None:
                    cache = self._extract(cache, (encoder, np.int32(number)), own_part(batch))
                else:
                    common = (encoder, np.int32(number), shifting)
                    cache = self._extract_shifted(cache, common, own_part(inputs))
                jax.block_until_ready(cache)
                labels.append(batch.label[labelling.is_image(batch.label)])
                bar.update(len(labels[-1]))
            progress.show(bar, {})
        return cache, np.concatenate(labels)


def share_of(shards: parallel.Shards[PyTree]) -> int:
    """Bytes of what one device holds of arrays, or of their shapes and dtypes."""
    here = jax.local_device_count() if jax.device_count() > 1 else 1
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shards)) // here
