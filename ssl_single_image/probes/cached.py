"""Linear probes on features that are computed once, for small images and without random views.

A cache of n images with F features in all takes n F itemsize bytes: 50,000 CIFAR images and the 12,544 features of
`alexnet32` at `max_features=3072` take 2.5 GB in float32, half in bfloat16. It lives on the devices, a share on each.
The heads are trained on minibatches gathered there, many steps a call.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int8, Int32

from ssl_single_image import augment
from ssl_single_image.datasets import labelling
from ssl_single_image.keys import Stream, stream
from ssl_single_image.parallel import Shards, hold, replicas, shapes_held
from ssl_single_image.probes import linear
from ssl_single_image.probes.blocks import over_blocks, sum_over_blocks
from ssl_single_image.probes.kinds import all_answers
from ssl_single_image.types import Batch, EncoderVariables, Metrics, PyTree, State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Pooled features of labelled images, or a replica's share of them.

    A set of N images is cut into batches. Of each batch a replica holds the part that it gets when inputs are split.
    Its share is these parts, one after the other. `held_at` finds a row of the set.

    Attributes:
      features: layer -> (N, F), `feature_dtype`; N is a multiple of the batch size.
      label: (N,) int32, or (N, classes) int8 where images have several; -1 marks padding, at the end of the set.
    """

    features: dict[str, Float[Array, "N _"]]
    label: Int32[Array, " N"] | Int8[Array, "N classes"]


def empty(
    setup: linear.Setup, images: int, dtype: Any, *, devices: Sequence[jax.Device] | None = None
) -> Shards[Cache]:
    """What `extract` fills, on all devices: room for `images`, rounded up to whole batches."""
    count = jax.device_count() if devices is None else len(devices)
    return hold(functools.partial(_share, setup, images, dtype, count), devices=devices)


def shapes(setup: linear.Setup, images: int, dtype: Any) -> Shards[Cache]:
    """The shapes and dtypes of `empty`."""
    return shapes_held(functools.partial(_share, setup, images, dtype, jax.device_count()))


def _share(setup: linear.Setup, images: int, dtype: Any, count: int) -> Cache:
    rows = -(-images // setup.batch_size) * setup.batch_size // count
    features = {layer: jnp.zeros((rows, size), dtype) for layer, size in setup.features.items()}
    return Cache(features, jnp.asarray(setup.labels.blank(rows)))


def extract(
    setup: linear.Setup, cache: Cache, common: tuple[Mapping[str, PyTree], jax.Array], inputs: Batch
) -> Cache:
    """The share with the features of one batch, for `parallel.compile_fill`.

    Args:
      setup: what is probed.
      cache: the share so far.
      common: the encoder's variables, and the number of the batch, () int32.
      inputs: this replica's part of the batch.
    """
    return store(setup, cache, common, linear.central_views(inputs, setup.encoder.size), inputs)


def store(
    setup: linear.Setup,
    cache: Cache,
    common: tuple[Mapping[str, PyTree], jax.Array],
    x: Float[Array, "B S S 3"],
    inputs: Batch,
) -> Cache:
    """The share with the features of views x in [0, 1] of a batch; the other arguments are those of `extract`."""
    encoder, number = common
    dtype = jax.tree.leaves(cache.features)[0].dtype
    new = Cache(linear.encode(setup, encoder, x, dtype, inputs.box), inputs.label)
    start = number * len(inputs.label)
    return jax.tree.map(lambda old, rows: lax.dynamic_update_slice_in_dim(old, rows, start, 0), cache, new)


def held_at(row: Int32[Array, " k"], rows: int, batch_size: int, axis_name: str | None) -> Int32[Array, " k"]:
    """Where rows of the set are in shares of `rows` each, for `replicas.take`: replica * rows + row of the share."""
    own = batch_size // replicas.count(axis_name)
    batch, place = row // batch_size, row % batch_size
    return place // own * rows + batch * own + place % own


def in_order(values: PyTree, batch_size: int, axis_name: str | None) -> PyTree:
    """Values (n, ...) for each row of a share -> (N, ...) for those of the set, the same on all replicas."""
    rows = len(jax.tree.leaves(values)[0])
    places = held_at(jnp.arange(rows * replicas.count(axis_name)), rows, batch_size, axis_name)
    return jax.tree.map(lambda x: x[places], replicas.gather(values, axis_name))


def probe(setup: linear.Setup, images: int) -> linear.Probe:
    """Heads trained on a Cache, of which every replica gets its share; metrics as `linear.published`'s.

    Features are normalised by their exact mean and variance over the training images, which the caller puts into the
    state before the first step (`fit_statistics`). Each epoch visits the images in a new order and leaves out what
    doesn't fill a batch. `extras["order"]` is the key of the orders.

    Args:
      setup: its `batch_size` is at most `images`.
      images: rows of the training set that are not padding.
    """
    steps = images // setup.batch_size

    def init(seed: int, encoder: EncoderVariables) -> State:
        del encoder
        order = {"order": stream(seed, Stream.HEADS_ORDER)}
        return linear.init_state(setup, stream(seed, Stream.HEADS_INIT), order)

    def step(state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None) -> tuple[State, Metrics]:
        del key
        order = jax.random.fold_in(state.extras["order"], state.step // steps)
        first = (state.step % steps * setup.batch_size).astype(jnp.uint32)
        place = first + jnp.arange(setup.batch_size, dtype=jnp.uint32)
        rows = augment.permute_index(order, place, images).astype(jnp.int32)
        rows = held_at(rows, len(inputs.label), setup.batch_size, axis_name)
        picked = jax.tree.map(lambda x: replicas.deal(x, rows, axis_name), inputs)
        x = linear.standardise(state, picked.features)
        state, measured = linear.update(setup, state, x, picked.label, axis_name)
        return state, replicas.total(measured, axis_name)

    def classify(
        state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None
    ) -> dict[str, jax.Array]:
        del key

        def place(block: Cache) -> dict[str, jax.Array]:
            logits = linear.heads(state.params, linear.standardise(state, block.features))
            return all_answers(logits, block.label)

        answers = over_blocks(place, inputs, part(setup, axis_name))
        return in_order(answers, setup.batch_size, axis_name)

    return linear.Probe(init, step, classify)


def fit_statistics(
    setup: linear.Setup, state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None
) -> tuple[State, Metrics]:
    """A Step (bind `setup`) that sets the running statistics to the exact ones of a Cache, in two passes."""
    del key
    count = replicas.total(labelling.is_image(inputs.label).sum(), axis_name)

    def mean(value: Callable[[str, jax.Array], jax.Array]) -> dict[str, jax.Array]:
        def masked(block: Cache) -> dict[str, jax.Array]:
            valid = labelling.is_image(block.label)[:, None]
            x = {
                layer: value(layer, f.astype(np.promote_types(f.dtype, np.float32)))
                for layer, f in block.features.items()
            }
            return {layer: jnp.where(valid, v, 0.0).sum(0) for layer, v in x.items()}

        sums = sum_over_blocks(masked, inputs, part(setup, axis_name))
        return jax.tree.map(lambda v: v / count.astype(v.dtype), replicas.total(sums, axis_name))

    centre = mean(lambda layer, x: x)
    spread = mean(lambda layer, x: (x - centre[layer][None]) ** 2)
    statistics = {layer: {"mean": centre[layer], "var": spread[layer]} for layer in centre}
    return state.replace(batch_stats=statistics), {}


def part(setup: linear.Setup, axis_name: str | None) -> int:
    """Rows of a batch that one replica holds."""
    return setup.batch_size // replicas.count(axis_name)
