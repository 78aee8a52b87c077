"""Few-shot probes: linear classifiers from a few labels a class, in closed form, over several draws of the labels.

The classifier is a ridge one in its dual form. Features are standardised by all training images, for which no label
is needed.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int32

from ssl_single_image.errors import InputError
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.blocks import over_blocks
from ssl_single_image.probes.closed import Closed, Outcome
from ssl_single_image.probes.extraction import Extracted
from ssl_single_image.probes.kinds import Kind, places
from ssl_single_image.schema import Section, Within

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan

MOST = 8192
"""Labelled images of a draw; the dual form solves a system of so many equations."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of few-shot probes.

    Attributes:
      shots: numbers of labels a class, ascending; the last stands for a layer in tables of one number.
      draws: how often the labelled images are drawn.
      penalty: of the weights' squared norm, as a multiple of the mean squared length of the drawn images' features.
    """

    TITLE = "options"

    shots: Annotated[tuple[int, ...], Within(1)] = (1, 5, 10, 20)
    draws: Annotated[int, Within(1)] = 10
    penalty: Annotated[float, Within(0, ends="(]")] = 1.0

    def check(self) -> None:
        if not self.shots or list(self.shots) != sorted(set(self.shots)):
            raise InputError(f"options.shots = {self.shots}: must be ascending numbers, one at least")


def make(plan: ProbePlan, setup: linear.Setup) -> Closed:
    """The program for encoders of one spec."""
    options = plan.config.options
    return Closed(
        plan,
        setup,
        functools.partial(classify, setup, options),
        settings=[str(count) for count in options.shots],
        check=functools.partial(enough, plan),
    )


def check(plan: ProbePlan) -> None:
    """Refuses more labelled images than a draw can have."""
    count = len(plan.data.classes) * plan.config.options.shots[-1]
    if count > MOST:
        raise InputError(
            f"options.shots = {plan.config.options.shots}: {count:,} labels in all, more than {MOST:,}"
        )


def enough(plan: ProbePlan, found: Extracted) -> None:
    """Refuses a class with fewer training images than labels are asked for."""
    wanted = plan.config.options.shots[-1]
    counts = np.bincount(found.train_label, minlength=len(plan.data.classes))
    if counts.min() < wanted:
        name = plan.data.classes[int(counts.argmin())]
        raise InputError(
            f"options.shots = {plan.config.options.shots}: class {name} of {plan.data.name} has only"
            f" {counts.min()} training images"
        )


def classify(
    setup: linear.Setup,
    options: Options,
    train: linear.Labelled,
    test: linear.Labelled,
    key: jax.Array,
    statistics: linear.Moments,
    axis_name: str | None = None,
) -> Outcome:
    """Classifiers of every number of labels and every draw; see `closed.Classify`."""
    shots = jnp.asarray(options.shots)
    kind = statistics.mean.dtype
    labels = cached.in_order(train.label, setup.batch_size, axis_name)

    def one(number: jax.Array) -> jax.Array:
        count, draw_key = shots[number // options.draws], jax.random.fold_in(key, number % options.draws)
        rows = drawn(draw_key, labels, setup.classes, options.shots[-1]).reshape(-1)
        held = cached.held_at(rows, len(train.label), setup.batch_size, axis_name)
        features = replicas.take(train.features, held, axis_name)
        used = jnp.tile(jnp.arange(options.shots[-1]) < count, setup.classes)
        x = jnp.where(used[:, None], linear.normalise(features, *statistics), 0)
        target = jax.nn.one_hot(labels[rows], setup.classes, dtype=kind) - 1 / setup.classes
        products = x @ x.T
        penalty = options.penalty * products.trace() / used.sum(dtype=kind)
        # Images that are not used have features of zero: they add nothing to the kernel.
        dual = jnp.linalg.solve(products + penalty * jnp.eye(len(x), dtype=kind), target)
        kernel = x.T @ dual

        def place(block: linear.Labelled) -> jax.Array:
            return places(linear.normalise(block.features, *statistics) @ kernel, block.label)

        return over_blocks(place, test, cached.part(setup, axis_name))

    placed = lax.map(one, jnp.arange(len(options.shots) * options.draws))
    return Outcome(placed.T.reshape(-1, len(options.shots), options.draws))


def drawn(key: jax.Array, label: Int32[Array, " N"], classes: int, count: int) -> Int32[Array, "classes k"]:
    """Rows of `count` images of each class, drawn without replacement; each class has as many at least.

    Fewer of the same key are the first of these, so that more labels are added to those there were.
    """
    order = jnp.lexsort((jax.random.uniform(key, label.shape), label))
    first = jnp.searchsorted(label[order], jnp.arange(classes))
    return order[first[:, None] + jnp.arange(count)[None]]


KIND = Kind(
    make,
    "few-shot probes",
    options=Options,
    seeded=False,
    setting="labels a class",
    check=check,
)
