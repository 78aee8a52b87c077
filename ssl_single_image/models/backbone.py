"""What all trunks offer, and what the registry holds of each backbone: how it is built, its options and its input."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from ssl_single_image.schema import Section

Taps = dict[str, jax.Array]
"""Activations by layer, in the order of depth."""


class Trunk(nn.Module):
    """The part of a network that is probed.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns the output (B, h, w, D) and the
    activations of its layers, (B, H, W, C) each.
    """

    def average_pooled(self) -> Trunk:
        """The same trunk, of the same variables, with average pooling in place of max pooling; itself without any.

        Gradients with respect to the image are then smooth, which suits pictures made by descent on it (Gatys et al.
        2016, section 2). Batch norm keeps statistics that it gathered behind max pooling.
        """
        return self


@dataclasses.dataclass(frozen=True)
class NoOptions(Section):
    """The options of a backbone that has none."""

    TITLE = "backbone_options"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One architecture.

    Attributes:
      build: (options, *, axis_name, dtype[, spectral]) -> the trunk.
      head: (outputs, options, *, axis_name, dtype) -> the published head on top of it.
      input_size: side in pixels of the input that it is made for.
      smallest: side of the smallest input that leaves a cell in every layer.
      parameters: trainable values of the trunk with the default options.
      options: a `Section` with the backbone's own settings and their defaults.
      averages: whether heads take the mean of the output over its map, as the published one does.
      input_size_by: options -> `input_size`, where it depends on them.
      smallest_by: options -> `smallest`, where it depends on them.
    """

    build: Callable[..., Trunk]
    head: Callable[..., nn.Module]
    input_size: int
    smallest: int
    parameters: int
    options: type[Section] = NoOptions
    averages: bool = False
    input_size_by: Callable[[Any], int] | None = None
    smallest_by: Callable[[Any], int] | None = None

    def made_for(self, options: Section) -> int:
        """Side in pixels of the input that the backbone with these options is made for."""
        return self.input_size_by(options) if self.input_size_by else self.input_size

    def smallest_for(self, options: Section) -> int:
        """Side in pixels of the smallest input that leaves a cell in every layer with these options."""
        return self.smallest_by(options) if self.smallest_by else self.smallest
