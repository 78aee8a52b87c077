"""Linear probes on features that are computed once, for small images and without random views.

A cache of n images with F features in all takes n F itemsize bytes: 50,000 CIFAR images and the 12,544 features of
`alexnet32` at `max_features=3072` take 2.5 GB in float32, half in bfloat16. It lives on the device (a copy on each,
under pmap) and the heads are trained on minibatches gathered there, many steps a call.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int8, Int32

from ssl_single_image import augment
from ssl_single_image.datasets import labelling
from ssl_single_image.keys import Stream, stream
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import linear
from ssl_single_image.probes.blocks import over_blocks, sum_over_blocks
from ssl_single_image.probes.kinds import all_answers
from ssl_single_image.types import Batch, EncoderVariables, Metrics, State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Pooled features of labelled images.

    Attributes:
      features: layer -> (N, F), `feature_dtype`; N is a multiple of the batch size.
      label: (N,) int32, or (N, classes) int8 where images have several; -1 marks padding, always at the end.
    """

    features: dict[str, Float[Array, "N _"]]
    label: Int32[Array, " N"] | Int8[Array, "N classes"]


def empty_state(setup: linear.Setup, encoder: EncoderVariables, images: int, dtype: Any) -> State:
    """What `extract` fills: `extras["cache"]`, with room for `images` rounded up to whole batches."""
    rows = -(-images // setup.batch_size) * setup.batch_size
    features = {layer: jnp.zeros((rows, size), dtype) for layer, size in setup.features.items()}
    cache = Cache(features, jnp.asarray(setup.labels.blank(rows)))
    return State(jnp.int32(0), {}, {}, {}, {"encoder": linear.variables(encoder), "cache": cache})


def extract(
    setup: linear.Setup, state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None
) -> tuple[State, Metrics]:
    """A Step (bind `setup`) that appends one batch's features to the cache, in place where the state is donated."""
    del key
    cache: Cache = state.extras["cache"]
    dtype = jax.tree.leaves(cache.features)[0].dtype
    x = linear.central_views(inputs, setup.encoder.size)
    new = Cache(linear.encode(setup, state.extras["encoder"], x, dtype), inputs.label)
    new = replicas.gather(new, axis_name)
    start = state.step * setup.batch_size
    cache = jax.tree.map(lambda old, rows: lax.dynamic_update_slice_in_dim(old, rows, start, 0), cache, new)
    return state.replace(step=state.step + 1, extras={**state.extras, "cache": cache}), {}


def probe(setup: linear.Setup, images: int) -> linear.Probe:
    """Heads trained on a Cache, which every device gets whole; metrics as `linear.published`'s.

    Features are normalised by their exact mean and variance over the training images, which the caller puts into the
    state before the first step (`fit_statistics`). Each epoch visits the images in a new order and leaves out what
    doesn't fill a batch. `extras["order"]` is the key of the orders.

    Args:
      setup: its `batch_size` is at most `images`.
      images: rows of the training cache that are not padding.
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
        place = first + replicas.positions(setup.batch_size, axis_name)
        rows = augment.permute_index(order, place, images).astype(jnp.int32)
        picked = jax.tree.map(lambda x: x.at[rows].get(mode="promise_in_bounds"), inputs)
        x = linear.standardise(state, picked.features)
        state, measured = linear.update(setup, state, x, picked.label, axis_name)
        return state, replicas.total(measured, axis_name)

    def classify(
        state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None
    ) -> dict[str, jax.Array]:
        del key, axis_name  # every replica has all the images

        def place(block: Cache) -> dict[str, jax.Array]:
            logits = linear.heads(state.params, linear.standardise(state, block.features))
            return all_answers(logits, block.label)

        return over_blocks(place, inputs, setup.batch_size)

    return linear.Probe(init, step, classify)


def fit_statistics(
    setup: linear.Setup, state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None
) -> tuple[State, Metrics]:
    """A Step (bind `setup`) that sets the running statistics to the exact ones of a Cache, in two passes."""
    del key, axis_name  # every replica has all the images
    count = labelling.is_image(inputs.label).sum()

    def mean(value: Callable[[str, jax.Array], jax.Array]) -> dict[str, jax.Array]:
        def masked(block: Cache) -> dict[str, jax.Array]:
            valid = labelling.is_image(block.label)[:, None]
            x = {
                layer: value(layer, f.astype(np.promote_types(f.dtype, np.float32)))
                for layer, f in block.features.items()
            }
            return {layer: jnp.where(valid, v, 0.0).sum(0) for layer, v in x.items()}

        return jax.tree.map(
            lambda v: v / count.astype(v.dtype), sum_over_blocks(masked, inputs, setup.batch_size)
        )

    centre = mean(lambda layer, x: x)
    spread = mean(lambda layer, x: (x - centre[layer][None]) ** 2)
    statistics = {layer: {"mean": centre[layer], "var": spread[layer]} for layer in centre}
    return state.replace(batch_stats=statistics), {}
