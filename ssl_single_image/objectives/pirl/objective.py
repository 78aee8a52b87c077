"""PIRL: a crop and its shuffled tiles have the same embedding (Misra and van der Maaten, CVPR 2020).

The embedding of crop i, seen as an image, and that of its nine tiles in a random order, are both drawn towards entry i
of a memory bank and away from others. Three things differ from the publication. All crops of a step share their
negatives. Crops come from one image, so the windows of two may overlap, and `mask_overlap` says which are no negatives.
Image and tiles are views of a crop that was rendered once.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int32, Key

from ssl_single_image import augment, models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common, contrast
from ssl_single_image.objectives.jigsaw import tiles as tiling
from ssl_single_image.objectives.pirl import bank
from ssl_single_image.objectives.pirl.options import Options, check
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import Shards, replicas
from ssl_single_image.types import Metrics, Objective, Pictures, PyTree, Rows, State

SHOWN = 10
"""Crops in the picture."""
BANK, NORMALISER = "bank", "log_normaliser"
"""Entries of a state's extras; the second, (2,), is that of images and of tiles."""


class Compared(NamedTuple):
    """What the crops of a step are compared with.

    Attributes:
      positives: (B, D), their entries of the bank.
      negatives: (K, D), those of others.
      left_out: (B, 1 + K) bool: columns, after the positive's, that are no negatives.
    """

    positives: Float[Array, "B D"]
    negatives: Float[Array, "K D"]
    left_out: Bool[Array, "B 1+K"]

    def logits(self, embeddings: Float[Array, "B D"], temperature: float) -> Float[Array, "B 1+K"]:
        """Cosines over the temperature: with the positive, then with the negatives."""
        positive = (embeddings * self.positives).sum(-1, keepdims=True)
        return jnp.concatenate([positive, embeddings @ self.negatives.T], 1) / temperature


def make(setup: common.Setup) -> Objective:
    """Contrast of images and their tiles with a memory bank. `inputs` is an Atlas.

    Raises:
      InputError: see `options.check`.
    """
    options: Options = setup.options or Options()
    check(setup, options)
    return Objective(
        functools.partial(init, setup, options),
        functools.partial(step, setup, options),
        functools.partial(evaluate, setup, options),
        functools.partial(common.trunk, setup),
        views=1 + tiling.TILES,
        pictures=functools.partial(picture, setup, options),
    )


def network(setup: common.Setup, options: Options, axis_name: str | None = None) -> models.PairNetwork:
    """The backbone with both heads."""
    axis_name = axis_name if setup.sync_batch_norm else None
    spec = setup.encoder
    shared: dict[str, Any] = {"axis_name": axis_name, "dtype": jnp.dtype(setup.dtype)}
    head = functools.partial(
        models.EmbeddingHead,
        options.dimension,
        options.hidden,
        average=models.find(spec.backbone).averages,
        **shared,
    )
    backbone = functools.partial(models.build_backbone, spec.backbone, spec.options, **shared)
    return models.PairNetwork(backbone, head, functools.partial(head, towers=tiling.TILES))


def init(setup: common.Setup, options: Options, key: jax.Array, inputs: Atlas) -> State:
    """The state at step 0."""
    del inputs
    network_key, bank_key = jax.random.split(key)
    image = jnp.zeros((1, setup.encoder.size, setup.encoder.size, 3))
    tiles = jnp.zeros((tiling.TILES, options.tile, options.tile, 3))
    state = common.init_state(setup, network(setup, options), network_key, image, tiles)
    entries = bank.fresh(bank_key, bank.rows(setup.crops, setup.batch_size), options.dimension)
    extras: dict[str, PyTree] = {BANK: Shards(entries)}
    if options.loss == "nce":
        extras[NORMALISER] = jnp.zeros(2)
    return state.replace(extras=extras)


