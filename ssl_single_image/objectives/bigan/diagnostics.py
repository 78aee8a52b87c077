"""Whether E has something to learn: how far its gradients agree, and in how many directions its features lie."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.bigan import losses
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.ops.spectrum import effective_rank
from ssl_single_image.types import Metrics, PyTree, State

BATCHES = 8
"""Whose gradients are compared."""


def diagnose(
    setup: common.Setup, state: State, key: Key[Array, ""], atlas: Atlas, axis_name: str | None
) -> Metrics:
    """Of each layer of E, measured on held-out crops of this replica.

    "agreement_LAYER" is the mean cosine between the adversarial gradients of a kernel on several batches: 0 is noise,
    1 is one common push. "rank_LAYER" is `effective_rank` of the layer's activations, a cell of the map a row.
    """
    keys = jax.random.split(key, BATCHES)
    gradients = jax.lax.map(lambda k: _gradients(setup, state, k, atlas, axis_name), keys)
    found = {f"agreement_{layer}": agreement(g) for layer, g in gradients.items()}
    crops = common.held_out_crops(setup, keys[0], atlas, axis_name)
    variables = {"params": state.params["encoder"], "batch_stats": state.batch_stats["encoder"]}
    x = setup.normalise(nets.encoder_input(setup, crops))
    _, activations = nets.build(setup).encoder.apply(variables, x, train=False)
    found |= {f"rank_{layer}": effective_rank(a.reshape(-1, a.shape[-1])) for layer, a in activations.items()}
    return {name: (value.astype(jnp.float32), jnp.float32(1)) for name, value in found.items()}


def agreement(gradients: Float[Array, "n d"]) -> Float[Array, ""]:
    """The mean cosine between two different rows."""
    unit = gradients / (jnp.linalg.norm(gradients, axis=1, keepdims=True) + 1e-20)
    count = len(unit)
    return ((unit @ unit.T).sum() - count) / (count * (count - 1))


def _gradients(
    setup: common.Setup, state: State, key: jax.Array, atlas: Atlas, axis_name: str | None
) -> dict[str, jax.Array]:
    """Layer -> the flat gradient of its kernel, of what E minimises against D, on one held-out batch."""
    networks, options = nets.build(setup, axis_name), nets.options_of(setup)
    crops = common.held_out_crops(setup, key, atlas, axis_name)
    images = nets.reduced(setup, crops)
    stats = state.batch_stats

    def loss(params: PyTree) -> jax.Array:
        variables = {"params": params, "batch_stats": stats["encoder"]}
        (codes, _), _ = networks.encoder.apply(
            variables, setup.normalise(nets.encoder_input(setup, crops)), train=True, mutable=["batch_stats"]
        )
        judged, _ = nets.judge(
            setup, networks, state.params["discriminator"], stats["discriminator"], images, codes
        )
        nothing = {name: jnp.zeros_like(score) for name, score in judged.scores.items()}
        return losses.pair_loss(judged.scores, nothing, options.loss)

    grads = jax.grad(loss)(state.params["encoder"])["backbone"]
    return {layer: part["kernel"].ravel() for layer, part in grads.items() if "kernel" in part}
