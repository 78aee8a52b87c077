"""What the registry holds of each backbone: how it is built, its options, and the input that it is made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from ssl_single_image.schema import Section


@dataclasses.dataclass(frozen=True)
class NoOptions(Section):
    """The options of a backbone that has none."""

    TITLE = "backbone_options"


@dataclasses.dataclass(frozen=True)
class Backbone:
    """One architecture.

    Attributes:
      build: (options, *, axis_name, dtype[, spectral]) -> the trunk, whose `apply` returns (output, activations by
        layer).
      head: (outputs, options, *, axis_name, dtype) -> the published head on top of it.
      input_size: side in pixels of the input that it is made for.
      smallest: side of the smallest input that leaves a cell in every layer.
      parameters: trainable values of the trunk with the default options.
      options: a `Section` with the backbone's own settings and their defaults.
      input_size_by: options -> `input_size`, where it depends on them.
    """

    build: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    input_size: int
    smallest: int
    parameters: int
    options: type[Section] = NoOptions
    input_size_by: Callable[[Any], int] | None = None

    def made_for(self, options: Section) -> int:
        """Side in pixels of the input that the backbone with these options is made for."""
        return self.input_size_by(options) if self.input_size_by else self.input_size
