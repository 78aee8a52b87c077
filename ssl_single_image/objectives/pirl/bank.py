"""The memory bank: one embedding for each crop of the virtual data set, and the losses that compare with it.

Crop i has the same number whenever it is rendered, so its entry can be found again. The bank is divided over devices.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key, Shaped

from ssl_single_image.objectives import contrast
from ssl_single_image.parallel import replicas


def rows(crops: int, batch_size: int) -> int:
    """Entries of a bank: the number of crops, rounded up to whole batches, which can be divided over the devices."""
    return -(-crops // batch_size) * batch_size


def fresh(key: Key[Array, ""], count: int, dimension: int) -> Float[Array, "count dimension"]:
    """Entries of length 1 in random directions: uniform in a cube, then normalised, as published."""
    return _unit(jax.random.uniform(key, (count, dimension), minval=-1.0, maxval=1.0))


def moved(
    bank: Float[Array, "n D"],
    numbers: Int32[Array, " B"],
    before: Float[Array, "B D"],
    seen: Float[Array, "B D"],
    momentum: float,
    axis_name: str | None,
) -> Float[Array, "n D"]:
    """The bank with the entries of a step's crops drawn towards what the images give now, and of length 1.

    Args:
      bank: this replica's share.
      numbers: (B,) int32, this replica's crops. One that comes twice in a global batch is moved once.
      before: (B, D), their entries.
      seen: (B, D), the embeddings of their images.
      momentum: share of `before`.
      axis_name: see `parallel.replicas`.
    """
    entries = _unit(momentum * before + (1 - momentum) * seen)
    numbers, entries = replicas.gather((numbers, entries), axis_name)
    same = numbers[:, None] == numbers[None]
    again = (same & jnp.tril(jnp.ones_like(same), -1)).any(1)
    outside = jnp.int32(jnp.iinfo(jnp.int32).max)
    return replicas.put(bank, jnp.where(again, outside, numbers), entries.astype(bank.dtype), axis_name)


def info_nce(
    logits: Float[Array, "B 1+K"], left_out: Bool[Array, "B 1+K"]
) -> tuple[Float[Array, " B"], Bool[Array, " B"]]:
    """Cross-entropy of the first column among all not left out, and whether it is the largest."""
    return contrast.among(logits, jnp.zeros(len(logits), jnp.int32), left_out)


def nce(
    logits: Float[Array, "B 1+K"],
    left_out: Bool[Array, "B 1+K"],
    log_normaliser: Float[Array, ""],
    crops: int,
) -> Float[Array, " B"]:
    """Noise-contrastive estimation (equations 3 and 4): is each column data, or noise drawn from all crops?

    With P = exp(logit) / Z and h = P / (P + K / N) the loss is - log h(positive) - the sum of log(1 - h(negative)).

    Args:
      logits: the positive, then K negatives.
      left_out: columns that do not count.
      log_normaliser: log Z.
      crops: N.
    """
    noise = math.log((logits.shape[1] - 1) / crops)
    odds = logits - log_normaliser - noise  # of data against noise, as a logarithm
    negative = jnp.where(left_out[:, 1:], 0.0, jax.nn.softplus(odds[:, 1:]))
    return jax.nn.softplus(-odds[:, 0]) + negative.sum(1)


def first_normaliser(logits: Float[Array, "B 1+K"], crops: int, axis_name: str | None) -> Float[Array, ""]:
    """log Z of a first batch: the mean of exp(logit) over all columns and all replicas, times the number of crops."""
    return jnp.log(replicas.mean(jnp.exp(logits).mean(), axis_name)) + math.log(crops)


def _unit(x: Shaped[Array, "n D"]) -> Shaped[Array, "n D"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
