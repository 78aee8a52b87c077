"""BiGAN's networks: what they are made of, what they take and give, which variables of a state they run on."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from ssl_single_image import models
from ssl_single_image.objectives import common
from ssl_single_image.parallel import replicas
from ssl_single_image.schema import Section, Within
from ssl_single_image.types import PyTree, State


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of BiGAN. The defaults are the published system; the last four help where training is unstable.

    Attributes:
      latent: length of z, drawn from U(-1, 1).
      image_size: side of the images that G makes and D sees, 16, 32, 64, ...; crops are reduced to it.
        0: the crops' own.
      width: channels of the generator's last and the discriminator's first hidden layer.
      normalise_codes: batch norm, without gain and bias, before E's codes are squashed.
      spectral_norm: normalises D's kernels by their spectral norm.
      label_smoothing: D is taught that crops are real with probability 1 - this (one-sided).
      ema: decay of a running mean of E and G; 0: none. A probe loads the mean where there is one.

    Raises:
      InputError: a value out of range.
    """

    TITLE = "objective_options"

    latent: Annotated[int, Within(1)] = 200
    image_size: Annotated[int, Within(0)] = 0
    width: Annotated[int, Within(1)] = 64
    normalise_codes: bool = False
    spectral_norm: bool = False
    label_smoothing: Annotated[float, Within(0, 0.5, "[)")] = 0.0
    ema: Annotated[float, Within(0, 1, "[)")] = 0.0


class Networks(NamedTuple):
    """The three of them: E takes normalised crops, G gives images in [0, 1], D takes images in [-1, 1]."""

    encoder: models.Module
    generator: models.Module
    discriminator: models.Module


def build(setup: common.Setup, axis_name: str | None = None) -> Networks:
    """The networks of a setup; batch norm synchronised over `axis_name` if so set."""
    options, size = options_of(setup), image_size(setup)
    shared: dict[str, Any] = {
        "axis_name": axis_name if setup.sync_batch_norm else None,
        "dtype": jnp.dtype(setup.dtype),
    }
    head = functools.partial(
        models.CodeHead, options.latent, options.normalise_codes, axis_name=shared["axis_name"]
    )
    return Networks(
        setup.network(options.latent, axis_name, head),
        models.Generator(size, options.width, **shared),
        models.Discriminator(size, options.width, options.spectral_norm, **shared),
    )


def prior(setup: common.Setup, key: jax.Array, axis_name: str | None) -> jax.Array:
    """This replica's z (B, latent) ~ U(-1, 1), by place in the global batch."""
    length = options_of(setup).latent
    keys = replicas.position_keys(key, setup.batch_size, axis_name)
    return jax.vmap(lambda k: jax.random.uniform(k, (length,), minval=-1.0))(keys)


def averaged(state: State) -> tuple[PyTree, PyTree]:
    """Parameters and batch statistics of E and G: the running means where there are any."""
    pair = state.extras.get("ema") or inverse_pair(state.params, state.batch_stats)
    return pair["params"], pair["batch_stats"]


def inverse_pair(params: PyTree, stats: PyTree) -> PyTree:
    names = ("encoder", "generator")
    return {
        "params": {name: params[name] for name in names},
        "batch_stats": {name: stats[name] for name in names},
    }


def encode(setup: common.Setup, networks: Networks, state: State, crops: jax.Array) -> jax.Array:
    params, stats = averaged(state)
    variables = {"params": params["encoder"], "batch_stats": stats["encoder"]}
    return networks.encoder.apply(variables, setup.normalise(encoder_input(setup, crops)), train=False)[0]


def generate(networks: Networks, state: State, z: jax.Array) -> jax.Array:
    params, stats = averaged(state)
    variables = {"params": params["generator"], "batch_stats": stats["generator"]}
    return networks.generator.apply(variables, z, train=False)  # type: ignore[return-value]


def options_of(setup: common.Setup) -> Options:
    return setup.options or Options()


def image_size(setup: common.Setup) -> int:
    """Side of the images that G makes and D sees."""
    return options_of(setup).image_size or setup.crop.size


def reduced(setup: common.Setup, crops: jax.Array) -> jax.Array:
    """Crops at the size that D sees."""
    return _resized(crops, image_size(setup))


def encoder_input(setup: common.Setup, images: jax.Array) -> jax.Array:
    """Crops, or images of G, at the size that E sees."""
    return _resized(images, setup.encoder.size)


def _resized(x: jax.Array, size: int) -> jax.Array:
    if x.shape[1] == size:
        return x
    return jnp.clip(jax.image.resize(x, (len(x), size, size, 3), "bilinear"), 0, 1)
