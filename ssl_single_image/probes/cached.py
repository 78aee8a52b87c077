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
from jaxtyping import Array, Float, Int32

from ssl_single_image import augment
from ssl_single_image.keys import Stream, stream
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import linear
from ssl_single_image.types import Batch, EncoderVariables, Metrics, PyTree, State


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cache:
    """Pooled features of labelled images.

    Attributes:
      features: layer -> (N, F), `feature_dtype`; N is a multiple of the batch size.
      label: (N,) int32; -1 marks padding, always at the end.
    """

    features: dict[str, Float[Array, "N _"]]
    label: Int32[Array, " N"]


def empty_state(setup: linear.Setup, encoder: EncoderVariables, images: int, dtype: Any) -> State:
    """What `extract` fills: `extras["cache"]`, with room for `images` rounded up to whole batches."""
    rows = -(-images // setup.batch_size) * setup.batch_size
    features = {layer: jnp.zeros((rows, size), dtype) for layer, size in setup.features.items()}
    cache = Cache(features, jnp.full(rows, -1, jnp.int32))
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

    Features are normalised by their exact mean and variance over the training images, which `fit_statistics`
    puts into the state before the first step. Each epoch visits the images in a new order and leaves out what
    doesn't fill a batch.

    Args:
      setup: its `batch_size` is at most `images`.
      images: rows of the training cache that are not padding.
    """
    steps = images // setup.batch_size

    def init(key: jax.Array, encoder: EncoderVariables) -> State:
        del encoder
        return linear.init_state(setup, key, {})

    def step(state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None) -> tuple[State, Metrics]:
        del key
        order = jax.random.fold_in(stream(setup.seed, Stream.HEADS_ORDER), state.step // steps)
        first = (state.step % steps * setup.batch_size).astype(jnp.uint32)
        place = first + replicas.positions(setup.batch_size, axis_name)
        rows = augment.permute_index(order, place, images).astype(jnp.int32)
        picked = jax.tree.map(lambda x: x.at[rows].get(mode="promise_in_bounds"), inputs)
        x = linear.standardise(state, picked.features)
        state, measured = linear.update(setup, state, x, picked.label, axis_name)
        return state, replicas.total(measured, axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None) -> Metrics:
        del key, axis_name  # every replica has all the images

        def measure(block: Cache) -> Metrics:
            logits = linear.heads(state.params, linear.standardise(state, block.features))
            return linear.metrics(logits, block.label)

        return _sum_over_blocks(measure, inputs, setup.batch_size)

    return linear.Probe(init, step, evaluate)


def fit_statistics(
    setup: linear.Setup, state: State, key: jax.Array, inputs: Cache, *, axis_name: str | None
) -> tuple[State, Metrics]:
    """A Step (bind `setup`) that sets the running statistics to the exact ones of a Cache, in two passes."""
    del key, axis_name  # every replica has all the images
    count = (inputs.label >= 0).sum()

    def mean(value: Callable[[str, jax.Array], jax.Array]) -> dict[str, jax.Array]:
        def masked(block: Cache) -> dict[str, jax.Array]:
            valid = (block.label >= 0)[:, None]
            x = {
                layer: value(layer, f.astype(np.promote_types(f.dtype, np.float32)))
                for layer, f in block.features.items()
            }
            return {layer: jnp.where(valid, v, 0.0).sum(0) for layer, v in x.items()}

        return jax.tree.map(
            lambda v: v / count.astype(v.dtype), _sum_over_blocks(masked, inputs, setup.batch_size)
        )

    centre = mean(lambda layer, x: x)
    spread = mean(lambda layer, x: (x - centre[layer][None]) ** 2)
    statistics = {layer: {"mean": centre[layer], "var": spread[layer]} for layer in centre}
    return state.replace(batch_stats=statistics), {}


def _sum_over_blocks(function: Callable[[Cache], PyTree], cache: Cache, rows: int) -> PyTree:
    """Sum of `function` over blocks of `rows`, one after the other: a cache is too large for temporaries."""
    blocks = jax.tree.map(lambda x: x.reshape(-1, rows, *x.shape[1:]), cache)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, _first(blocks)))

    def add(total: PyTree, block: Cache) -> tuple[PyTree, None]:
        return jax.tree.map(jnp.add, total, function(block)), None

    return lax.scan(add, zeros, blocks)[0]


def _first(blocks: Cache) -> Cache:
    return jax.tree.map(lambda x: x[0], blocks)
