"""Jigsaw: in which order are the tiles of a crop? (Noroozi and Favaro, ECCV 2016.)

A crop is cut into nine tiles, which are shuffled by one of P permutations. Nine towers with the same weights see a tile
each. Their outputs together are classified: which permutation was it?
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int32, Key

from ssl_single_image import models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import common
from ssl_single_image.objectives.jigsaw import tiles as tiling
from ssl_single_image.objectives.jigsaw.permutations import MOST, Rule, permutations
from ssl_single_image.ops.materialise import materialise
from ssl_single_image.parallel import replicas
from ssl_single_image.schema import OneOf, Section, Within
from ssl_single_image.types import (
    InputError,
    Metrics,
    Objective,
    Pictures,
    Rows,
    State,
)

SHOWN = 10
"""Puzzles in the picture."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of Jigsaw.

    Attributes:
      permutations: P, how many there are to tell apart.
      choice: how they were chosen, see `jigsaw.permutations`.
      tile: side of a tile in pixels; a cell has a third of the crop's side.
      chromatic: pixels by which the colour channels of a puzzle are moved apart, at most.
      grey: probability of a puzzle without colours.
      normalise: each channel of each tile to mean 0 and standard deviation 1; False: as other encoders' input.
      tile_features: outputs of a tower.
      hidden: units behind the nine towers.
      input_size: side of the images that probes give the encoder, whose tiles are smaller.
      equal_tiles: all tiles are the first one: a control, which must end at chance.
    """

    TITLE = "objective_options"

    permutations: Annotated[int, Within(2, MOST)] = 64
    choice: Annotated[str, OneOf("max_min", "max_avg")] = "max_min"
    tile: Annotated[int, Within(4)] = 12
    chromatic: Annotated[int, Within(0)] = 1
    grey: Annotated[float, Within(0, 1)] = 0.3
    normalise: bool = True
    tile_features: Annotated[int, Within(1)] = 128
    hidden: Annotated[int, Within(1)] = 512
    input_size: Annotated[int, Within(8)] = 32
    equal_tiles: bool = False


def make(setup: common.Setup) -> Objective:
    """P-way cross-entropy on the permutation of a crop's tiles. `inputs` is an Atlas.

    Raises:
      InputError: tiles that do not fit into their cells, or that the backbone can't take.
    """
    options: Options = setup.options or Options()
    room = _room(setup.crop.size, options)
    spec = setup.encoder
    models.encoder_spec(spec.backbone, spec.options, options.tile)  # refuses tiles that are too small

    def network(axis_name: str | None = None) -> models.Module:
        head = functools.partial(
            models.TowersHead,
            tiling.TILES,
            options.tile_features,
            options.hidden,
            options.permutations,
            models.find(spec.backbone).averages,
            axis_name if setup.sync_batch_norm else None,
            setup.dtype,
        )
        return setup.network(options.permutations, axis_name, head)

    def views(
        crops: Float[Array, "B S S 3"], keys: Key[Array, " B"]
    ) -> tuple[Float[Array, "9*B t t 3"], Int32[Array, " B"]]:
        shown, drawn = puzzles(options, room, crops, keys)
        x = tiling.normalised(shown) if options.normalise else setup.normalise(shown)
        return x.reshape(-1, *x.shape[2:]), drawn.label

    def init(key: jax.Array, inputs: Atlas) -> State:
        del inputs
        example = jnp.zeros((tiling.TILES, options.tile, options.tile, 3))
        return common.init_state(setup, network(), key, example)

    def step(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> tuple[State, Metrics]:
        puzzle_key, dropout_key = jax.random.split(key)
        crops = common.training_crops(setup, state.step, inputs, axis_name)
        keys = replicas.position_keys(puzzle_key, setup.batch_size, axis_name)
        x, labels = materialise(state.step >= 0, views, crops, keys)
        dropout_key = replicas.replica_key(dropout_key, axis_name)
        loss = common.classification_loss(network(axis_name), state, x, labels, dropout_key)
        return common.update(setup, state, loss, axis_name)

    def evaluate(state: State, key: jax.Array, inputs: Atlas, *, axis_name: str | None) -> Metrics:
        crop_key, puzzle_key = jax.random.split(key)
        crops = common.held_out_crops(setup, crop_key, inputs, axis_name)
        x, labels = views(crops, replicas.position_keys(puzzle_key, setup.batch_size, axis_name))
        logits = common.predict(network(), state, x)
        return replicas.total(common.classification_metrics(logits, labels), axis_name)

    return Objective(
        init,
        step,
        evaluate,
        functools.partial(common.trunk, setup),
        views=tiling.TILES,
        pictures=functools.partial(picture, setup, options, room),
    )


def puzzles(
    options: Options, room: int, crops: Float[Array, "B S S 3"], keys: Key[Array, " B"]
) -> tuple[Float[Array, "B 9 t t 3"], tiling.Draw]:
    """The shuffled tiles of each crop, and what was drawn for it from its key."""
    draw = functools.partial(
        tiling.draw,
        puzzles=options.permutations,
        room=room,
        chromatic=options.chromatic,
        grey=options.grey,
    )
    drawn = jax.vmap(draw)(keys)
    cells = tiling.cut(crops, drawn, options.tile)
    if options.equal_tiles:
        return jnp.broadcast_to(cells[:, :1], cells.shape), drawn
    rule: Rule = options.choice  # type: ignore[assignment]
    orders = jnp.asarray(permutations(options.permutations, rule), jnp.int32)
    return tiling.arranged(cells, orders[drawn.label]), drawn


def picture(
    setup: common.Setup, options: Options, room: int, state: State, key: jax.Array, inputs: Atlas
) -> Pictures:
    """Crops, and below them their tiles as the network sees them, side by side in three rows."""
    del state
    some = dataclasses.replace(setup, batch_size=SHOWN)
    crops = common.held_out_crops(some, key, inputs, None)
    shown, _ = puzzles(options, room, crops, replicas.position_keys(key, SHOWN, None))
    return {
        "puzzles": Rows(
            (crops, tiling.boards(shown)), ("Held-out crops", "Their tiles, as the towers get them")
        )
    }


def _room(crop: int, options: Options) -> int:
    """Pixels by which a tile is smaller than its cell.

    Raises:
      InputError: it is not.
    """
    cell = crop // tiling.SIDE
    room = cell - options.tile
    if room < options.chromatic:
        raise InputError(
            f"objective_options.tile = {options.tile}: a crop of {crop} pixels has cells of {cell}, and"
            f" objective_options.chromatic = {options.chromatic} moves tiles in them; give tiles of at most"
            f" {cell - options.chromatic}, or larger crops"
        )
    return room
