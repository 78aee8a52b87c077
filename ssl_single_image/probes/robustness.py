"""Robustness probes: classifiers of clean images, tested on images after every shift at every severity.

The classifiers are ridge ones, in closed form. They are fitted once, in seconds, without a schedule that could favour a
layer; retraining them for each shift would otherwise take hours. The summary is that of Hendrycks & Dietterich (ICLR
2019, section 4): errors relative to those of a reference network, here the untrained one of the same spec.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt8

from ssl_single_image import parallel
from ssl_single_image.augment import shifts
from ssl_single_image.datasets import labelling
from ssl_single_image.errors import InputError
from ssl_single_image.keys import Stream, stream, unused
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import cached, corruption_errors, linear, ridge, shifted
from ssl_single_image.probes.extraction import Extractor, Fitted, share_of
from ssl_single_image.probes.kinds import Answers, Kind, places
from ssl_single_image.probes.passes import one_pass, own_part, progress_bar
from ssl_single_image.runs import LoadedEncoder, progress
from ssl_single_image.schema import Told, Within
from ssl_single_image.types import State

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan

CLEAN = "clean"
"""The setting without a shift, which stands for a layer."""
RETRAINED = "retrained"
Cell = tuple[str, int]
"""A shift and a severity."""


@dataclasses.dataclass(frozen=True)
class Options(ridge.Options):
    """Options of robustness probes.

    Attributes:
      shifts: names of the shifts; (): all.
      severities: of every shift, ascending.
      retrain: whether classifiers are also fitted to the training images after each shift, at each severity.
    """

    shifts: Annotated[tuple[str, ...], Told(f"names among {', '.join(shifts.SHIFTS)}")] = ()
    severities: Annotated[tuple[int, ...], Within(1, shifts.SEVERITIES)] = (1, 2, 3, 4, 5)
    retrain: bool = False

    def check(self) -> None:
        super().check()
        for name in self.shifts:
            shifts.check(name, 1, path="options.shifts")
        for field in ("shifts", "severities"):
            given = getattr(self, field)
            if len(set(given)) < len(given):
                raise InputError(f"options.{field} = {given}: one is given twice")
        if not self.severities or list(self.severities) != sorted(self.severities):
            raise InputError(
                f"options.severities = {self.severities}: must be ascending numbers, one at least"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """All shifts that are meant."""
        return self.shifts or tuple(shifts.SHIFTS)

    @property
    def cells(self) -> list[Cell]:
        """Every shift at every severity."""
        return [(name, severity) for name in self.names for severity in self.severities]


class Robustness:
    """The program for encoders of one spec; everything is compiled once, whatever the number of shifts."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup
        self._options: Options = plan.config.options
        self._extractor = Extractor(plan, setup)
        fitting = functools.partial(fit, setup, self._options, plan.train_images)
        self._fit = parallel.compile_evaluate(fitting, split_inputs=True)
        self._classify = parallel.compile_evaluate(functools.partial(classify, setup), split_inputs=True)

    def run(self, loaded: LoadedEncoder) -> Answers:
        options, cells = self._options, self._options.cells
        test = self._extractor.shifter.prepare(options.names, shifted.TEST)
        state, chosen = self._heads(loaded, self._extractor.train(loaded))
        shown = [*(test.of(*cell) for cell in cells), test]
        answered, label = self._answers(loaded, state, shown, "shifted test images")
        given = dict(zip([*map(setting, cells), CLEAN], answered, strict=True))
        if options.retrain:
            given = self._retrained(loaded, test) | given
        return Answers(given, self._setup.features, label, chosen)

    def memory(self, loaded: LoadedEncoder) -> int:
        train, _ = self._extractor.shapes()
        state = State(jnp.int32(0), {}, linear.no_statistics(self._setup), {}, {})
        fitting = parallel.memory(self._fit, state, unused(), train)
        split, size = self._plan.data.test, self._setup.batch_size
        batch = next(one_pass(split, size, min(len(split), self._plan.test_images), 0))
        (inputs,) = shifted.numbered([batch], size)
        test = self._extractor.shifter.prepare(self._options.names, shifted.TEST)
        heads = {
            layer: ridge.Weights(jnp.zeros((count, self._setup.classes)), jnp.zeros(self._setup.classes))
            for layer, count in self._setup.features.items()
        }
        state = state.replace(
            params=heads, extras={"encoder": linear.variables(loaded.encoder), "shifting": test}
        )
        testing = parallel.memory(self._classify, state, unused(), own_part(inputs)) + share_of(train)
        return max(self._extractor.memory(loaded), fitting, testing)

    def _retrained(self, loaded: LoadedEncoder, test: shifted.Shifting) -> dict[str, dict[str, np.ndarray]]:
        """The answers of classifiers that learnt from images of the same shift and severity."""
        train = self._extractor.shifter.prepare(self._options.names, shifted.TRAIN)
        found = {}
        for cell in self._options.cells:
            state, _ = self._heads(loaded, self._extractor.train(loaded, train.of(*cell)))
            name = f"{setting(cell)} {RETRAINED}"
            (found[name],), _ = self._answers(loaded, state, [test.of(*cell)], name)
        return found

    def _heads(self, loaded: LoadedEncoder, fitted: Fitted) -> tuple[State, dict[str, dict[str, float]]]:
        """A state that classifies, and layer -> what was chosen."""
        state = State(jnp.int32(0), {}, fitted.statistics, {}, {})
        key = stream(self._plan.config.seed, Stream.HEADS_DRAWS)
        weights, chosen = self._fit(state, key, fitted.features)
        encoder = linear.variables(loaded.encoder)
        numbers = {
            layer: {name: round(float(value), 6) for name, value in one.items()}
            for layer, one in jax.device_get(chosen).items()
        }
        return state.replace(params=weights, extras={"encoder": encoder}), numbers

    def _answers(
        self, loaded: LoadedEncoder, state: State, shown: Sequence[shifted.Shifting], what: str
    ) -> tuple[list[dict[str, np.ndarray]], np.ndarray]:
        """For each way of showing the test images, layer -> answers (1, N); and the labels (N,)."""
        plan, size = self._plan, self._setup.batch_size
        states = [state.replace(extras={**state.extras, "shifting": one}) for one in shown]
        batches = one_pass(plan.data.test, size, plan.test_images, plan.config.seed)
        found, labels = [], []
        with progress_bar(plan.test_images * len(shown), f"{loaded.name}: {what}") as bar:
            for inputs in shifted.numbered(batches, size):
                valid, part = labelling.is_image(inputs.batch.label), own_part(inputs)
                given = jax.device_get([self._classify(one, unused(), part) for one in states])
                found.append([{layer: each[valid] for layer, each in one.items()} for one in given])
                labels.append(inputs.batch.label[valid])
                bar.update(int(valid.sum()) * len(shown))
            progress.show(bar, {})
        joined = [
            {layer: np.concatenate([part[layer] for part in parts])[None] for layer in self._setup.features}
            for parts in zip(*found, strict=True)
        ]
        return joined, np.concatenate(labels)


