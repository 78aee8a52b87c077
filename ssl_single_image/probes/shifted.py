"""Labelled images as probes show them after a shift: which keys they get, and which images a shift shows parts of."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Key, UInt32

from ssl_single_image import parallel
from ssl_single_image.augment import shifts
from ssl_single_image.errors import InputError
from ssl_single_image.keys import Stream, stream, unused
from ssl_single_image.probes import cached, linear
from ssl_single_image.probes.passes import one_pass
from ssl_single_image.types import Batch, PyTree, State

if TYPE_CHECKING:
    from ssl_single_image.probes.plan import ProbePlan

POOL = 256
"""Training images that shifts show parts of; all, where there are fewer."""
TRAIN, TEST = 0, 1
"""The number of a split in keys: image 7 of one split is not shifted as image 7 of the other."""


class Numbered(NamedTuple):
    """A batch, or a replica's part of it, and the number of each image in its pass."""

    batch: Batch
    place: UInt32[Array, " B"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shifting:
    """How the images of a pass are shifted; an argument of compiled programs, which serve all shifts and severities.

    Attributes:
      names: of the shifts that the program knows.
      number: () int32, which of them.
      severity: () int32; 0 leaves the images as they are.
      key: of the split; that of an image is folded with its number.
      pool: see `shifts.Pool`; None where no shift wants one.
    """

    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    number: Int32[Array, ""]
    severity: Int32[Array, ""]
    key: Key[Array, ""]
    pool: shifts.Pool | None

    def of(self, name: str, severity: int) -> Shifting:
        """The same images after another shift that the program knows."""
        number = np.int32(self.names.index(name))
        return dataclasses.replace(self, number=jnp.asarray(number), severity=jnp.int32(severity))


def views(setup: linear.Setup, shifting: Shifting, inputs: Numbered) -> Float[Array, "B S S 3"]:
    """The central views of a batch, shifted: (B, S, S, 3) in [0, 1]."""
    keys = jax.vmap(lambda i: jax.random.fold_in(shifting.key, i))(inputs.place)
    return shifts.apply(
        shifting.names,
        linear.central_views(inputs.batch, setup.encoder.size),
        keys,
        shifting.severity,
        number=shifting.number,
        label=inputs.batch.label,
        pool=shifting.pool,
    )


def extract(
    setup: linear.Setup,
    cache: cached.Cache,
    common: tuple[PyTree, Int32[Array, ""], Shifting],
    inputs: Numbered,
) -> cached.Cache:
    """`cached.extract` of shifted images; `common` also says how they are shifted."""
    encoder, number, shifting = common
    return cached.store(setup, cache, (encoder, number), views(setup, shifting, inputs), inputs.batch)


def numbered(batches: Iterable[Batch], batch_size: int) -> Iterator[Numbered]:
    """Global batches of a pass with the numbers of their images, from 0."""
    for number, batch in enumerate(batches):
        yield Numbered(batch, cast(Any, number * batch_size + np.arange(batch_size, dtype=np.uint32)))


class Shifter:
    """Keys and pool of the shifts of a plan, for encoders of one spec; the pool is rendered once."""

    def __init__(self, plan: ProbePlan, setup: linear.Setup):
        self._plan, self._setup = plan, setup

    def prepare(self, names: Sequence[str], split: int) -> Shifting:
        """How the images of a split can be shifted; not at all until `Shifting.of` says how far.

        Args:
          names: of shifts that fit the data, see `plan.check_shift`.
          split: TRAIN or TEST.

        Raises:
          InputError: a shift wants a pool, and all of its images are of one class.
        """
        pool = self._pool if any(shifts.SHIFTS[name].pool for name in names) else None
        key = jax.random.fold_in(stream(self._plan.config.seed, Stream.SHIFTS), split)
        return Shifting(tuple(names), jnp.int32(0), jnp.int32(0), key, pool)

    @functools.cached_property
    def _pool(self) -> shifts.Pool:
        """Training images drawn by the seed, whatever the size of the probe's batches."""
        data, seed, size = self._plan.data, self._plan.config.seed, self._setup.encoder.size
        count = min(POOL, len(data.train))
        batch = next(one_pass(data.train, count, count, seed))
        if len(np.unique(batch.label)) < 2:
            raise InputError(
                f"seed = {seed}: the {count} training images of {data.name} drawn for shifts are of one class; use"
                " another seed"
            )

        def render(state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None) -> jax.Array:
            del state, key, axis_name
            return shifts.levels(linear.central_views(inputs, size)).astype(jnp.uint8)

        nothing = State(jnp.int32(0), {}, {}, {}, {})
        image = parallel.compile_evaluate(render, split_inputs=False)(nothing, unused(), batch)
        return shifts.Pool(image, jnp.asarray(batch.label))
