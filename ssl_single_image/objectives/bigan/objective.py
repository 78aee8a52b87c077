"""BiGAN: an encoder learnt as the inverse of a generator (Donahue, Krähenbühl and Darrell, ICLR 2017).

A joint discriminator D(x, z) tells pairs (x, E(x)) of real crops from pairs (G(z), z) of generated ones. Encoder E and
generator G are trained to make it fail. At the optimum E inverts G.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from ssl_single_image import models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.bigan import diagnostics, gauges, losses
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.parallel import replicas
from ssl_single_image.types import EncoderVariables, InputError, Metrics, Objective, PyTree, State


def make(setup: common.Setup) -> Objective:
    """Batches of crops against as many generated images. `inputs` is an Atlas.

    Raises:
      InputError: G can't make images of the size.
    """
    size = nets.image_size(setup)
    if models.doublings(size) < 2:  # the published D's first layer doesn't see z
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
        metrics = gauges.measure(setup, state, crops, z, axis_name)
        if nets.options_of(setup).diagnostics:
            metrics |= diagnostics.diagnose(setup, state, crops_key, inputs, axis_name)
        return replicas.total(metrics, axis_name)

    def encoder(state: State) -> EncoderVariables:
        params, stats = nets.averaged(state)
        return EncoderVariables(
            setup.encoder, params["encoder"]["backbone"], stats["encoder"].get("backbone", {})
        )

    others = {}
    if nets.options_of(setup).discriminator != nets.JOINT:
        others["discriminator"] = functools.partial(nets.discriminator_trunk, setup)
    return Objective(
        init,
        step,
        evaluate,
        encoder,
        others,
        pictures=lambda *args: gauges.draw(setup, *args),
        warning=gauges.warning,
        best="eval/inversion",  # D's loss says nothing of E, and labels are not to be used
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

    As published, D sees crops and generated images as two batches, each normalised by its own statistics. Its running
    statistics are those of crops.
    """
    networks = nets.build(setup, axis_name)
    options, params, stats = nets.options_of(setup), state.params, state.batch_stats
    z = nets.prior(setup, key, axis_name)
    images, seen = nets.reduced(setup, crops), nets.encoder_view(setup, key, crops, axis_name)

    def encode(params: PyTree) -> tuple[jax.Array, PyTree]:
        variables = {"params": params, "batch_stats": stats["encoder"]}
        (codes, _), updated = networks.encoder.apply(
            variables, setup.normalise(seen), train=True, mutable=["batch_stats"]
        )
        return codes, updated.get("batch_stats", {})

    def generate(params: PyTree) -> tuple[jax.Array, PyTree]:
        variables = {"params": params, "batch_stats": stats["generator"]}
        made, updated = networks.generator.apply(variables, z, train=True, mutable=["batch_stats"])
        return made, updated["batch_stats"]

    def discriminate(params: PyTree, codes: jax.Array, made: jax.Array) -> tuple[Pair, PyTree]:
        judge = functools.partial(nets.judge, setup, networks, params, stats["discriminator"])
        real, updated = judge(images, codes)
        return (real, judge(made, z)[0]), updated

    codes, pull_encoder, encoder_stats = jax.vjp(encode, params["encoder"], has_aux=True)
    made, pull_generator, generator_stats = jax.vjp(generate, params["generator"], has_aux=True)
    judged, pull_discriminator, discriminator_stats = jax.vjp(
        discriminate, params["discriminator"], codes, made, has_aux=True
    )
    loss, for_discriminator = jax.value_and_grad(own_loss)(judged, options, axis_name)
    opposite, for_pair = jax.value_and_grad(opposite_loss)(judged, options, axis_name)
    discriminator_grads, _, _ = pull_discriminator(for_discriminator)
    _, for_codes, for_made = pull_discriminator(for_pair)
    if options.r1:
        penalty = jax.grad(functools.partial(r1_penalty, setup, state, images, codes, axis_name))
        discriminator_grads = jax.tree.map(jnp.add, discriminator_grads, penalty(params["discriminator"]))
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
    count = jnp.float32(len(crops))
    means = {"loss": loss, "loss_pair": opposite, "diversity": gauges.diversity(made, images)}
    means |= {f"d_{name}": _belief(one.scores) for name, one in zip(("real", "fake"), judged, strict=True)}
    if options.matching:
        means["matching"] = _matching(judged, options, axis_name)
    metrics: Metrics = {name: (mean * count, count) for name, mean in means.items()}
    rates = {"generator": options.generator_rate, "discriminator": options.discriminator_rate}
    state, metrics = common.apply_gradients(setup, state, grads, new_stats, metrics, axis_name, rates)
    for name, part in replicas.mean(grads, axis_name).items():
        metrics[f"grad_norm_{name}"] = (optax.tree.norm(part), jnp.float32(1))
    return _with_means(state, options.ema), metrics


Pair = tuple[models.Judged, models.Judged]
"""What D says of crops with their codes, and of generated images with theirs."""


def own_loss(judged: Pair, options: nets.Options, axis_name: str | None) -> Float[Array, ""]:
    """What D minimises on this replica."""
    real, made = (one.scores for one in judged)
    adversarial = losses.discriminator_loss(real, made, options.loss, options.label_smoothing)
    return options.adversarial * adversarial + _matching(judged, options, axis_name)


def opposite_loss(judged: Pair, options: nets.Options, axis_name: str | None) -> Float[Array, ""]:
    """What E and G minimise on this replica."""
    real, made = (one.scores for one in judged)
    return options.adversarial * losses.pair_loss(real, made, options.loss) + _matching(
        judged, options, axis_name
    )


def _matching(judged: Pair, options: nets.Options, axis_name: str | None) -> jax.Array:
    if not options.matching:
        return jnp.float32(0)
    parts = [
        losses.matching_loss(one.image, one.code, options.temperature, axis_name)
        for one in judged
        if one.image is not None and one.code is not None
    ]
    return options.matching * jnp.stack(parts).sum()


def r1_penalty(
    setup: common.Setup,
    state: State,
    images: jax.Array,
    codes: jax.Array,
    axis_name: str | None,
    params: PyTree,
) -> Float[Array, ""]:
    """Half `r1` times the mean squared gradient of D's scores at crops (Mescheder et al. 2018, equation 9)."""
    networks = nets.build(setup, axis_name)

    def score(images: jax.Array) -> jax.Array:
        judged, _ = nets.judge(setup, networks, params, state.batch_stats["discriminator"], images, codes)
        return jnp.stack([judged.scores[name].sum() for name in judged.scores if "x" in name]).sum()

    slope = jax.grad(score)(images)
    return nets.options_of(setup).r1 / 2 * (slope**2).sum((1, 2, 3)).mean()


def _belief(scores: losses.Scores) -> jax.Array:
    """The mean probability that D gives to "real"."""
    return jax.nn.sigmoid(jnp.stack(list(scores.values()))).mean()


def _with_means(state: State, decay: float) -> State:
    if not decay:
        return state
    newest = nets.inverse_pair(state.params, state.batch_stats)
    means = jax.tree.map(lambda a, b: decay * a + (1 - decay) * b, state.extras["ema"], newest)
    return state.replace(extras={"ema": means})
