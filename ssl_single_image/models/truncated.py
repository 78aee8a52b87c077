"""`truncated`: the first layers of another network, with nothing behind them."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any

import flax.linen as nn

from ssl_single_image.errors import InputError
from ssl_single_image.models.backbone import Backbone
from ssl_single_image.models.chains import CHAINS
from ssl_single_image.models.layers import ConvTrunk, sides_after
from ssl_single_image.schema import Section, Told, Within


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of a truncated network.

    Attributes:
      of: the backbone whose first layers it has.
      of_options: the options of that backbone; those left out keep their defaults.
      layers: how many of its layers there are.
    """

    TITLE = "backbone_options"

    of: Annotated[str, Told(f"one of {', '.join(CHAINS)}")] = "alexnet32"
    of_options: Any = dataclasses.field(default_factory=dict)
    layers: Annotated[int, Within(1)] = 2

    def check(self) -> None:
        if self.of not in CHAINS:
            raise InputError(
                f"{self.path('of')} = {self.of!r}: must be one of {', '.join(CHAINS)}, whose layers are a chain"
            )
        options = CHAINS[self.of].options.from_value(self.of_options, self.path("of_options"))
        object.__setattr__(self, "of_options", options)
        there = len(CHAINS[self.of].build(options).layers)
        if self.layers > there:
            raise InputError(
                f"{self.path('layers')} = {self.layers}: must be at most {there}, the layers of {self.of}"
            )


def build(options: Options, **shared: Any) -> ConvTrunk:
    """The first `layers` blocks of `of`, under the names that they have there."""
    trunk = CHAINS[options.of].build(options.of_options, **shared)
    assert isinstance(trunk, ConvTrunk)
    return dataclasses.replace(trunk, layers=tuple(trunk.layers[: options.layers]))


def head(outputs: int, options: Options, **shared: Any) -> nn.Module:
    """That of the whole network."""
    return CHAINS[options.of].head(outputs, options.of_options, **shared)


def made_for(options: Options) -> int:
    """Side of the input that the whole network is made for."""
    return CHAINS[options.of].made_for(options.of_options)


def smallest(options: Options) -> int:
    """Side of the smallest input that leaves a cell behind every layer."""
    layers = build(options).layers
    return next(side for side in itertools.count(1) if min(sides_after(layers, side)) > 0)


BACKBONE = Backbone(
    build,
    head,
    input_size=32,
    smallest=4,
    parameters=75_840,
    options=Options,
    input_size_by=made_for,
    smallest_by=smallest,
)
