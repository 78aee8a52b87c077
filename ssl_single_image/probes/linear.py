"""Linear classifiers on every layer of a frozen encoder: heads, and the published protocol that trains them.

The protocol of Zhang et al. (2016) as DeepCluster and RotNet use it: random views of labelled images go
through the encoder (inference mode). Each activation is max-pooled to at most ~9,600 features, normalised per feature
and classified linearly. The classifiers of all layers train together in one step. `probes.cached` is the variant
whose features are computed once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int8, Int32, Key

from ssl_single_image import augment, keys, models
from ssl_single_image.datasets import labelling
from ssl_single_image.images import atlas_from_batch
from ssl_single_image.ops import score_product
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import losses, pooling
from ssl_single_image.probes.kinds import all_answers
from ssl_single_image.types import (
    Batch,
    EncoderSpec,
    EncoderVariables,
    Metrics,
    PyTree,
    State,
    Step,
)

MOMENTUM, EPSILON = 0.9, 1e-5
TESTS = ("centre", "ten_crop")

Features = Mapping[str, Float[Array, "B _"]]
"""Layer -> its features, (B, F)."""


class Labelled(NamedTuple):
    """One layer's features of labelled images.

    Attributes:
      features: (N, F), as they were computed.
      label: (N,) int32, or (N, classes) int8 where images have several; -1 marks padding.
    """

    features: Float[Array, "N F"]
    label: Int32[Array, " N"] | Int8[Array, "N classes"]


class Moments(NamedTuple):
    """Mean and variance of every feature of a layer."""

    mean: Float[Array, " F"]
    var: Float[Array, " F"]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a probe of one encoder is made from.

    Attributes:
      encoder: the backbone; `size` is the side of the views it is given here.
      pools: layer -> pooling, see `pooling.choose`.
      features: layer -> features after pooling.
      classes: how many there are.
      batch_size: labelled images of one step over all devices.
      optimizer: applied to all heads.
      crop: random training views; None: the central view, as for evaluation.
      test: "centre" is the largest central square. "ten_crop" averages the logits over the corners, the centre and
        their mirror images. These have `size` pixels and are cut from the image as it is.
      labels: whether an image has one class or several.
      dtype: of the computation, "float32"; tests compare programs in "float64", with JAX's x64 mode.
    """

    encoder: EncoderSpec
    pools: Mapping[str, pooling.Pool]
    features: Mapping[str, int]
    classes: int
    batch_size: int
    optimizer: optax.GradientTransformation
    crop: augment.CropSpec | None = None
    test: str = "centre"
    labels: labelling.Form = labelling.ONE
    dtype: str = "float32"


class Probe(NamedTuple):
    """One way of training heads, as pure functions; `step` and `classify` are what `parallel` compiles.

    Attributes:
      init: (seed, encoder) -> the state before the first step.
      step: one update of all heads, see `types.Step`.
      classify: (state, key, inputs) -> layer -> `kinds.answer` to all images of `inputs`.
    """

    init: Callable[[int, EncoderVariables], State]
    step: Step
    classify: Callable[..., dict[str, Array]]


def published(setup: Setup) -> Probe:
    """Heads trained on views rendered inside the step; `inputs` is a Batch, split over devices.

    Metrics: "LAYER/loss" and others, see `losses.metrics`. Images labelled -1 are padding, which `step`
    wants none of.
    """

    def init(seed: int, encoder: EncoderVariables) -> State:
        return init_state(setup, keys.stream(seed, keys.Stream.HEADS_INIT), {"encoder": variables(encoder)})

    def step(state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None) -> tuple[State, Metrics]:
        if setup.crop is None:
            x = central_views(inputs, setup.encoder.size)
        else:
            x = random_views(replicas.position_keys(key, setup.batch_size, axis_name), inputs, setup.crop)
        features = encode(setup, state.extras["encoder"], x)
        mean, var = moments(features, axis_name)
        normal = {layer: normalise(f, mean[layer], var[layer]) for layer, f in features.items()}
        state, measured = update(setup, state, normal, inputs.label, axis_name)
        running = jax.tree.map(
            lambda old, new: MOMENTUM * old + (1 - MOMENTUM) * new,
            state.batch_stats,
            {layer: {"mean": mean[layer], "var": var[layer]} for layer in features},
        )
        return state.replace(batch_stats=running), replicas.total(measured, axis_name)

    def classify(
        state: State, key: jax.Array, inputs: Batch, *, axis_name: str | None
    ) -> dict[str, jax.Array]:
        def predict(x: jax.Array) -> dict[str, jax.Array]:
            return heads(state.params, standardise(state, encode(setup, state.extras["encoder"], x)))

        del key
        if setup.test == "ten_crop":
            logits = ten_crop(predict, setup.encoder.size, inputs)
        else:
            logits = predict(central_views(inputs, setup.encoder.size))
        return replicas.gather(all_answers(logits, inputs.label), axis_name)

    return Probe(init, step, classify)


def init_state(setup: Setup, key: jax.Array, extras: PyTree) -> State:
    """Heads before training: Glorot-uniform weights, zero biases, running statistics of mean 0 and variance 1."""
    glorot = jax.nn.initializers.glorot_uniform()
    params = {}
    for number, (layer, size) in enumerate(setup.features.items()):
        kernel = glorot(jax.random.fold_in(key, number), (size, setup.classes), jnp.float32)
        params[layer] = {"weight": kernel.T, "bias": jnp.zeros(setup.classes)}
    return State(jnp.int32(0), params, no_statistics(setup), setup.optimizer.init(params), extras)


