"""Backbones by name, and the networks and encoders that are built from a name and options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image import keys
from ssl_single_image.errors import InputError
from ssl_single_image.models import (
    alexnet,
    alexnet32,
    dcgan32,
    efficientnet,
    hybrid,
    nin,
    resnet,
    scattering,
    truncated,
)
from ssl_single_image.models.backbone import Backbone, Trunk
from ssl_single_image.models.heads import Network
from ssl_single_image.models.layers import ConvTrunk
from ssl_single_image.schema import pick
from ssl_single_image.types import EncoderSpec, EncoderVariables

Module = nn.Module
"""What networks are: pure `init(keys, x, train=...)` and `apply(variables, x, train=...)`."""

BACKBONES: dict[str, Backbone] = {
    "alexnet": alexnet.BACKBONE,
    "alexnet32": alexnet32.BACKBONE,
    "dcgan32": dcgan32.BACKBONE,
    "efficientnet_b0": efficientnet.BACKBONE,
    "hybrid": hybrid.BACKBONE,
    "nin": nin.BACKBONE,
    "resnet18": resnet.RESNET18,
    "resnet50": resnet.RESNET50,
    "scattering": scattering.BACKBONE,
    "truncated": truncated.BACKBONE,
}
FORMER_NAMES = {"cifar32": "alexnet32"}
"""Former names, which checkpoints and scripts still contain -> current names."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Channel statistics of ImageNet's RGB in [0, 1]: the customary input normalisation."""


def current_name(name: str) -> str:
    """The current name of a backbone.

    Raises:
      InputError: there is none of this name.
    """
    name = FORMER_NAMES.get(str(name), name)
    pick(BACKBONES, name, "backbone")
    return name


def find(name: str) -> Backbone:
    """The backbone of a current or former name; errors are those of `current_name`."""
    return BACKBONES[current_name(name)]


def encoder_spec(
    name: str,
    options: Mapping[str, Any] | None = None,
    size: int = 0,
    mean: Sequence[float] = MEAN,
    std: Sequence[float] = STD,
) -> EncoderSpec:
    """The whole spec of an encoder: the current name, and every option with its value.

    Args:
      name: of the backbone.
      options: those that differ from the defaults.
      size: side of the input in pixels; 0: the one that the backbone is made for.
      mean: per channel, see `EncoderSpec`.
      std: per channel.

    Raises:
      InputError: an unknown name or option, or an input too small for the backbone.
    """
    backbone = find(name)
    name = current_name(name)
    read = backbone.options.from_config(options or {})
    size = size or backbone.made_for(read)
    if size < (smallest := backbone.smallest_for(read)):
        raise InputError(
            f"backbone {name}: an input of {size} pixels is too small; it needs {smallest} or more"
        )
    return EncoderSpec(name, read.to_config(), size, tuple(mean), tuple(std))  # type: ignore[arg-type]


def build_backbone(
    name: str,
    options: Mapping[str, Any],
    *,
    axis_name: str | None = None,
    dtype: Any = jnp.float32,
    spectral: bool = False,
) -> Trunk:
    """The convolutional trunk: `apply(variables, x, train=...)` -> (output, activations by layer).

    Args:
      name: a key of BACKBONES.
      options: fields of the backbone's options.
      axis_name: mapped axis over which batch norm is synchronised when training; None: per replica.
      dtype: of the computation; parameters and statistics stay float32.
      spectral: divides every kernel by its largest singular value, see `spectral_norm`. `without_spectral_norm` makes
        its variables those of the backbone without.

    Raises:
      InputError: unknown name or option.
    """
    backbone = find(name)
    shared: dict[str, Any] = {"axis_name": axis_name, "dtype": jnp.dtype(dtype)}
    if spectral:
        shared["spectral"] = True
    return backbone.build(backbone.options.from_value(options), **shared)


def build_network(
    name: str,
    options: Mapping[str, Any],
    outputs: int,
    *,
    axis_name: str | None = None,
    dtype: Any = jnp.float32,
    head: Callable[[], Module] | None = None,
    frozen: int = 0,
) -> Network:
    """The trunk with a head on top: `apply` -> (logits (B, outputs) float32, activations by layer).

    Arguments and errors as `build_backbone`'s; `head` makes the head, None: the published one. Variables lie under
    "backbone" and "head". The first `frozen` layers of a chain are always in inference mode and have no gradients.
    """
    backbone = find(name)
    read = backbone.options.from_value(options)
    shared = {"axis_name": axis_name, "dtype": jnp.dtype(dtype)}
    chain = {"frozen": frozen} if frozen else {}
    return Network(
        partial(backbone.build, read, **shared, **chain),
        head or partial(backbone.head, outputs, read, **shared),
    )


def chain(name: str, options: Mapping[str, Any] | None = None) -> ConvTrunk | None:
    """The trunk of a backbone that is a chain of convolutions "conv1", "conv2" and so on; of others None."""
    trunk = build_backbone(name, options or {})
    return trunk if isinstance(trunk, ConvTrunk) and trunk.front is None else None


def sees_derivatives(spec: EncoderSpec) -> bool:
    """Whether a Sobel front gives an encoder derivatives in place of colours."""
    return bool(spec.options.get("sobel") or spec.options.get("of_options", {}).get("sobel"))


def untrained(spec: EncoderSpec, key: jax.Array) -> EncoderVariables:
    """A randomly initialised encoder: the lower end of the scale."""
    variables = jax.jit(partial(_init, spec))(key)
    return EncoderVariables(spec, variables.get("params", {}), variables.get("batch_stats", {}))


def untrained_shapes(spec: EncoderSpec, key: jax.Array) -> Any:
    """Shapes and dtypes of a trunk's variables, without computing anything.

    Raises:
      InputError: layers that do not fit each other.
    """
    return jax.eval_shape(partial(_init, spec), key)


def activation_shapes(spec: EncoderSpec) -> dict[str, tuple[int, int, int]]:
    """Layer -> (H, W, C) of its activation on inputs of `spec.size`, by depth, without computing anything.

    Raises:
      InputError: layers that do not fit each other.
    """
    trunk = build_backbone(spec.backbone, spec.options)
    x = jnp.zeros((1, spec.size, spec.size, 3))
    (_, taps), _ = jax.eval_shape(lambda: trunk.init_with_output(keys.unused(), x, train=False))
    return {layer: tap.shape[1:] for layer, tap in taps.items()}


def _init(spec: EncoderSpec, key: jax.Array) -> Any:
    backbone = build_backbone(spec.backbone, spec.options)
    return backbone.init(key, jnp.zeros((1, spec.size, spec.size, 3)), train=False)
