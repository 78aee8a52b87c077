"""Ridge probes: linear classifiers in closed form, the quick first look at an encoder.

The targets are 1 for a class that an image has and 0 for another, less the share of the class. Where images have
several classes, an image that a class ignores has its share as target: it draws the scores neither up nor down. A part
of the training images is held out to choose the penalty. The classifier is then fitted to all of them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Bool, Float

from ssl_single_image import augment
from ssl_single_image.datasets import labelling
from ssl_single_image.errors import InputError
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import cached, linear, losses, precision
from ssl_single_image.probes.blocks import over_blocks, sum_over_blocks
from ssl_single_image.probes.closed import Closed, Outcome
from ssl_single_image.probes.kinds import Kind, answer
from ssl_single_image.schema import Section, Within

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of ridge probes.

    Attributes:
      penalties: what a unit of the weights' squared norm costs, as multiples of the number of training images.
      held_out: the share of training images that chooses among them.
    """

    TITLE = "options"

    penalties: Annotated[tuple[float, ...], Within(0, ends="(]")] = (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
    held_out: Annotated[float, Within(0, 1, "()")] = 0.1

    def check(self) -> None:
        if not self.penalties:
            raise InputError("options.penalties = (): give one at least")


class Sums(NamedTuple):
    """Over images: of the outer products of their features, and of features with targets."""

    gram: Float[Array, "F F"]
    target: Float[Array, "F classes"]


class Weights(NamedTuple):
    """Of a linear classifier of standardised features."""

    kernel: Float[Array, "F classes"]
    bias: Float[Array, " classes"]


def make(plan: ProbePlan, setup: linear.Setup) -> Closed:
    """The program for encoders of one spec."""
    return Closed(plan, setup, functools.partial(classify, setup, plan.config.options, plan.train_images))


def classify(
    setup: linear.Setup,
    options: Options,
    images: int,
    train: linear.Labelled,
    test: linear.Labelled,
    key: jax.Array,
    statistics: linear.Moments,
    axis_name: str | None = None,
) -> Outcome:
    """Fits a classifier to `images` training images, the rest of the rows are padding; see `closed.Classify`."""
    weights, penalty, score = fit(setup, options, images, train, key, statistics, axis_name)

    def given(block: linear.Labelled) -> jax.Array:
        return answer(scores(weights, linear.normalise(block.features, *statistics)), block.label)

    held_out = "held_out_mAP" if setup.labels.several else "held_out_top1"
    answers = over_blocks(given, test, cached.part(setup, axis_name))
    return Outcome(answers[:, None, None], {"penalty": penalty, held_out: 100 * score})


def fit(
    setup: linear.Setup,
    options: Options,
    images: int,
    train: linear.Labelled,
    key: jax.Array,
    statistics: linear.Moments,
    axis_name: str | None = None,
) -> tuple[Weights, Float[Array, ""], Float[Array, ""]]:
    """The classifier, its penalty, and what that penalty reached on held-out images: accuracy or mAP, in [0, 1].

    All classes have one penalty. Of penalties that do equally well the largest is taken.
    """
    held = min(max(1, round(options.held_out * images)), images - 1)
    rows = augment.permute_index(key, jnp.arange(held, dtype=jnp.uint32), images).astype(jnp.int32)
    rows = cached.held_at(rows, len(train.label), setup.batch_size, axis_name)
    apart = linear.Labelled(*(replicas.take(x, rows, axis_name) for x in train))
    kind = statistics.mean.dtype
    has, counts = (
        replicas.total(x.sum(0), axis_name).astype(kind) for x in classes_of(train.label, setup.classes)
    )
    share = has / jnp.maximum(counts, 1)

    def sums(block: linear.Labelled) -> Sums:
        valid = labelling.is_image(block.label)[:, None]
        x = jnp.where(valid, linear.normalise(block.features, *statistics), 0)
        has, counts = classes_of(block.label, setup.classes)
        return Sums(x.T @ x, x.T @ jnp.where(counts, has.astype(x.dtype) - share[None], 0))

    everything = replicas.total(sum_over_blocks(sums, train, cached.part(setup, axis_name)), axis_name)
    kept = jax.tree.map(jnp.subtract, everything, sums(apart))
    x = linear.normalise(apart.features, *statistics)

    def score(penalty: jax.Array) -> jax.Array:
        found = scores(_solve(kept, penalty * (images - held), share), x)
        if setup.labels.several:
            return precision.mean(found, *classes_of(apart.label, setup.classes))
        return (found.argmax(-1) == apart.label).mean(dtype=x.dtype)

    penalties = jnp.asarray(sorted(options.penalties, reverse=True), x.dtype)
    reached = lax.map(score, penalties)
    best = reached.argmax()
    return _solve(everything, penalties[best] * images, share), penalties[best], reached[best]


def classes_of(
    label: losses.Labels, classes: int
) -> tuple[Bool[Array, "B classes"], Bool[Array, "B classes"]]:
    """Whether an image has each class, and whether it counts for it: padding and ignored images do not."""
    if label.ndim == 2:
        has = label == labelling.PRESENT
        return has, has | (label == labelling.ABSENT)
    has = label[:, None] == jnp.arange(classes, dtype=label.dtype)[None]
    return has, jnp.broadcast_to((label >= 0)[:, None], has.shape)


def _solve(sums: Sums, penalty: jax.Array, share: jax.Array) -> Weights:
    ridge = sums.gram + penalty * jnp.eye(len(sums.gram), dtype=sums.gram.dtype)
    return Weights(cho_solve(cho_factor(ridge), sums.target), share)


def scores(weights: Weights, x: Float[Array, "B F"]) -> Float[Array, "B classes"]:
    """Scores of standardised features."""
    return x @ weights.kernel + weights.bias[None]


KIND = Kind(make, "ridge probes", options=Options, multi_label=True)
