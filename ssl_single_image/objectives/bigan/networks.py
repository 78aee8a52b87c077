"""BiGAN's networks: what they are made of, what they take and give, which variables of a state they run on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from ssl_single_image import augment, models
from ssl_single_image.errors import InputError
from ssl_single_image.objectives import common
from ssl_single_image.parallel import replicas
from ssl_single_image.schema import OneOf, Section, Told, Within, pick
from ssl_single_image.types import EncoderSpec, EncoderVariables, PyTree, State

JOINT = "joint"
"""The published discriminator: one chain of strided convolutions, with z as a bias for the channels of its layers."""
STYLE = {"slope": 0.2, "first_norm": False, "variant": "bigan"}
"""Options of the backbone that is D's image path, as far as it has them: leaky ReLU, no batch norm in conv1.

The side of its kernels is the option `kernel`, where it has one.
"""
VIEW = augment.CropSpec(
    32, min_area=0.35, hflip=0.5, brightness=0.4, contrast=0.4, saturation=0.4, jitter_probability=0.8
)
"""How E sees crops with the option `view`."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of BiGAN. The defaults are the published system.

    Attributes:
      latent: length of z.
      prior: "uniform", z from U(-1, 1), or "normal", from N(0, 1).
      squash: whether tanh squashes E's codes; for the uniform prior.
      normalise_codes: batch norm, without gain and bias, of E's codes, before tanh.
      image_size: side of the images that G makes and D sees, 16, 32, 64, ...; crops are reduced to it.
        0: the crops' own.
      kernel: side of the convolutions of G and of D: the published one, or a backbone whose kernels have these sides.
      width: channels of the generator's last and the published discriminator's first hidden layer.
      discriminator: "joint", the published one; or a backbone, whose trunk is then the image path of D and is offered
        as the encoder "discriminator".
      scores: which scores a backbone's D gives: "x" of the image, "z" of the code, "xz" of both together. Without "z"
        and "xz" this is a GAN, which trains no encoder but D.
      joint: how a backbone's D brings image and code together: "mlp", or "bilinear", which `matching` needs.
      loss: "cross_entropy" or "hinge".
      spectral_norm: normalises D's kernels by their spectral norm.
      label_smoothing: D is taught that crops are real with probability 1 - this (one-sided); for cross-entropy.
      generator_rate: learning rate of G, as a multiple of E's.
      discriminator_rate: the same of D.
      r1: weight of the penalty on D's gradient at crops (Mescheder et al. 2018); 0: none.
      adversarial: weight of the adversarial losses of all three; 0 is a control of `matching`.
      matching: weight of a contrastive loss that all three minimise: D's vectors of an image and its code must match
        among those of the batch. It is no part of BiGAN: tables call it "BiGAN + matching".
      temperature: of that loss.
      view: whether E sees an augmented view of the crop that D sees.
      diagnostics: whether evaluations also measure how far E's gradients agree, and the rank of its features.
      ema: decay of a running mean of E and G; 0: none. A probe loads the mean where there is one.

    Raises:
      InputError: a value out of range, or options that contradict each other.
    """

    TITLE = "objective_options"

    latent: Annotated[int, Within(1)] = 200
    prior: Annotated[str, OneOf("uniform", "normal")] = "uniform"
    squash: bool = True
    normalise_codes: bool = False
    image_size: Annotated[int, Within(0)] = 0
    kernel: Annotated[int, OneOf(4, 5)] = 5
    width: Annotated[int, Within(1)] = 64
    discriminator: Annotated[str, Told("joint, or the name of a backbone")] = JOINT
    scores: Annotated[tuple[str, ...], OneOf(*models.SCORES)] = models.SCORES
    joint: Annotated[str, OneOf(*models.JOINTS)] = "mlp"
    loss: Annotated[str, OneOf("cross_entropy", "hinge")] = "cross_entropy"
    spectral_norm: bool = False
    label_smoothing: Annotated[float, Within(0, 0.5, "[)")] = 0.0
    generator_rate: Annotated[float, Within(0, ends="(]")] = 1.0
    discriminator_rate: Annotated[float, Within(0, ends="(]")] = 1.0
    r1: Annotated[float, Within(0)] = 0.0
    adversarial: Annotated[float, Within(0)] = 1.0
    matching: Annotated[float, Within(0)] = 0.0
    temperature: Annotated[float, Within(0, ends="(]")] = 0.1
    view: bool = False
    diagnostics: bool = False
    ema: Annotated[float, Within(0, 1, "[)")] = 0.0

    def check(self) -> None:
        if self.discriminator != JOINT:
            pick(models.BACKBONES, self.discriminator, "objective_options.discriminator")
        if not self.scores:
            raise InputError("objective_options.scores = (): D needs one score at least, of x, z and xz")
        matched = self.discriminator != JOINT and self.joint == "bilinear" and "xz" in self.scores
        if self.matching and not matched:
            raise InputError(
                f"objective_options.matching = {self.matching}: needs discriminator=BACKBONE, joint=bilinear and the"
                " score xz"
            )


class Networks(NamedTuple):
    """E takes normalised crops, G gives images in [0, 1], and D takes what `seen_by_discriminator` makes of images."""

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
        models.CodeHead,
        options.latent,
        options.normalise_codes,
        squash=options.squash,
        axis_name=shared["axis_name"],
    )
    return Networks(
        setup.network(options.latent, axis_name, head),
        models.Generator(size, options.width, kernel=options.kernel, **shared),
        _discriminator(setup, shared),
    )


def _discriminator(setup: common.Setup, shared: Mapping[str, Any]) -> models.Module:
    options, spectral = options_of(setup), options_of(setup).spectral_norm
    if options.discriminator == JOINT:
        return models.Discriminator(
            image_size(setup), options.width, spectral, kernel=options.kernel, **shared
        )
    trunk = functools.partial(
        models.build_backbone,
        options.discriminator,
        discriminator_spec(setup).options,
        spectral=spectral,
        **shared,
    )
    return models.Critic(trunk, options.scores, options.joint, spectral=spectral, dtype=shared["dtype"])


def discriminator_spec(setup: common.Setup) -> EncoderSpec:
    """Of D's image path as an encoder. Its input is normalised as that of any backbone."""
    name, style = options_of(setup).discriminator, STYLE | {"kernel": options_of(setup).kernel}
    known = {field.name for field in dataclasses.fields(models.find(name).options)}
    options = {field: value for field, value in style.items() if field in known}
    return models.encoder_spec(name, options, image_size(setup))


