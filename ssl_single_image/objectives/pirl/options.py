"""The options of PIRL, and what has to fit together."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import jax

from ssl_single_image import models, parallel
from ssl_single_image.objectives import common
from ssl_single_image.objectives.jigsaw import tiles as tiling
from ssl_single_image.schema import OneOf, Section, Within
from ssl_single_image.types import InputError


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of PIRL.

    Attributes:
      loss: "infonce", the cross-entropy of the positive among the negatives, or "nce", as published (section 3.2).
      temperature: by which cosines are divided.
      negatives: K, how many entries of the bank a step draws, with replacement, for all of its crops.
      bank_momentum: share of an entry that stays when its crop is seen.
      tiles_weight: share of the loss that compares tiles with the bank; the rest compares images with it.
      dimension: of an embedding.
      hidden: units of a layer before each head; 0: none, as published.
      mask_overlap: crops whose windows overlap by more, as intersection over union, are no negatives; 1: all are.
      image_min_area: smallest image view of a crop, as a fraction of its area.
      board: side in pixels of the view that is cut into tiles.
      board_min_area: smallest such view, as a fraction of the crop's area.
      tile: side of a tile in pixels; a cell has a third of the board's side.
      grey: probability of an image, or of a tile, without colours.
      input_size: side of an image view, which is what probes give the encoder.
    """

    TITLE = "objective_options"

    loss: Annotated[str, OneOf("infonce", "nce")] = "infonce"
    temperature: Annotated[float, Within(0, ends="(]")] = 0.1
    negatives: Annotated[int, Within(1)] = 4096
    bank_momentum: Annotated[float, Within(0, 1, "[)")] = 0.5
    tiles_weight: Annotated[float, Within(0, 1)] = 0.5
    dimension: Annotated[int, Within(1)] = 128
    hidden: Annotated[int, Within(0)] = 0
    mask_overlap: Annotated[float, Within(0, 1)] = 1.0
    image_min_area: Annotated[float, Within(0, 1, "(]")] = 0.2
    board: Annotated[int, Within(12)] = 48
    board_min_area: Annotated[float, Within(0, 1, "(]")] = 0.6
    tile: Annotated[int, Within(4)] = 12
    grey: Annotated[float, Within(0, 1)] = 0.2
    input_size: Annotated[int, Within(8)] = 32

    def check(self) -> None:
        cell = self.board // tiling.SIDE
        if self.tile > cell:
            raise InputError(
                f"objective_options.tile = {self.tile}: a board of {self.board} pixels has cells of {cell};"
                f" give tiles of at most {cell}, or a larger objective_options.board"
            )


def check(setup: common.Setup, options: Options) -> None:
    """Refuses options that do not go with the rest of a config.

    Raises:
      InputError: as many negatives as crops, fewer crops than a batch, a bank that no memory holds, or tiles that the
        backbone can't take.
    """
    if options.negatives >= setup.crops:
        raise InputError(
            f"objective_options.negatives = {options.negatives}: must be less than crops, which is {setup.crops}"
        )
    if setup.batch_size > setup.crops:
        raise InputError(f"batch_size = {setup.batch_size}: must be at most crops, which is {setup.crops}")
    models.encoder_spec(setup.encoder.backbone, setup.encoder.options, options.tile)
    devices = jax.devices()
    size, limit = 4 * setup.crops * options.dimension, parallel.memory_limit(devices)
    if limit is not None and size > limit * len(devices):
        raise InputError(
            f"crops = {setup.crops}: the memory bank takes 4 x crops x objective_options.dimension ="
            f" {size / 1e9:,.1f} GB, and all devices together have {limit * len(devices) / 1e9:,.1f} GB"
        )
