"""Supervised training behind frozen first layers: the paper's table 4 (Asano et al. 2020).

The first layers come from an encoder. Their weights, the gains and shifts of their batch norm and its running
statistics stay as they are, bit for bit. The other layers and the head are trained from scratch on labels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import optax

from ssl_single_image.objectives import common, supervised
from ssl_single_image.types import Batch, EncoderVariables, Metrics, Objective, PyTree, State


def make(setup: common.Setup, given: EncoderVariables) -> Objective:
    """The objective `supervised` with the first `setup.frozen` layers of the encoder `given`.

    Frozen layers are in inference mode in every step, and no gradient is computed for them. The others begin as they
    do without: their initial values depend on the key alone.

    Args:
      setup: `frozen` is 1 or more, and `encoder` is of the architecture of `given`.
      given: an encoder that is a chain of convolutions.
    """
    names = frozen_names(setup.frozen)
    kept = frozen_part(given, setup.frozen)
    trained = supervised.make(dataclasses.replace(setup, optimizer=masked(setup.optimizer, names)))

    def init(key: jax.Array, inputs: Batch) -> State:
        return _put(trained.init(key, inputs), kept)

    def step(state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None) -> tuple[State, Metrics]:
        new, metrics = trained.step(state, key, inputs, axis_name=axis_name)
        # The optimiser adds zeros and replicas are averaged: both can change a bit.
        return _put(new, frozen_part(trained.encoder(state), setup.frozen)), metrics

    return trained._replace(init=init, step=step)


def frozen_names(layers: int) -> tuple[str, ...]:
    """Names of the first layers of a chain, and of their batch norms."""
    return tuple(f"{kind}{number}" for number in range(1, layers + 1) for kind in ("conv", "bn"))


def frozen_part(encoder: EncoderVariables, layers: int) -> dict[str, PyTree]:
    """Parameters and statistics of the first layers: {"params": {...}, "batch_stats": {...}}."""
    names = frozen_names(layers)
    variables = {"params": encoder.params, "batch_stats": encoder.batch_stats}
    return {
        part: {name: values[name] for name in names if name in values} for part, values in variables.items()
    }


def masked(optimizer: optax.GradientTransformation, names: tuple[str, ...]) -> optax.GradientTransformation:
    """The optimiser for all parameters but the backbone's of these names, which get neither updates nor decay."""

    def label(path: tuple[Any, ...], _: jax.Array) -> str:
        keys = [entry.key for entry in path[:2]]
        return "frozen" if keys[0] == "backbone" and keys[-1] in names else "trained"

    return optax.multi_transform(
        {"trained": optimizer, "frozen": optax.set_to_zero()},
        lambda params: jax.tree_util.tree_map_with_path(label, params),
    )


def _put(state: State, part: dict[str, PyTree]) -> State:
    """The state with some of its backbone's variables replaced."""

    def merged(whole: PyTree, new: PyTree) -> PyTree:
        return whole | {"backbone": whole["backbone"] | new} if new else whole

    return state.replace(
        params=merged(state.params, part["params"]),
        batch_stats=merged(state.batch_stats, part["batch_stats"]),
    )
