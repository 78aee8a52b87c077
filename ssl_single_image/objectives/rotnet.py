"""RotNet: which of four rotations was applied? (Gidaris, Singh and Komodakis, ICLR 2018.)"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key, Shaped

from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas
from ssl_single_image.types import Metrics, Objective, State

ROTATIONS = 4


def make(setup: common.Setup) -> Objective:
    """All four rotations of every crop are in the batch; 4-way cross-entropy. `inputs` is an Atlas."""

    def init(key: jax.Array, inputs: Atlas) -> State:
        del inputs
        return common.init_state(setup, setup.network(ROTATIONS), key)

    def step(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> tuple[State, Metrics]:
        crops = common.training_crops(setup, state.step, inputs, axis_name)
        return update(setup, state, key, crops, axis_name=axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> Metrics:
        crops = common.held_out_crops(setup, key, inputs, axis_name)
        labels = rotation_labels(crops.shape[0])
        logits = common.predict(setup.network(ROTATIONS), state, rotations(setup.normalise(crops)))
        return replicas.total(common.classification_metrics(logits, labels), axis_name)

    return Objective(init, step, evaluate, lambda state: common.trunk(setup, state), views=ROTATIONS)


def update(
    setup: common.Setup,
    state: State,
    key: Key[Array, ""],
    crops: Float[Array, "B S S 3"],
    *,
    axis_name: str | None,
) -> tuple[State, Metrics]:
    """One optimisation step on this replica's crops (B, S, S, 3) in [0, 1]."""
    flip_key, dropout_key = jax.random.split(key)
    if setup.view_hflip:
        keys = replicas.position_keys(flip_key, setup.batch_size, axis_name)
        flip = jax.vmap(lambda k: jax.random.bernoulli(k, setup.view_hflip))(keys)
        crops = jnp.where(flip[:, None, None, None], crops[:, :, ::-1], crops)
    labels = rotation_labels(crops.shape[0])
    # Made once: otherwise every window of the first convolution would rotate and normalise its pixels again on a CPU.
    views = materialise(state.step >= 0, lambda crops: rotations(setup.normalise(crops)), crops)
    network = setup.network(ROTATIONS, axis_name)
    loss = common.classification_loss(
        network, state, views, labels, replicas.replica_key(dropout_key, axis_name)
    )
    return common.update(setup, state, loss, axis_name)


def rotations(crops: Shaped[Array, "B S S C"]) -> Shaped[Array, "4*B S S C"]:
    """Every crop in its four rotations.

    Args:
      crops: (B, S, S, C).

    Returns:
      (4B, S, S, C): all crops unrotated, then all by 90, 180, 270 degrees counter-clockwise.
    """
    return jnp.concatenate([jnp.rot90(crops, turns, axes=(1, 2)) for turns in range(ROTATIONS)])


def rotation_labels(count: int) -> Int32[Array, " views"]:
    """(4 count,) int32: the number of quarter turns of each view that `rotations` makes of `count` crops."""
    return jnp.repeat(jnp.arange(ROTATIONS, dtype=jnp.int32), count)