def step(
    setup: common.Setup,
    options: Options,
    state: State,
    key: jax.Array,
    inputs: Atlas,
    *,
    axis_name: str | None,
) -> tuple[State, Metrics]:
    """One optimisation step, after which the entries of its crops are moved."""
    view_key, negatives_key, dropout_key = jax.random.split(key, 3)
    crops = common.training_crops(contrast.plain(setup), state.step, inputs, axis_name)
    images, tiles = materialise(
        state.step >= 0, lambda crops: views(setup, options, view_key, crops, axis_name), crops
    )
    compared = compare(setup, options, state, negatives_key, inputs, axis_name)
    rngs = {"dropout": replicas.replica_key(dropout_key, axis_name)}
    find = functools.partial(_loss, setup, options, state, compared, images, tiles, rngs, axis_name)
    grads, (batch_stats, metrics, seen, normaliser) = jax.grad(find, has_aux=True)(state.params)
    own = common.training_indices(setup, state.step, axis_name).astype(jnp.int32)
    entries = state.extras[BANK].parts
    moved = bank.moved(entries, own, compared.positives, seen, options.bank_momentum, axis_name)
    state, metrics = common.apply_gradients(setup, state, grads, batch_stats, metrics, axis_name)
    return state.replace(extras={BANK: Shards(moved)} | normaliser), metrics


def compare(
    setup: common.Setup,
    options: Options,
    state: State,
    key: Key[Array, ""],
    inputs: Atlas,
    axis_name: str | None,
) -> Compared:
    """What this replica's crops of the step are compared with; `key` draws the negatives."""
    entries = state.extras[BANK].parts
    own, every = (
        common.training_indices(setup, state.step, name).astype(jnp.int32) for name in (axis_name, None)
    )
    others = jax.random.randint(key, (options.negatives,), 0, setup.crops, jnp.int32)
    same = own[:, None] == others[None]
    masked = same | contrast.overlapping(setup, inputs, own, others, options.mask_overlap)
    return Compared(
        replicas.deal(entries, every, axis_name),
        replicas.take(entries, others, axis_name),
        jnp.pad(masked, ((0, 0), (1, 0))),
    )


def _loss(
    setup: common.Setup,
    options: Options,
    state: State,
    compared: Compared,
    images: jax.Array,
    tiles: jax.Array,
    rngs: dict[str, jax.Array],
    axis_name: str | None,
    params: PyTree,
) -> tuple[jax.Array, tuple[PyTree, Metrics, jax.Array, dict[str, jax.Array]]]:
    """The loss, and with it new statistics, metrics, the images' embeddings and what extras hold beside the bank."""
    both, updated = network(setup, options, axis_name).apply(
        {"params": params, "batch_stats": state.batch_stats},
        images,
        tiles,
        train=True,
        mutable=["batch_stats"],
        rngs=rngs,
    )
    logits = [compared.logits(each, options.temperature) for each in both]
    found = [bank.info_nce(each, compared.left_out) for each in logits]
    losses, right = [loss for loss, _ in found], [first for _, first in found]
    normaliser = {}
    if options.loss == "nce":
        first = [bank.first_normaliser(jax.lax.stop_gradient(x), setup.crops, axis_name) for x in logits]
        logs = jnp.where(state.step == 0, jnp.stack(first), state.extras[NORMALISER]).astype(jnp.float32)
        losses = [
            bank.nce(x, compared.left_out, log, setup.crops) for x, log in zip(logits, logs, strict=True)
        ]
        normaliser = {NORMALISER: logs}
    weights = 1 - options.tiles_weight, options.tiles_weight
    total = weights[0] * losses[0] + weights[1] * losses[1]
    count = jnp.float32(len(total))
    metrics = contrast.metrics(total, right[1]) | {
        "image_accuracy": (right[0].astype(jnp.float32).sum(), count),
        "masked": (compared.left_out.astype(jnp.float32).mean(1).sum(), count),
    }
    return total.mean(), (updated["batch_stats"], metrics, both[0], normaliser)


def evaluate(
    setup: common.Setup,
    options: Options,
    state: State,
    key: jax.Array,
    inputs: Atlas,
    *,
    axis_name: str | None,
) -> Metrics:
    """How well the tiles of a held-out crop tell its image among those of the global batch: chance is 1 / batch."""
    crop_key, view_key = jax.random.split(key)
    crops = common.held_out_crops(contrast.plain(setup), crop_key, inputs, axis_name)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    images, tiles = network(setup, options).apply(
        variables, *views(setup, options, view_key, crops, axis_name), train=False
    )
    logits = tiles @ replicas.gather(images, axis_name).T / options.temperature
    place = replicas.positions(setup.batch_size, axis_name).astype(jnp.int32)
    found = contrast.among(logits, place, jnp.zeros(logits.shape, bool))
    return replicas.total(contrast.metrics(*found), axis_name)


