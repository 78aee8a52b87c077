"""Spectral normalisation (Miyato et al. 2018): layers whose kernels are divided by their largest singular value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.types import PyTree

TINY = 1e-20
"""A kernel whose largest value is below this counts as zero."""
SUFFIX = "_norm"
"""A layer's power iteration lies in the batch statistics under the layer's name with this behind it."""


def spectral_norm(layer: nn.Module, x: jax.Array, train: bool) -> jax.Array:
    """layer(x) with the layer's kernel (..., D), seen as a matrix of D columns, divided by its largest singular value.

    One power iteration from the vector of the step before estimates the value. Only training keeps the new vector.

    Args:
      layer: a named module with a `kernel`, made in the calling module. Its parameters stay where they are.
      x: its input.
      train: whether this is a training step, which updates the collection "batch_stats".
    """
    return _SpectralNorm(layer, name=f"{layer.name}{SUFFIX}")(x, update_stats=train)


class _SpectralNorm(nn.SpectralNorm):
    """Flax's, for kernels of any scale: its power iteration takes vectors below 1e-6 for zero.

    Weight decay alone brings a kernel there whose output no loss sees.
    """

    def _spectral_normalize(self, path: Any, vs: jax.Array, update_stats: bool) -> jax.Array:
        return super()._spectral_normalize(path, _rescaled(vs) if vs.ndim > 1 else vs, update_stats)


def _rescaled(kernel: jax.Array) -> jax.Array:
    """The kernel over its largest value, a constant to gradients; the norm takes it out again."""
    size = jax.lax.stop_gradient(jnp.abs(kernel).max())
    return jnp.where(size > TINY, kernel / jnp.maximum(size, TINY), 0)


def without_spectral_norm(params: PyTree, batch_stats: PyTree) -> tuple[PyTree, PyTree]:
    """Variables with which the network without normalisation computes what the normalised one does in evaluation.

    Args:
      params: of a network with layers of `spectral_norm`, at any depth.
      batch_stats: of the same network.

    Returns:
      The parameters with divided kernels, and the batch statistics without the vectors of the power iteration.
    """
    params, kept = dict(params), {}
    for name, stats in batch_stats.items():
        layer = name.removesuffix(SUFFIX)
        if not isinstance(stats, Mapping):
            kept[name] = stats
        elif f"{layer}/kernel/u" in stats:
            kernel = _rescaled(params[layer]["kernel"])
            value = _largest_value(kernel, stats[f"{layer}/kernel/u"])
            params[layer] = {**params[layer], "kernel": kernel / value}
        else:
            inner, kept[name] = without_spectral_norm(params.get(name, {}), stats)
            if name in params:
                params[name] = inner
    return params, kept


def _largest_value(kernel: jax.Array, u: jax.Array) -> Any:
    """The estimate that evaluation makes: one iteration from the stored vector (1, D) with the kernel of today.

    The value that training stored belongs to the kernel before the optimiser's last update.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    v = _unit(u @ matrix.T)
    value = (v @ matrix @ _unit(v @ matrix).T)[0, 0]
    return jnp.where(value == 0, 1, value)


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.sqrt((x * x).sum() + 1e-12)
