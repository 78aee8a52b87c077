"""BiGAN: an encoder learnt as the inverse of a generator (Donahue, Krähenbühl and Darrell, ICLR 2017).

A joint discriminator D(x, z) tells pairs (x, E(x)) of real crops from pairs (G(z), z) of generated ones. Encoder E and
generator G are trained to make it fail. At the optimum E inverts G.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from ssl_single_image import models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.parallel import replicas
from ssl_single_image.types import (
    EncoderVariables,
    InputError,
    Metrics,
    Objective,
    Pictures,
    PyTree,
    Rows,
    State,
)

GRID = 12
"""Crops in a row of the picture."""
SAMPLE_ROWS = 3
COLLAPSED, DEFEATED = 0.05, 0.05
"""Below this share of the crops' diversity the generator has collapsed; below this loss D has nothing to teach."""


def make(setup: common.Setup) -> Objective:
    """Batches of crops against as many generated images. `inputs` is an Atlas.

    Raises:
      InputError: G can't make images of the size.
    """
    size = nets.image_size(setup)
    if models.doublings(size) < 2:  # D's first layer doesn't see z
        raise InputError(
            f"objective_options.image_size = {size} (0: the crop's): must be 16, 32, 64 ...; G doubles 4 px"
        )

    def init(key: jax.Array, inputs: Atlas) -> State:
        del inputs
        return init_state(setup, key)

    def step(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> tuple[State, Metrics]:
        crops = common.training_crops(setup, state.step, inputs, axis_name)
        return update(setup, state, key, crops, axis_name=axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> Metrics:
        crops_key, prior_key = jax.random.split(key)
        crops = common.held_out_crops(setup, crops_key, inputs, axis_name)
        z = nets.prior(setup, prior_key, axis_name)
        return replicas.total(measure(setup, state, crops, z, axis_name), axis_name)

    def encoder(state: State) -> EncoderVariables:
        params, stats = nets.averaged(state)
        return EncoderVariables(
            setup.encoder, params["encoder"]["backbone"], stats["encoder"].get("backbone", {})
        )

    return Objective(
        init, step, evaluate, encoder, pictures=lambda *args: draw(setup, *args), warning=warning
    )


def init_state(setup: common.Setup, key: jax.Array) -> State:
    """All three networks at step 0; with `ema`, their running means too."""
    options, networks, size = nets.options_of(setup), nets.build(setup), nets.image_size(setup)
    z, image = jnp.zeros((2, options.latent)), jnp.zeros((2, size, size, 3))
    crop = jnp.zeros((2, setup.encoder.size, setup.encoder.size, 3))
    keys = jax.random.split(key, 3)
    variables = {
        "encoder": networks.encoder.init(keys[0], crop, train=False),
        "generator": networks.generator.init(keys[1], z, train=False),
        "discriminator": networks.discriminator.init(keys[2], image, z, train=False),
    }
    params = {name: v["params"] for name, v in variables.items()}
    stats = {name: v.get("batch_stats", {}) for name, v in variables.items()}
    extras = {"ema": nets.inverse_pair(params, stats)} if options.ema else {}
    return State(jnp.int32(0), params, stats, setup.optimizer.init(params), extras)


def update(
    setup: common.Setup,
    state: State,
    key: Key[Array, ""],
    crops: Float[Array, "B S S 3"],
    *,
    axis_name: str | None,
) -> tuple[State, Metrics]:
    """One step on this replica's crops (B, S, S, 3) in [0, 1]: one forward pass, then all three updates.

    As published, D sees crops and generated images as two batches, each normalised by its own statistics.
    """
    networks = nets.build(setup, axis_name)
    options, params, stats = nets.options_of(setup), state.params, state.batch_stats
    z = nets.prior(setup, key, axis_name)
    images = nets.reduced(setup, crops)

    def encode(params: PyTree) -> tuple[jax.Array, PyTree]:
        variables = {"params": params, "batch_stats": stats["encoder"]}
        (codes, _), updated = networks.encoder.apply(
            variables, setup.normalise(nets.encoder_input(setup, crops)), train=True, mutable=["batch_stats"]
        )
        return codes, updated.get("batch_stats", {})

    def generate(params: PyTree) -> tuple[jax.Array, PyTree]:
        variables = {"params": params, "batch_stats": stats["generator"]}
        made, updated = networks.generator.apply(variables, z, train=True, mutable=["batch_stats"])
        return made, updated["batch_stats"]

    def discriminate(
        params: PyTree, codes: jax.Array, made: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], PyTree]:
        logits, seen = [], stats["discriminator"]
        for x, code in ((images, codes), (made, z)):
            variables = {"params": params, "batch_stats": seen}
            out, updated = networks.discriminator.apply(
                variables, 2 * x - 1, code, train=True, mutable=["batch_stats"]
            )
            logits.append(out)
            seen = updated["batch_stats"]
        return (logits[0], logits[1]), seen

    codes, pull_encoder, encoder_stats = jax.vjp(encode, params["encoder"], has_aux=True)
    made, pull_generator, generator_stats = jax.vjp(generate, params["generator"], has_aux=True)
    logits, pull_discriminator, discriminator_stats = jax.vjp(
        discriminate, params["discriminator"], codes, made, has_aux=True
    )
    loss, for_discriminator = jax.value_and_grad(discriminator_loss)(logits, options.label_smoothing)
    opposite, for_pair = jax.value_and_grad(pair_loss)(logits)
    discriminator_grads, _, _ = pull_discriminator(for_discriminator)
    _, for_codes, for_made = pull_discriminator(for_pair)
    grads = {
        "encoder": pull_encoder(for_codes)[0],
        "generator": pull_generator(for_made)[0],
        "discriminator": discriminator_grads,
    }
    new_stats = {
        "encoder": encoder_stats,
        "generator": generator_stats,
        "discriminator": discriminator_stats,
    }
    count, one = jnp.float32(len(crops)), jnp.float32(1)
    means = {
        "loss": loss,
        "loss_pair": opposite,
        "d_real": jax.nn.sigmoid(logits[0]).mean(),
        "d_fake": jax.nn.sigmoid(logits[1]).mean(),
        "diversity": diversity(made, images),
    }
    metrics: Metrics = {name: (mean * count, count) for name, mean in means.items()}
    state, metrics = common.apply_gradients(setup, state, grads, new_stats, metrics, axis_name)
    for name, part in replicas.mean(grads, axis_name).items():
        metrics[f"grad_norm_{name}"] = (optax.tree.norm(part), one)
    return _with_means(state, options.ema), metrics


def discriminator_loss(
    logits: tuple[Float[Array, " B"], Float[Array, " B"]], smoothing: float = 0.0
) -> Float[Array, ""]:
    """Half the mean cross-entropies of D's logits (B,) for (crops, generated), labels 1 - smoothing and 0."""
    real, made = logits
    entropy = optax.sigmoid_binary_cross_entropy
    return (entropy(real, jnp.full_like(real, 1 - smoothing)).mean() + entropy(made, 0 * made).mean()) / 2


def pair_loss(logits: tuple[Float[Array, " B"], Float[Array, " B"]]) -> Float[Array, ""]:
    """The loss of E and G: `discriminator_loss` with the labels exchanged."""
    return discriminator_loss((logits[1], logits[0]))


def diversity(made: Float[Array, "B S S 3"], images: Float[Array, "B S S 3"]) -> Float[Array, ""]:
    """Standard deviation of generated pixels over the batch relative to that of crops: 0 if all images are one."""
    return made.std(0).mean() / (images.std(0).mean() + 1e-6)


def measure(
    setup: common.Setup,
    state: State,
    crops: Float[Array, "B S S 3"],
    z: Float[Array, "B latent"],
    axis_name: str | None,
) -> Metrics:
    """D's loss and accuracy, and how well E and G invert each other on this replica's crops and z.

    E and G use running statistics. D normalises crops and generated images each by their own, as it was trained: the
    running ones are of both together. "reconstruction" is the mean |G(E(x)) - x| in [0, 1], and "latent" the mean
    |E(G(z)) - z|, both per value. "..._shuffled" is the same against the x or z next to it on this replica. Networks
    that knew nothing of each other would reach that.
    """
    networks = nets.build(setup, axis_name)
    images = nets.reduced(setup, crops)
    made = nets.generate(networks, state, z)
    codes = nets.encode(setup, networks, state, crops)
    variables = {
        "params": state.params["discriminator"],
        "batch_stats": state.batch_stats["discriminator"],
    }

    def judge(x: jax.Array, code: jax.Array) -> jax.Array:
        return networks.discriminator.apply(variables, 2 * x - 1, code, train=True, mutable=["batch_stats"])[
            0
        ]

    logits = judge(images, codes), judge(made, z)
    inverted = nets.generate(networks, state, codes)
    found = nets.encode(setup, networks, state, made)
    count = jnp.float32(len(crops))
    means = {
        "loss": discriminator_loss(logits),
        "accuracy": ((logits[0] > 0).mean() + (logits[1] <= 0).mean()) / 2,
        "reconstruction": _distance(inverted, images),
        "reconstruction_shuffled": _distance(inverted, jnp.roll(images, 1, 0)),
        "latent": _distance(found, z),
        "latent_shuffled": _distance(found, jnp.roll(z, 1, 0)),
        "diversity": diversity(made, images),
    }
    return {name: (mean * count, count) for name, mean in means.items()}


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
    """A message if the training metrics show that the generator collapsed or the discriminator won; else ""."""
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
    return ""


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.abs(a - b).mean()


def _with_means(state: State, decay: float) -> State:
    if not decay:
        return state
    newest = nets.inverse_pair(state.params, state.batch_stats)
    means = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.extras["ema"], newest)
    return state.replace(extras={"ema": means})