def discriminator_trunk(setup: common.Setup, state: State) -> EncoderVariables:
    """D's image path as an encoder: kernels as the spectral norm leaves them, and running statistics of crops."""
    params, stats = state.params["discriminator"], state.batch_stats["discriminator"]
    spec = discriminator_spec(setup)
    if options_of(setup).spectral_norm:
        params, stats = models.without_spectral_norm(params, stats)
    return EncoderVariables(spec, params["trunk"], stats["trunk"])


def judge(
    setup: common.Setup,
    networks: Networks,
    params: PyTree,
    stats: PyTree,
    images: jax.Array,
    codes: jax.Array,
) -> tuple[models.Judged, PyTree]:
    """D of images (B, S, S, 3) in [0, 1] and codes, normalised by the statistics of this batch; and D's new ones."""
    variables = {"params": params, "batch_stats": stats}
    said, updated = networks.discriminator.apply(
        variables, seen_by_discriminator(setup, images), codes, train=True, mutable=["batch_stats"]
    )
    judged = models.Judged({"xz": said}) if isinstance(said, jax.Array) else said
    return judged, updated.get("batch_stats", {})


def seen_by_discriminator(setup: common.Setup, images: jax.Array) -> jax.Array:
    """Images in [0, 1] as D takes them: the published one in [-1, 1], a backbone as every backbone."""
    if options_of(setup).discriminator == JOINT:
        return 2 * images - 1
    return augment.normalise(images, models.MEAN, models.STD)


def prior(setup: common.Setup, key: jax.Array, axis_name: str | None) -> jax.Array:
    """This replica's z (B, latent) from U(-1, 1) or N(0, 1), by place in the global batch."""
    options = options_of(setup)
    keys = replicas.position_keys(key, setup.batch_size, axis_name)
    if options.prior == "normal":
        return jax.vmap(lambda k: jax.random.normal(k, (options.latent,)))(keys)
    return jax.vmap(lambda k: jax.random.uniform(k, (options.latent,), minval=-1.0))(keys)


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


def encoder_view(setup: common.Setup, key: jax.Array, crops: jax.Array, axis_name: str | None) -> jax.Array:
    """What E sees of crops while it is trained; `key` is the step's."""
    if not options_of(setup).view:
        return encoder_input(setup, crops)
    key = jax.random.fold_in(key, setup.batch_size)  # after those of the positions, from which z is drawn
    return common.views_of(
        setup, key, common.as_atlas(crops), VIEW.replace(size=setup.encoder.size), axis_name
    )


def encoder_input(setup: common.Setup, images: jax.Array) -> jax.Array:
    """Crops, or images of G, at the size that E sees."""
    return _resized(images, setup.encoder.size)


def _resized(x: jax.Array, size: int) -> jax.Array:
    if x.shape[1] == size:
        return x
    return jnp.clip(jax.image.resize(x, (len(x), size, size, 3), "bilinear"), 0, 1)
