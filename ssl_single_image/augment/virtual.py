"""Virtual data sets: crops made from an index, in any order, stored nowhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Integer, Key, UInt32

from ssl_single_image.augment.pipeline import CropParams, render, sample_params
from ssl_single_image.augment.resample import interleave, locate, lookup
from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.images.atlas import Atlas

_ROUNDS = 6


def render_crops(
    atlas: Atlas, key: Key[Array, ""], indices: Integer[Array, " B"], spec: CropSpec
) -> Float[Array, "B S S 3"]:
    """Crops of a virtual data set; crop i is drawn from `fold_in(key, i)` and from nothing else.

    Args:
      atlas: the source images; pass it to compiled functions as an argument.
      key: names the data set. `keys.stream(seed, keys.Stream.CROPS)` is that of a run with this seed.
      indices: (B,) integers in [0, 2**32).
      spec: how crops are made (static under jit).

    Returns:
      (B, S, S, 3) in [0, 1], of type `spec.dtype`.
    """
    return render(atlas, crop_params(atlas, key, indices, spec), spec)


def crop_params(
    atlas: Atlas, key: Key[Array, ""], indices: Integer[Array, " B"], spec: CropSpec
) -> CropParams:
    """What `render_crops` draws for its crops, whose arguments these are."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(indices)
    return jax.vmap(lambda k: sample_params(k, atlas, spec))(keys)


def render_views(atlas: Atlas, keys: Key[Array, " B"], spec: CropSpec) -> Float[Array, "B S S 3"]:
    """One view of each image of an atlas of B images, image b drawn from keys[b]; see `render_crops`."""
    return render(atlas, view_params(atlas, keys, spec), spec)


def view_params(atlas: Atlas, keys: Key[Array, " B"], spec: CropSpec) -> CropParams:
    """What `render_views` draws for its views, whose arguments these are."""
    images = jnp.arange(atlas.count, dtype=jnp.int32)
    return jax.vmap(lambda k, i: sample_params(k, atlas, spec, image=i))(keys, images)


def render_centres(atlas: Atlas, size: int) -> Float[Array, "N S S 3"]:
    """The largest central square of each image of an atlas, nothing random: (B, size, size, 3) float32 in [0, 1]."""
    extent = jnp.stack([atlas.height[:, 0], atlas.width[:, 0]], -1).astype(jnp.float32)
    matrix = (extent.min(-1) / size)[:, None, None] * jnp.eye(2, dtype=extent.dtype)[None]
    images = jnp.arange(atlas.count, dtype=jnp.int32)
    place = locate(atlas, images, matrix, extent / 2)
    return interleave(lookup(atlas.texels, place, atlas.width[0, 0] > 0, size=size, interpolation="bilinear"))


def permute_index(
    key: Key[Array, ""], index: Integer[Array, " ..."], count: int | Integer[Array, ""]
) -> UInt32[Array, " ..."]:
    """A keyed permutation of [0, count), evaluated at `index`: shuffling without a stored order.

    A Feistel network permutes the smallest `4**n >= count`. Indices that leave [0, count) are permuted again
    until they return, which takes fewer than four rounds on average.

    Args:
      key: names the permutation.
      index: integers in [0, count), any shape.
      count: () integer in [1, 2**32).

    Returns:
      uint32 of the same shape, in [0, count).
    """
    end = jnp.asarray(count, jnp.uint32)
    half = jnp.maximum(1, (33 - lax.clz(end - 1)) // 2)  # half the bits of count - 1, rounded up
    mask = (jnp.uint32(1) << half) - 1
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def shuffle(value: jax.Array) -> jax.Array:
        left, right = value >> half, value & mask
        for k in range(_ROUNDS):
            left, right = right, left ^ (_mix_bits(right + round_keys[k]) & mask)
        return (left << half) | right

    def walk(value: jax.Array) -> jax.Array:
        return jnp.where(value >= end, shuffle(value), value)

    start = shuffle(jnp.asarray(index).astype(jnp.uint32))
    return lax.while_loop(lambda value: (value >= end).any(), walk, start)


def _mix_bits(value: jax.Array) -> jax.Array:
    """The finaliser of MurmurHash3: every input bit reaches every output bit."""
    value = (value ^ (value >> 16)) * jnp.uint32(0x85EBCA6B)
    value = (value ^ (value >> 13)) * jnp.uint32(0xC2B2AE35)
    return value ^ (value >> 16)
