"""What objectives share: their settings, which crops a step sees, and one optimiser update."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int32, Key, UInt32

from ssl_single_image import augment, models
from ssl_single_image.images import Atlas, atlas_from_batch
from ssl_single_image.keys import Stream, stream
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas
from ssl_single_image.types import EncoderSpec, EncoderVariables, Metrics, PyTree, State


@dataclasses.dataclass(frozen=True)
class Setup:
    """What an objective is made from.

    Attributes:
      encoder: the backbone and its input, whose size need not be the crop's.
      crop: how crops are drawn.
      crops: d, the size of the virtual data set.
      batch_size: crops (or labelled images) of one step over all devices.
      seed: of the virtual data set.
      optimizer: applied to all parameters.
      sync_batch_norm: batch statistics over the global batch; False: per device.
      dtype: of the computation, "float32" or "bfloat16"; tests compare programs in "float64", with JAX's x64 mode.
      view_hflip: probability that a step mirrors a crop, anew at each visit.
      classes: number of labels, for objectives on labelled data.
      frozen: the first layers of `network`, as many, that are not trained.
      options: an instance of the objective's own options, None where it has none.
    """

    encoder: EncoderSpec
    crop: augment.CropSpec
    crops: int
    batch_size: int
    seed: int
    optimizer: optax.GradientTransformation
    sync_batch_norm: bool = True
    dtype: str = "float32"
    view_hflip: float = 0.0
    classes: int = 0
    frozen: int = 0
    options: Any = None

    def network(
        self, outputs: int, axis_name: str | None = None, head: Callable[[], models.Module] | None = None
    ) -> models.Module:
        """The backbone with a head, None: its published one; batch norm over `axis_name` if so set."""
        spec = self.encoder
        axis_name = axis_name if self.sync_batch_norm else None
        return models.build_network(
            spec.backbone,
            spec.options,
            outputs,
            axis_name=axis_name,
            dtype=self.dtype,
            head=head,
            frozen=self.frozen,
        )

    def widened(self, x: jax.Array) -> jax.Array:
        """Crops in float64 where the setup computes in it, otherwise as they are."""
        return x.astype(self.dtype) if self.dtype == "float64" else x

    def normalise(self, x: jax.Array) -> jax.Array:
        return augment.normalise(x, self.encoder.mean, self.encoder.std)


def own_input_size(crop: augment.CropSpec, options: Any) -> int:
    """The side of the encoder's input, for objectives that have it as the option `input_size`."""
    del crop
    return int(options.input_size)


def crops_key(seed: int) -> jax.Array:
    """The key of the virtual data set that `seed` names: crop i is drawn from it folded with i."""
    return stream(seed, Stream.CROPS)


def training_indices(setup: Setup, step: Int32[Array, ""], axis_name: str | None) -> UInt32[Array, " B"]:
    """Which crops of the virtual data set this replica sees in a step; with None those of the global batch.

    The steps walk through the virtual data set epoch by epoch, each epoch in an order of its own.
    """
    place = step.astype(jnp.uint32) * setup.batch_size + replicas.positions(setup.batch_size, axis_name)
    epoch, within = place // setup.crops, place % setup.crops
    order = stream(setup.seed, Stream.ORDER)

    def index(epoch: jax.Array, within: jax.Array) -> jax.Array:
        return augment.permute_index(jax.random.fold_in(order, epoch), within, setup.crops)

    return jax.vmap(index)(epoch, within)


def training_crops(
    setup: Setup, step: Int32[Array, ""], atlas: Atlas, axis_name: str | None
) -> Float[Array, "B S S 3"]:
    """This replica's crops of one step, see `training_indices`: (B, S, S, 3) in [0, 1]."""
    indices = training_indices(setup, step, axis_name)
    return setup.widened(augment.render_crops(atlas, crops_key(setup.seed), indices, setup.crop))


def held_out_crops(
    setup: Setup, key: Key[Array, ""], atlas: Atlas, axis_name: str | None
) -> Float[Array, "B S S 3"]:
    """As `training_crops`, of crops that training never sees: crop i of the batch is drawn from `key` folded with i."""
    positions = replicas.positions(setup.batch_size, axis_name)
    return setup.widened(augment.render_crops(atlas, key, positions, setup.crop))


JITTER = ("jitter_probability", "brightness", "contrast", "saturation", "hue")
"""Fields of a crop that say how its colours are jittered."""


def view_spec(
    setup: Setup, size: int, min_area: float, *, aspect: float = 0.75, hflip: float = 0.0, jitter: bool = True
) -> augment.CropSpec:
    """How a crop is seen: a random resized part of it, mirrored or not, with the run's colour jitter or without."""
    spec = augment.CropSpec(size, min_area=min_area, aspect=aspect, hflip=hflip)
    return spec.replace(**{field: getattr(setup.crop, field) for field in JITTER}) if jitter else spec