def fit(
    setup: linear.Setup,
    options: Options,
    images: int,
    state: State,
    key: jax.Array,
    inputs: cached.Cache,
    *,
    axis_name: str | None,
) -> tuple[dict[str, ridge.Weights], dict[str, dict[str, Array]]]:
    """Ridge classifiers of all layers, and layer -> penalty and accuracy on held-out images; see `ridge.fit`."""
    weights, chosen = {}, {}
    for layer in setup.features:
        labelled = linear.Labelled(inputs.features[layer], inputs.label)
        moments = linear.Moments(**state.batch_stats[layer])
        weights[layer], penalty, score = ridge.fit(setup, options, images, labelled, key, moments, axis_name)
        chosen[layer] = {"penalty": penalty, "held_out_top1": 100 * score}
    return weights, chosen


def classify(
    setup: linear.Setup, state: State, key: jax.Array, inputs: shifted.Numbered, *, axis_name: str | None
) -> dict[str, UInt8[Array, " B"]]:
    """Layer -> `kinds.places` of the images of a batch, which are shifted, encoded and classified in one program."""
    del key
    x = shifted.views(setup, state.extras["shifting"], inputs)
    features = linear.standardise(state, linear.encode(setup, state.extras["encoder"], x))
    given = {
        layer: places(ridge.scores(state.params[layer], x), inputs.batch.label)
        for layer, x in features.items()
    }
    return replicas.gather(given, axis_name)


def setting(cell: Cell) -> str:
    """What answers call a shift at a severity."""
    return f"{cell[0]} {cell[1]}"


def check(plan: ProbePlan) -> None:
    """Refuses shifts that the images can't have, and a shift beside them."""
    from ssl_single_image.probes.plan import check_shift

    if plan.config.shift:
        raise InputError(
            f"shift = {plan.config.shift!r}: kind robustness tests on shifts by itself; leave it empty, and set"
            " options.shifts"
        )
    for name in plan.config.options.names:
        for setup in plan.setups:
            check_shift(plan.data, name, 1, setup.encoder.size, "options.shifts")


def finish(plan: ProbePlan, results: Sequence[dict[str, Any]], answers: Sequence[Answers]) -> None:
    """Orders the numbers of every layer by shift, and adds the errors relative to those of untrained networks."""
    for result in results:
        for values in result["layers"].values():
            _by_shift(plan.config.options, values)
    for number, result in enumerate(results):
        references = [
            other
            for other, loaded in enumerate(plan.encoders)
            if loaded.untrained and plan.setups[other] is plan.setups[number]
        ]
        for layer, values in result["layers"].items() if references else ():
            values |= corruption_errors.relative(
                values, [results[one]["layers"][layer] for one in references]
            )
            own, *others = (_wrong(plan.config.options, answers[one], layer) for one in (number, *references))
            values |= corruption_errors.intervals_of(values, own, others)


def _wrong(options: Options, answers: Answers, layer: str) -> corruption_errors.Wrong:
    """Which test images a layer's classifiers got wrong."""
    shifted_ones = {
        name: sum(
            (answers.given[setting((name, severity))][layer][0] != 0).astype(np.float32)
            for severity in options.severities
        )
        for name in options.names
    }
    return corruption_errors.Wrong(
        (answers.given[CLEAN][layer][0] != 0).astype(np.float32), shifted_ones, len(options.severities)
    )


def _by_shift(options: Options, values: dict[str, Any]) -> None:
    """Puts `settings` of a layer into "shifts", and "retrained": shift -> severity -> accuracy and its interval."""
    given = values.pop("settings")
    endings = {"shifts": ""} | ({RETRAINED: f" {RETRAINED}"} if options.retrain else {})
    for field, ending in endings.items():
        values[field] = {
            name: {
                str(severity): {
                    number: given[setting((name, severity)) + ending][number]
                    for number in ("top1", "interval")
                }
                for severity in options.severities
            }
            for name in options.names
        }


def make(plan: ProbePlan, setup: linear.Setup) -> Robustness:
    """The program for encoders of one spec."""
    return Robustness(plan, setup)


KIND = Kind(
    make,
    "robustness probes",
    options=Options,
    max_features=2048,
    seeded=False,
    setting="shift and severity",
    check=check,
    finish=finish,
)
