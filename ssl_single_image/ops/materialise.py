"""Stages of a computation that the compiler keeps apart.

On CPU, XLA fuses a producer into each of its consumers and computes it again in each. With a mean and three
colour channels after it, the lookup of a crop would run many times (measured: ten times slower).
XLA drops `optimization_barrier` there, but it does not fuse across a branch. Accelerators fuse
well by themselves and would have to wait for the branch, so they get the plain call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def materialise(always: jax.Array, function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)`, a pytree of arrays, computed once, however many operations consume it.

    Args:
      always: () bool, true at run time in a way that the compiler can't know beforehand.
      function: pure; its arrays come as arguments.
      *args: pytrees of arrays.
    """

    def behind_branch(*args: Any) -> Any:
        result = jax.eval_shape(function, *args)
        never = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), result)
        return jax.lax.cond(always, function, lambda *_: never, *args)

    return jax.lax.platform_dependent(*args, cpu=behind_branch, default=function)
