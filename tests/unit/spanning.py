"""That batch norm of a trunk can be synchronised."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def check(make: Callable[..., Any]) -> None:
    """Two halves of a batch that share their statistics are what the whole batch is, for trunks that `make` gives."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 3)))
    alone = make(dtype=jnp.float64)
    joined = make(dtype=jnp.float64, axis_name="replicas")
    variables = jax.jit(lambda key: alone.init(key, x, train=False))(jax.random.key(0))

    def train(trunk, x):
        (output, _), new = trunk.apply(variables, x, train=True, mutable=["batch_stats"])
        return output, new["batch_stats"]

    wanted, statistics = jax.jit(functools.partial(train, alone))(x)
    halves = jax.vmap(functools.partial(train, joined), axis_name="replicas")
    found, each = jax.jit(halves)(x.reshape(2, 2, *x.shape[1:]))
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, rtol=1e-5, atol=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, np.broadcast_to(b, a.shape), rtol=1e-5, atol=1e-6),
        each,
        statistics,
    )
