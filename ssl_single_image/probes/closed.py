"""Kinds of probe whose classifiers are one pure function of cached features: no training step, no state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ssl_single_image import parallel
from ssl_single_image.keys import Stream, stream, unused
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.extraction import Extracted, Extractor
from ssl_single_image.probes.kinds import Answers
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import PyTree, State

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan


class Inputs(NamedTuple):
    """The features that classifiers are made from, and those that they classify: a replica's share of them."""

    train: cached.Cache
    test: cached.Cache


class Outcome(NamedTuple):
    """What a classifier on one layer answered.

    Attributes:
      given: (n, S, R, ...), see `kinds.answer`; the n rows of the share of test images, S settings, R repeats.
      chosen: name -> number, what it chose by itself.
    """

    given: Array
    chosen: Mapping[str, Float[Array, ""]] = {}


class Classify(Protocol):
    """Makes a classifier of one layer and answers with it; it is compiled for all layers at once."""

    def __call__(
        self,
        train: linear.Labelled,
        test: linear.Labelled,
        key: jax.Array,
        statistics: linear.Moments,
        axis_name: str | None = None,
    ) -> Outcome:
        """`train` and `test` are shares of features as they were computed; `statistics` standardises them."""
        ...


class Closed:
    """A program of such a kind for encoders of one spec; compiled once."""

    def __init__(
        self,
        plan: ProbePlan,
        setup: linear.Setup,
        classify: Classify,
        settings: Sequence[str] = ("",),
        check: Callable[[Extracted], None] | None = None,
    ):
        """`check` refuses features that the kind can't work with, by InputError."""
        self._plan, self._setup = plan, setup
        self._settings, self._check = settings, check

        def all_layers(state: State, key: jax.Array, inputs: Inputs, *, axis_name: str | None) -> PyTree:
            outcomes = {
                layer: classify(
                    linear.Labelled(inputs.train.features[layer], inputs.train.label),
                    linear.Labelled(inputs.test.features[layer], inputs.test.label),
                    key,
                    linear.Moments(**state.batch_stats[layer]),
                    axis_name,
                )
                for layer in setup.features
            }
            given = {layer: one.given for layer, one in outcomes.items()}
            given = cached.in_order(given, setup.batch_size, axis_name)
            return {layer: one._replace(given=given[layer]) for layer, one in outcomes.items()}

        self._classify = parallel.compile_evaluate(all_layers, split_inputs=True)
        self._extractor = Extractor(plan, setup)

    def memory(self, loaded: LoadedEncoder) -> int:
        train, test = self._extractor.shapes()
        state = State(jnp.int32(0), {}, linear.no_statistics(self._setup), {}, {})
        inputs = parallel.Shards(Inputs(train.parts, test.parts))
        classifying = parallel.memory(self._classify, state, unused(), inputs)
        return max(self._extractor.memory(loaded), classifying)

    def run(self, loaded: LoadedEncoder) -> Answers:
        found = self._extractor.run(loaded)
        if self._check:
            self._check(found)
        state, config = State(jnp.int32(0), {}, found.statistics, {}, {}), self._plan.config
        inputs = parallel.Shards(Inputs(found.train.parts, found.test.parts))
        outcomes = [
            jax.device_get(self._classify(state, stream(seed, Stream.HEADS_DRAWS), inputs))
            for seed in range(config.seed, config.seed + config.seeds)
        ]
        given = {
            layer: np.concatenate([one[layer].given for one in outcomes], 2)[: len(found.label)]
            for layer in self._setup.features
        }
        return Answers(
            {
                setting: {layer: np.moveaxis(each[:, number], 1, 0) for layer, each in given.items()}
                for number, setting in enumerate(self._settings)
            },
            self._setup.features,
            found.label,
            {
                layer: {name: round(float(value), 6) for name, value in outcomes[0][layer].chosen.items()}
                for layer in given
            },
        )
