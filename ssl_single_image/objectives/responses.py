"""Scale and shift of filters by what they respond to crops: the last step of initialisations without training.

Krähenbühl, Doersch, Donahue and Darrell 2016, "Data-dependent initializations of convolutional neural networks".
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from ssl_single_image import augment, models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives.common import crops_key
from ssl_single_image.ops.convolution import conv2d
from ssl_single_image.types import EncoderSpec, PyTree

MEAN = 0.1
"""Mean response of every filter; its standard deviation is 1."""


def normalised_crops(
    spec: EncoderSpec, atlas: Atlas, crop: augment.CropSpec, seed: int, count: int
) -> Float[Array, "count S S 3"]:
    """The first crops of the virtual data set of a seed, as the encoder sees them."""
    render = jax.jit(functools.partial(augment.render_crops, spec=crop))
    crops = render(atlas, crops_key(seed), jnp.arange(count, dtype=jnp.uint32))
    return augment.normalise(crops, spec.mean, spec.std)


def entering(
    trunk: models.ConvTrunk, name: str, variables: PyTree, x: Float[Array, "B S S 3"]
) -> Float[Array, "B H W C"]:
    """What enters a convolution of a chain in inference mode."""
    return jax.jit(functools.partial(_entering, trunk, name))(variables, x)


def moments(
    layer: models.ConvSpec, x: Float[Array, "B H W C"], kernel: Float32[np.ndarray, "k k C D"]
) -> tuple[Float32[np.ndarray, " D"], Float32[np.ndarray, " D"]]:
    """Mean and standard deviation of each filter's responses to what enters its layer."""
    mean, std = jax.jit(functools.partial(_moments, layer))(x, kernel)
    return np.asarray(mean), np.asarray(std)


def put(
    variables: PyTree,
    number: int,
    kernel: Float32[np.ndarray, "k k C D"],
    mean: Float32[np.ndarray, " D"],
    std: Float32[np.ndarray, " D"],
    shift: Float32[np.ndarray, " D"] | None = None,
) -> dict[str, Any]:
    """A chain's variables with one layer's put in, whose responses have standard deviation 1 and mean `shift`.

    Where batch norm follows, it has the measured mean and variance as running statistics, gain 1 and this shift; the
    bias of its convolution, if there is one, stays 0. In inference mode it thereby does what the published
    initialisation does with the bias.

    Args:
      variables: "params" and "batch_stats".
      number: of the layer, from 1.
      kernel: its filters.
      mean: of their responses, see `moments`.
      std: of their responses; 0, of a filter that responds to nothing, counts as 1.
      shift: in units of `std`; None: MEAN for all.
    """
    name, norm = f"conv{number}", f"bn{number}"
    params, statistics = variables["params"], variables["batch_stats"]
    std = np.where(std > 0, std, 1).astype(np.float32)
    shift = np.full_like(mean, MEAN) if shift is None else shift.astype(np.float32)
    layer: dict[str, Any] = params[name] | {"kernel": kernel / std}
    if norm not in params:
        layer |= {"bias": (shift - mean / std).astype(np.float32)}
        return {"params": params | {name: layer}, "batch_stats": statistics}
    normed = {"mean": mean / std, "var": np.ones_like(std)}
    return {
        "params": params | {name: layer, norm: params[norm] | {"bias": shift}},
        "batch_stats": statistics | {norm: normed},
    }


def _entering(trunk: models.ConvTrunk, name: str, variables: PyTree, x: jax.Array) -> jax.Array:
    return models.conv_inputs(trunk, variables, x)[name]


def _moments(layer: models.ConvSpec, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = conv2d(x, kernel, layer.stride, layer.padding)
    return y.mean((0, 1, 2)), y.std((0, 1, 2))
