"""Comparing programs in float64, where what is discrete does not depend on the processor: see the fixture `float64`."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np


@contextlib.contextmanager
def float64() -> Iterator[None]:
    """JAX computes in float64, in which what is float32 (an atlas, a step's crops) may take part."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def widened(tree: Any) -> Any:
    """A copy on the host whose floats are float64."""

    def widen(leaf: Any) -> Any:
        leaf = np.asarray(jax.device_get(leaf))
        return np.float64(leaf) if np.issubdtype(leaf.dtype, np.floating) else leaf

    return jax.tree.map(lambda leaf: leaf if _is_key(leaf) else widen(leaf), tree)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def distance(a: Any, b: Any) -> float:
    """The norm of a - b, of trees of arrays."""
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return float(np.sqrt(sum(np.square(np.float64(x) - np.float64(y)).sum() for x, y in leaves)))
