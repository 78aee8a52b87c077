"""k-nearest-neighbour probes: a vote of the most similar training images, without any training.

Features are scaled to length 1. A neighbour of cosine s has exp(s / temperature) votes (Wu et al. 2018, section 3.4).
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int32

from ssl_single_image.errors import InputError
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.blocks import over_blocks
from ssl_single_image.probes.closed import Closed, Outcome
from ssl_single_image.probes.kinds import Kind, places
from ssl_single_image.schema import Section, Within

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan

SHORTEST = 1e-12
"""Length below which a vector is all zeros, which is no neighbour of anything."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of nearest-neighbour probes.

    Attributes:
      neighbours: k, how many training images vote.
      temperature: of the votes; a lower one gives the nearest more of them.
    """

    TITLE = "options"

    neighbours: Annotated[int, Within(1)] = 20
    temperature: Annotated[float, Within(0, ends="(]")] = 0.07


def make(plan: ProbePlan, setup: linear.Setup) -> Closed:
    """The program for encoders of one spec."""
    return Closed(plan, setup, functools.partial(classify, setup, plan.config.options))


def check(plan: ProbePlan) -> None:
    """Refuses more neighbours than images."""
    neighbours = plan.config.options.neighbours
    if neighbours > plan.train_images:
        raise InputError(
            f"options.neighbours = {neighbours}: there are only {plan.train_images} training images"
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
    """The classes by the votes of the neighbours; see `closed.Classify`.

    Each replica finds the neighbours among its training images. Those of all replicas are then compared.
    """
    del key
    kind = statistics.mean.dtype
    known = unit(train.features.astype(kind))
    padding = jnp.where(train.label >= 0, 0, -jnp.inf).astype(kind)

    def place(block: linear.Labelled) -> jax.Array:
        asked = replicas.gather(unit(block.features.astype(kind)), axis_name)
        found, rows = lax.top_k(asked @ known.T + padding[None], min(options.neighbours, len(known)))
        nearest, label = _nearest(found, train.label[rows], options.neighbours, axis_name)
        votes = jnp.exp((nearest - 1) / options.temperature)  # no cosine is above 1: nothing overflows
        classes = jax.nn.one_hot(label, setup.classes, dtype=kind)
        return places(jnp.einsum("bk,bkc->bc", votes, classes), block.label)

    return Outcome(over_blocks(place, test, cached.part(setup, axis_name))[:, None, None])


def _nearest(
    cosine: Float[Array, "B k"], label: Int32[Array, "B k"], neighbours: int, axis_name: str | None
) -> tuple[Float[Array, "b K"], Int32[Array, "b K"]]:
    """Of what every replica found for the B images of all, the nearest to this replica's b."""
    if axis_name is None:
        return cosine, label
    parts = (
        lax.all_to_all(x.reshape(replicas.count(axis_name), -1, x.shape[-1]), axis_name, 0, 0)
        for x in (cosine, label)
    )
    cosine, label = (jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1) for x in parts)
    nearest, best = lax.top_k(cosine, neighbours)
    return nearest, jnp.take_along_axis(label, best, 1)


def unit(x: Float[Array, "B F"]) -> Float[Array, "B F"]:
    """Rows of length 1."""
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), SHORTEST)


KIND = Kind(make, "nearest-neighbour probes", options=Options, max_features=768, seeded=False, check=check)