def views_of(
    setup: Setup,
    key: Key[Array, ""],
    crops: Atlas,
    spec: augment.CropSpec,
    axis_name: str | None,
) -> Float[Array, "B s s 3"]:
    """One augmented view of each of this replica's crops, see `as_atlas`: (B, s, s, 3) in [0, 1], as `spec` says."""
    keys = replicas.position_keys(key, setup.batch_size, axis_name)
    return setup.widened(augment.render_views(crops, keys, spec))


def as_atlas(crops: Float[Array, "n S S 3"]) -> Atlas:
    """Crops (n, S, S, 3) in [0, 1] as the images of an atlas, in 8 bits as all images. Views share it."""

    def build(crops: jax.Array) -> Atlas:
        extent = jnp.full((len(crops), 2), crops.shape[1], jnp.int32)
        return atlas_from_batch(jnp.rint(255 * crops).astype(jnp.uint8), extent)

    return materialise(crops[0, 0, 0, 0] >= 0, build, crops)


LossFunction = Callable[[PyTree], tuple[jax.Array, tuple[PyTree, Metrics]]]


def update(setup: Setup, state: State, loss: LossFunction, axis_name: str | None) -> tuple[State, Metrics]:
    """One optimiser update of `state` by the gradient of `loss`.

    Args:
      loss: params -> (mean loss of this replica's examples, (new batch_stats, metrics)).

    Returns:
      The state after it, and the metrics with "grad_norm" added, both the same on every replica.
    """
    grads, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(state.params)
    return apply_gradients(setup, state, grads, batch_stats, metrics, axis_name)


def apply_gradients(
    setup: Setup,
    state: State,
    grads: PyTree,
    batch_stats: PyTree,
    metrics: Metrics,
    axis_name: str | None,
    rates: Mapping[str, float] | None = None,
) -> tuple[State, Metrics]:
    """As `update`, from this replica's gradients, batch statistics and metrics.

    `rates` multiplies the learning rate of some entries of the parameters, by name.
    """
    grads, batch_stats = replicas.mean((grads, batch_stats), axis_name)
    with jax.numpy_dtype_promotion("standard"):  # optax counts steps in integers
        updates, opt_state = setup.optimizer.update(grads, state.opt_state, state.params)
    if rates:
        updates = {
            name: optax.tree.scale(rates[name], part) if rates.get(name, 1.0) != 1 else part
            for name, part in updates.items()
        }
    params = optax.apply_updates(state.params, updates)
    metrics = replicas.total(metrics, axis_name)
    metrics["grad_norm"] = (optax.tree.norm(grads), jnp.float32(1))
    return state.replace(
        step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state
    ), metrics


def init_state(
    setup: Setup,
    network: models.Module,
    key: jax.Array,
    *examples: Float[Array, "n s s 3"],
) -> State:
    """The state at step 0 of a network that takes what `examples` have the shapes of; none: `setup.encoder`'s input."""
    size = setup.encoder.size
    examples = examples or (jnp.zeros((2, size, size, 3)),)
    variables = network.init({"params": key}, *examples, train=False)
    params = variables["params"]
    return State(
        step=jnp.int32(0),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=setup.optimizer.init(params),
        extras={},
    )


def trunk(setup: Setup, state: State) -> EncoderVariables:
    """The encoder of a state whose network is `setup.network`; one without variables has none in the state."""
    params, statistics = (each.get("backbone", {}) for each in (state.params, state.batch_stats))
    return EncoderVariables(setup.encoder, params, statistics)


def classification_loss(
    network: models.Module,
    state: State,
    x: Float[Array, "B S S 3"],
    labels: Int32[Array, " B"],
    key: Key[Array, ""],
) -> LossFunction:
    """Mean cross-entropy on normalised x (B, S, S, 3) and labels (B,) int32; `key` is for dropout."""

    def loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        (logits, _), updated = network.apply(
            variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
        )
        metrics = classification_metrics(logits, labels)
        total, count = metrics["loss"]
        return total / count, (updated["batch_stats"], metrics)

    return loss


def classification_metrics(logits: Float[Array, "B classes"], labels: Int32[Array, " B"]) -> Metrics:
    """Cross-entropy and top-1 accuracy in [0, 1] as (sum, count); a label of -1 is padding and not counted."""
    valid = labels >= 0
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    correct = (logits.argmax(-1) == labels).astype(jnp.float32)
    count = valid.sum().astype(jnp.float32)
    return {
        "loss": (jnp.where(valid, losses, 0.0).sum(), count),
        "accuracy": (jnp.where(valid, correct, 0.0).sum(), count),
    }


def predict(network: models.Module, state: State, x: Float[Array, "B S S 3"]) -> Float[Array, "B classes"]:
    """Logits with running batch statistics."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    return network.apply(variables, x, train=False)[0]
