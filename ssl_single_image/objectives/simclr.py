"""SimCLR: two views of a crop are nearer to each other than to those of other crops (Chen et al., ICML 2020)."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ssl_single_image import models
from ssl_single_image.augment import CropSpec
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common, contrast
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas
from ssl_single_image.schema import Section, Within
from ssl_single_image.types import InputError, Metrics, Objective, Pictures, PyTree, Rows, State

VIEWS, SHOWN = 2, 10
"""Views of a crop, and crops in the picture."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of SimCLR.

    Attributes:
      temperature: by which cosines are divided.
      dimension: of an embedding.
      hidden: units of the layer before it; 0: none.
      view_min_area: smallest view of a crop, as a fraction of its area.
      grey: probability of a view without colours.
      mask_overlap: crops whose windows overlap by more, as intersection over union, are no negatives of each other;
        1: all are.
      input_size: side of a view, which is what probes give the encoder.
    """

    TITLE = "objective_options"

    temperature: Annotated[float, Within(0, ends="(]")] = 0.5
    dimension: Annotated[int, Within(1)] = 128
    hidden: Annotated[int, Within(0)] = 512
    view_min_area: Annotated[float, Within(0, 1, "(]")] = 0.2
    grey: Annotated[float, Within(0, 1)] = 0.2
    mask_overlap: Annotated[float, Within(0, 1)] = 1.0
    input_size: Annotated[int, Within(8)] = 32


def make(setup: common.Setup) -> Objective:
    """Cross-entropy of the other view among all of the batch, NT-Xent. `inputs` is an Atlas.

    Raises:
      InputError: fewer crops than a batch, in which a crop would be its own negative.
    """
    options: Options = setup.options or Options()
    if setup.batch_size > setup.crops:
        raise InputError(f"batch_size = {setup.batch_size}: must be at most crops, which is {setup.crops}")
    drawn = contrast.plain(setup)
    spec = common.view_spec(setup, options.input_size, options.view_min_area, hflip=0.5)

    def network(axis_name: str | None = None) -> models.Module:
        head = functools.partial(
            models.EmbeddingHead,
            options.dimension,
            options.hidden,
            average=models.find(setup.encoder.backbone).averages,
            axis_name=axis_name if setup.sync_batch_norm else None,
            dtype=setup.dtype,
        )
        return setup.network(options.dimension, axis_name, head)

    def pairs(
        key: Key[Array, ""], crops: Float[Array, "B S S 3"], axis_name: str | None
    ) -> Float[Array, "2*B s s 3"]:
        seen = common.as_atlas(crops)
        views = [view(setup, options, spec, one, seen, axis_name) for one in jax.random.split(key, VIEWS)]
        return setup.normalise(jnp.concatenate(views))

    def init(key: jax.Array, inputs: Atlas) -> State:
        del inputs
        return common.init_state(setup, network(), key)

    def step(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> tuple[State, Metrics]:
        view_key, dropout_key = jax.random.split(key)
        crops = common.training_crops(drawn, state.step, inputs, axis_name)
        x = materialise(state.step >= 0, lambda crops: pairs(view_key, crops, axis_name), crops)
        own, every = (common.training_indices(setup, state.step, name) for name in (axis_name, None))
        masked = contrast.overlapping(setup, inputs, own, every, options.mask_overlap)
        rngs = {"dropout": replicas.replica_key(dropout_key, axis_name)}

        def loss(params: PyTree) -> tuple[jax.Array, tuple[PyTree, Metrics]]:
            variables = {"params": params, "batch_stats": state.batch_stats}
            (z, _), updated = network(axis_name).apply(
                variables, x, train=True, mutable=["batch_stats"], rngs=rngs
            )
            losses, right = nt_xent(z, masked, options.temperature, axis_name)
            return losses.mean(), (updated["batch_stats"], contrast.metrics(losses, right))

        return common.update(setup, state, loss, axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> Metrics:
        crop_key, view_key = jax.random.split(key)
        crops = common.held_out_crops(drawn, crop_key, inputs, axis_name)
        z = common.predict(network(), state, pairs(view_key, crops, axis_name))
        nothing = jnp.zeros((len(crops), setup.batch_size), bool)
        losses, right = nt_xent(z, nothing, options.temperature, axis_name)
        return replicas.total(contrast.metrics(losses, right), axis_name)

    return Objective(
        init,
        step,
        evaluate,
        functools.partial(common.trunk, setup),
        views=VIEWS,
        pictures=functools.partial(picture, drawn, setup, options, spec),
    )


def view(
    setup: common.Setup,
    options: Options,
    spec: CropSpec,
    key: Key[Array, ""],
    crops: Atlas,
    axis_name: str | None,
) -> Float[Array, "B s s 3"]:
    """A view of each of this replica's crops, (B, s, s, 3) in [0, 1]."""
    seen = common.views_of(setup, key, crops, spec, axis_name)
    return contrast.without_colours(setup, jax.random.fold_in(key, 1), seen, options.grey, axis_name)


def nt_xent(
    z: Float[Array, "2*B D"], masked: Bool[Array, "B G"], temperature: float, axis_name: str | None
) -> tuple[Float[Array, " 2*B"], Bool[Array, " 2*B"]]:
    """The loss of equation 1, for each view of this replica, and whether its other view is the nearest of all.

    Args:
      z: embeddings of length 1, of all crops in their first view, then in their second.
      masked: (B, G) bool, which of the G crops of the global batch are no negatives of each of this replica's.
      temperature: by which cosines are divided.
      axis_name: see `parallel.replicas`.
    """
    count = len(z) // VIEWS
    every = replicas.gather(z.reshape(VIEWS, count, -1).swapaxes(0, 1), axis_name)  # (G, 2, D)
    logits = jnp.einsum("ad,gvd->avg", z, every).reshape(len(z), -1) / temperature
    batch = len(every)
    crop = jnp.tile(replicas.positions(batch, axis_name).astype(jnp.int32), VIEWS)
    of = jnp.repeat(jnp.arange(VIEWS, dtype=jnp.int32), count)
    column = jnp.arange(VIEWS * batch, dtype=jnp.int32)
    correct = (1 - of) * batch + crop
    itself = column[None] == (of * batch + crop)[:, None]
    left_out = jnp.tile(masked, (VIEWS, VIEWS)) & (column[None] != correct[:, None])
    return contrast.among(logits, correct, left_out | itself)


def picture(
    drawn: common.Setup,
    setup: common.Setup,
    options: Options,
    spec: CropSpec,
    state: State,
    key: jax.Array,
    inputs: Atlas,
) -> Pictures:
    """Crops with the windows of both views, and the views."""
    del state
    some, few = (dataclasses.replace(each, batch_size=SHOWN) for each in (drawn, setup))
    crop_key, *views = jax.random.split(key, 1 + VIEWS)
    crops = common.held_out_crops(some, crop_key, inputs, None)
    seen = common.as_atlas(crops)
    shown = [view(few, options, spec, one, seen, None) for one in views]
    frames = [contrast.windows(one, seen, spec) for one in views]
    titles = (
        "Held-out crops, and the windows of two views: yellow, blue",
        "First views, yellow",
        "Second views, blue",
    )
    wide = contrast.framed(crops, *frames)
    rows = (contrast.enlarged(x, wide.shape[1]) for x in shown)
    return {"pairs": Rows((wide, *rows), titles)}
