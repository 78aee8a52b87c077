"""Networks as Flax modules: `apply` returns the output and the taps that probes read.

A new backbone is one file with `backbone(**options)` and `head(outputs, **options)`, and one line in
BACKBONES.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models import alexnet, cifar, nin
from ssl_single_image.models.bigan import CodeHead, Discriminator, Generator, doublings
from ssl_single_image.models.layers import FEATURES, Network, dense_top
from ssl_single_image.types import EncoderSpec, EncoderVariables, InputError

__all__ = [
    "BACKBONES",
    "FEATURES",
    "INPUT_SIZES",
    "MEAN",
    "STD",
    "CodeHead",
    "Discriminator",
    "Generator",
    "Module",
    "Network",
    "build_backbone",
    "build_network",
    "dense_top",
    "doublings",
    "untrained",
]

Module = nn.Module
"""What networks are: pure `init(keys, x, train=...)` and `apply(variables, x, train=...)`."""

BACKBONES: dict[str, ModuleType] = {"alexnet": alexnet, "cifar32": cifar, "nin": nin}
INPUT_SIZES = {"alexnet": 224, "cifar32": 32, "nin": 32}
"""The crop side each backbone is made for, in pixels."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet's RGB in [0, 1]: the customary input normalisation."""


def build_backbone(
    name: str, options: Mapping[str, Any], *, axis_name: str | None = None, dtype: Any = jnp.float32
) -> Module:
    """The convolutional trunk: `apply(variables, x, train=...)` -> (output, taps).

    Args:
      name: a key of BACKBONES.
      options: keyword arguments of that backbone.
      axis_name: mapped axis over which batch norm is synchronised when training; None: per replica.
      dtype: of the computation; parameters and statistics stay float32.

    Raises:
      InputError: unknown name or option.
    """
    return _module(name, options).backbone(**options, axis_name=axis_name, dtype=jnp.dtype(dtype))


def build_network(
    name: str,
    options: Mapping[str, Any],
    outputs: int,
    *,
    axis_name: str | None = None,
    dtype: Any = jnp.float32,
    head: Callable[[], Module] | None = None,
) -> Network:
    """The trunk with a head on top: `apply` -> (logits (B, outputs) float32, taps).

    Arguments and errors as `build_backbone`'s; `head` makes the head, None: the published one. Variables lie under
    "backbone" and "head".
    """
    module = _module(name, options)
    shared = {**options, "axis_name": axis_name, "dtype": jnp.dtype(dtype)}
    return Network(lambda: module.backbone(**shared), head or partial(module.head, outputs, **shared))


def untrained(spec: EncoderSpec, key: jax.Array) -> EncoderVariables:
    """A randomly initialised encoder: the lower end of the scale."""
    backbone = build_backbone(spec.backbone, spec.options)
    image = jnp.zeros((1, spec.size, spec.size, 3))
    variables = jax.jit(lambda key: backbone.init(key, image, train=False))(key)
    return EncoderVariables(spec, variables["params"], variables.get("batch_stats", {}))


def _module(name: str, options: Mapping[str, Any]) -> ModuleType:
    if name not in BACKBONES:
        near = difflib.get_close_matches(name, BACKBONES, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown backbone {name!r}: there are {', '.join(BACKBONES)}{hint}")
    known = [p for p in inspect.signature(BACKBONES[name].backbone).parameters if p != "shared"]
    for option in options:
        if option not in known:
            raise InputError(f"backbone {name}: no option {option!r}; it has {', '.join(known)}")
    return BACKBONES[name]