def views(
    setup: common.Setup,
    options: Options,
    key: Key[Array, ""],
    crops: Float[Array, "B S S 3"],
    axis_name: str | None,
) -> tuple[Float[Array, "B s s 3"], Float[Array, "9*B t t 3"]]:
    """The image view and the tiles of each crop, as the network takes them."""
    image_key, tiles_key = jax.random.split(key)
    seen = common.as_atlas(crops)
    images = image_views(setup, options, image_key, seen, axis_name)
    tiles = tile_views(setup, options, tiles_key, seen, axis_name)
    return setup.normalise(images), setup.normalise(tiles.reshape(-1, *tiles.shape[2:]))


def image_spec(setup: common.Setup, options: Options) -> augment.CropSpec:
    """How a crop is seen as an image."""
    return common.view_spec(setup, options.input_size, options.image_min_area, hflip=0.5)


def board_spec(setup: common.Setup, options: Options) -> augment.CropSpec:
    """The part of a crop that is cut into tiles."""
    return common.view_spec(setup, options.board, options.board_min_area, jitter=False)


def image_views(
    setup: common.Setup,
    options: Options,
    key: Key[Array, ""],
    crops: Atlas,
    axis_name: str | None,
) -> Float[Array, "B s s 3"]:
    """Each crop as an image in [0, 1]."""
    seen = common.views_of(setup, key, crops, image_spec(setup, options), axis_name)
    return contrast.without_colours(setup, jax.random.fold_in(key, 1), seen, options.grey, axis_name)


def tile_views(
    setup: common.Setup,
    options: Options,
    key: Key[Array, ""],
    crops: Atlas,
    axis_name: str | None,
) -> Float[Array, "B 9 t t 3"]:
    """Nine tiles of each crop in a random order, in [0, 1]; each is mirrored and jittered on its own."""
    board_key, *keys = jax.random.split(key, 4)
    boards = common.views_of(setup, board_key, crops, board_spec(setup, options), axis_name)
    boards = materialise(
        boards[0, 0, 0, 0] >= 0, lambda x: x, boards
    )  # tiles are cut from it again and again
    place_keys, order_keys, colour_keys = (
        replicas.position_keys(one, setup.batch_size, axis_name) for one in keys
    )
    room = options.board // tiling.SIDE - options.tile
    draw = functools.partial(tiling.draw, puzzles=1, room=room, chromatic=0, grey=0.0)
    cells = tiling.cut(boards, jax.vmap(draw)(place_keys), options.tile)
    orders: Int32[Array, "B 9"] = jax.vmap(lambda k: jax.random.permutation(k, tiling.TILES))(order_keys)
    flat = tiling.arranged(cells, orders.astype(jnp.int32)).reshape(-1, options.tile, options.tile, 3)
    each = jax.vmap(lambda k: jax.random.split(k, tiling.TILES))(colour_keys).reshape(-1)
    spec = common.view_spec(setup, options.tile, 1.0, aspect=1.0, hflip=0.5)
    seen = setup.widened(augment.render_views(common.as_atlas(flat), each, spec))
    grey = jax.vmap(lambda k: jax.random.bernoulli(jax.random.fold_in(k, 1), options.grey))(each)
    return augment.greyed(seen, grey).reshape(cells.shape)


def picture(setup: common.Setup, options: Options, state: State, key: jax.Array, inputs: Atlas) -> Pictures:
    """Crops with the windows of image and tiles, the images, and the tiles side by side in three rows."""
    del state
    some = dataclasses.replace(contrast.plain(setup), batch_size=SHOWN)
    crop_key, image_key, tiles_key = jax.random.split(key, 3)
    crops = common.held_out_crops(some, crop_key, inputs, None)
    few = dataclasses.replace(setup, batch_size=SHOWN)
    seen = common.as_atlas(crops)
    images = image_views(few, options, image_key, seen, None)
    boards = tiling.boards(tile_views(few, options, tiles_key, seen, None))
    board_key = jax.random.split(tiles_key, 4)[0]
    frames = (
        contrast.windows(image_key, seen, image_spec(setup, options)),
        contrast.windows(board_key, seen, board_spec(setup, options)),
    )
    titles = (
        "Held-out crops, and the windows of the image (yellow) and of the tiles (blue)",
        "The images",
        "The tiles, in the order in which the network gets them",
    )
    wide = contrast.framed(crops, *frames)
    rows = (contrast.enlarged(x, wide.shape[1]) for x in (images, boards))
    return {"pairs": Rows((wide, *rows), titles)}