def no_statistics(setup: Setup) -> PyTree:
    """Layer -> "mean" and "var" of its features before any were seen."""
    return {layer: {"mean": jnp.zeros(size), "var": jnp.ones(size)} for layer, size in setup.features.items()}


def variables(encoder: EncoderVariables) -> dict[str, PyTree]:
    """A copy of the encoder's variables, for a state that will be donated."""
    return jax.tree.map(jnp.array, {"params": encoder.params, "batch_stats": encoder.batch_stats})


def random_views(keys: Key[Array, " B"], batch: Batch, crop: augment.CropSpec) -> Float[Array, "B S S 3"]:
    """One view of every image, drawn from its key: (B, S, S, 3) in [0, 1]."""
    return augment.render_views(atlas_from_batch(batch.image, batch.extent), keys, crop)


def central_views(batch: Batch, size: int) -> Float[Array, "B S S 3"]:
    """The largest central square of every image at `size` pixels: (B, size, size, 3) in [0, 1]."""
    return augment.render_centres(atlas_from_batch(batch.image, batch.extent), size)


def encode(
    setup: Setup,
    encoder: Mapping[str, PyTree],
    x: Float[Array, "B S S 3"],
    dtype: Any = None,
    box: Float[Array, "B 4"] | None = None,
) -> dict[str, Float[Array, "B _"]]:
    """Pooled features of every layer of the frozen encoder: (B, S, S, 3) in [0, 1] -> layer -> (B, F).

    They are of type `dtype`, by default the setup's. Where the setup pools regions, `box` has that of each image.
    """
    spec = setup.encoder
    backbone = models.build_backbone(spec.backbone, spec.options, dtype=setup.dtype)
    x = augment.normalise(x.astype(setup.dtype), spec.mean, spec.std)
    taps: Any
    _, taps = backbone.apply(encoder, x, train=False)
    return lax.stop_gradient(pooling.flatten(setup.pools, taps, dtype or setup.dtype, box))


def moments(
    features: Features, axis_name: str | None
) -> tuple[dict[str, Float[Array, " _"]], dict[str, Float[Array, " _"]]]:
    """Mean and (biased) variance of every feature over the global batch, in two passes."""

    def mean_over_batch(x: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
        local = {layer: v.mean(0) for layer, v in x.items()}
        return replicas.mean(local, axis_name)

    mean = mean_over_batch(features)
    return mean, mean_over_batch({layer: (f - mean[layer][None]) ** 2 for layer, f in features.items()})


def normalise(
    x: Float[Array, "B F"], mean: Float[Array, " F"], var: Float[Array, " F"]
) -> Float[Array, "B F"]:
    """Batch norm without affine parameters, in the type of the statistics."""
    return (x.astype(mean.dtype) - mean[None]) * lax.rsqrt(var + EPSILON)[None]


def standardise(state: State, features: Features) -> dict[str, Float[Array, "B _"]]:
    """`normalise` by the statistics in the state."""
    return {layer: normalise(f, **state.batch_stats[layer]) for layer, f in features.items()}


def heads(params: PyTree, x: Features) -> dict[str, Float[Array, "B classes"]]:
    """Logits of every layer: (B, F) -> (B, classes)."""
    return {layer: score_product(x[layer], p["weight"]) + p["bias"][None] for layer, p in params.items()}


def update(
    setup: Setup, state: State, x: Features, label: losses.Labels, axis_name: str | None
) -> tuple[State, Metrics]:
    """One optimiser update of all heads; metrics are this replica's.

    The losses are summed over layers, which share no parameter: each head gets the gradient of its own.
    """

    def loss(params: PyTree) -> tuple[jax.Array, Metrics]:
        measured = losses.metrics(heads(params, x), label)
        each = [value / count for name, (value, count) in measured.items() if name.endswith("/loss")]
        return jnp.stack(each).sum(), measured

    grads, measured = jax.grad(loss, has_aux=True)(state.params)
    grads = replicas.mean(grads, axis_name)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in integers
        updates, opt_state = setup.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), measured


def ten_crop(
    predict: Callable[[Float[Array, "B S S 3"]], dict[str, Float[Array, "B classes"]]],
    size: int,
    batch: Batch,
) -> dict[str, Float[Array, "B classes"]]:
    """Logits averaged over ten views of every image, one after the other to spare memory.

    Args:
      predict: (B, size, size, 3) in [0, 1] -> layer -> (B, classes).
      size: side of the views; no image may be smaller.
      batch: the images, already resized (shorter side 8/7 of `size` where the published systems are followed).
    """
    margin = batch.extent - size
    middle = jnp.round(margin / 2).astype(margin.dtype)
    corners = [margin * jnp.array([corner], margin.dtype) for corner in ((0, 0), (0, 1), (1, 0), (1, 1))]
    offsets = jnp.stack([*corners, middle] * 2)

    def one(view: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        offset, mirror = view
        x = jax.vmap(lambda i, o: lax.dynamic_slice(i, (o[0], o[1], 0), (size, size, 3)))(batch.image, offset)
        x = jnp.where(mirror, x[:, :, ::-1], x)
        return predict(x.astype(jnp.float32) / 255)

    logits = lax.map(one, (offsets, jnp.arange(10) >= 5))
    return {layer: scores.mean(0) for layer, scores in logits.items()}
