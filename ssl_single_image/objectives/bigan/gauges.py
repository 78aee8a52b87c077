"""How BiGAN is doing: whether E and G invert each other, what D knows, what there is to look at and to warn of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.bigan import losses
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.types import Metrics, Pictures, Rows, State

GRID = 12
"""Crops in a row of the picture."""
SAMPLE_ROWS = 3
COLLAPSED, DEFEATED = 0.05, 0.05
"""Below this share of the crops' diversity the generator has collapsed; below this loss D has nothing to teach."""
STRANGERS = 0.9
"""Above this ratio of reconstruction errors E and G hardly know each other. In the log of the method's authors E's
features were below an untrained network's until the ratio was about .7."""


def diversity(made: Float[Array, "B S S 3"], images: Float[Array, "B S S 3"]) -> Float[Array, ""]:
    """Standard deviation of generated pixels over the batch relative to that of crops: 0 if all images are one."""
    return made.std(0).mean() / (images.astype(made.dtype).std(0).mean() + 1e-6)


def measure(
    setup: common.Setup,
    state: State,
    crops: Float[Array, "B S S 3"],
    z: Float[Array, "B latent"],
    axis_name: str | None,
) -> Metrics:
    """D's loss and accuracy, and how well E and G invert each other on this replica's crops and z.

    E and G use running statistics. D normalises crops and generated images each by their own, as it was trained:
    its running ones are of crops. "reconstruction" is the mean |G(E(x)) - x| in [0, 1], and "latent" the mean
    |E(G(z)) - z|, both per value. "..._shuffled" is the same against the x or z next to it on this replica. Networks
    that knew nothing of each other would reach that.

    "inversion" is the ratio of the two reconstruction errors, by which the method's authors watch a run: about 1 for
    networks that know nothing of each other, .63 at the best in their log.
    """
    networks, options = nets.build(setup, axis_name), nets.options_of(setup)
    images = nets.reduced(setup, crops)
    made = nets.generate(networks, state, z)
    codes = nets.encode(setup, networks, state, crops)
    own = state.params["discriminator"], state.batch_stats["discriminator"]
    real, fake = (nets.judge(setup, networks, *own, *pair)[0].scores for pair in ((images, codes), (made, z)))
    right = {name: ((real[name] > 0).mean() + (fake[name] <= 0).mean()) / 2 for name in real}
    inverted = nets.generate(networks, state, codes)
    found = nets.encode(setup, networks, state, made)
    count = jnp.float32(len(crops))
    means = {
        "loss": losses.discriminator_loss(real, fake, options.loss),
        "accuracy": jnp.stack(list(right.values())).mean(),
        "reconstruction": _distance(inverted, images),
        "reconstruction_shuffled": _distance(inverted, jnp.roll(images, 1, 0)),
        "latent": _distance(found, z),
        "latent_shuffled": _distance(found, jnp.roll(z, 1, 0)),
        "diversity": diversity(made, images),
    }
    if len(right) > 1:
        means |= {f"accuracy_{name}": share for name, share in right.items()}
    metrics: Metrics = {name: (mean * count, count) for name, mean in means.items()}
    # A ratio of sums: over all batches and replicas, and not the mean of their ratios.
    metrics["inversion"] = (metrics["reconstruction"][0], metrics["reconstruction_shuffled"][0])
    return metrics


def draw(setup: common.Setup, state: State, key: jax.Array, inputs: Atlas) -> Pictures:
    """Held-out crops, what G makes of their codes, and what it makes of z. `key` is the same at every call of a run."""
    some = dataclasses.replace(setup, batch_size=GRID)
    crops_key, prior_key = jax.random.split(key)
    crops = common.held_out_crops(some, crops_key, inputs, None)
    networks = nets.build(setup)
    samples = [
        nets.generate(networks, state, nets.prior(some, row_key, None))
        for row_key in jax.random.split(prior_key, SAMPLE_ROWS)
    ]
    inverted = nets.generate(networks, state, nets.encode(setup, networks, state, crops))
    titles = (
        "Held-out crops x",
        "The same, encoded and generated again: G(E(x))",
        "Generated from random codes: G(z)",
        *[""] * (SAMPLE_ROWS - 1),
    )
    return {"samples": Rows((nets.reduced(setup, crops), inverted, *samples), titles)}


def warning(means: Mapping[str, float]) -> str:
    """A message if metrics show that the generator collapsed, the discriminator won or E inverts nothing; else ""."""
    if means.get("diversity", 1.0) < COLLAPSED:
        return (
            f"generated images hardly differ from each other (diversity {means['diversity']:.3f} of the crops'): the "
            "generator has collapsed; try objective_options.spectral_norm=True or a lower learning rate"
        )
    if means.get("loss", 1.0) < DEFEATED:
        return (
            f"the discriminator tells crops from generated images almost surely (loss {means['loss']:.3f}), so that "
            "encoder and generator learn little; try objective_options.label_smoothing=0.1 or spectral_norm=True"
        )
    if means.get("eval/inversion", 0.0) > STRANGERS:
        return (
            f"the generator does not yet make crops from their codes (eval/inversion {means['eval/inversion']:.2f};"
            " chance is 1): the encoder's features are below an untrained network's until it is about .7"
        )
    return ""


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.abs(a - b).mean()
