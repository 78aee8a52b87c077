"""AlexNet with batch norm, as the published RotNet and DeepCluster systems use it, for 224-px crops."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from ssl_single_image.models.backbone import Backbone
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk
from ssl_single_image.schema import OneOf, Section

CHANNELS = {
    "rotnet": (64, 192, 384, 256, 256),
    "deepcluster": (96, 256, 384, 384, 256),
    "bigan": (96, 256, 384, 384, 256),
}


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of AlexNet.

    Attributes:
      variant: "rotnet", 64-192-384-256-256 channels without biases (Gidaris et al. 2018), or "deepcluster",
        96-256-384-384-256 with biases (Caron et al. 2018), or "bigan", the same channels with leaky ReLU of slope .2
        and no batch norm in conv1 (Donahue et al. 2017; made for 112-px crops).
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
    """

    TITLE = "backbone_options"
    RENAMED = {"width": "variant"}  # noqa: RUF012 (annotated by the base class)

    variant: Annotated[str, OneOf(*CHANNELS)] = "rotnet"
    sobel: bool = False


def build(options: Options, **shared: Any) -> ConvTrunk:
    """Five convolutions: 11 x 11 stride 4, 5 x 5, then three of 3 x 3; max-pool 3/2 after 1, 2 and 5."""
    pool = (3, 2)
    c1, c2, c3, c4, c5 = CHANNELS[options.variant]
    layers = (
        ConvSpec(c1, 11, 4, 2, pool),
        ConvSpec(c2, 5, 1, 2, pool),
        ConvSpec(c3, 3, 1, 1),
        ConvSpec(c4, 3, 1, 1),
        ConvSpec(c5, 3, 1, 1, pool),
    )
    if options.variant == "bigan":
        return ConvTrunk(layers, sobel_front=options.sobel, slope=0.2, first_norm=False, **shared)
    return ConvTrunk(layers, sobel_front=options.sobel, use_bias=options.variant == "deepcluster", **shared)


def head(outputs: int, options: Options, **shared: Any) -> FCHead:
    """4096-4096-outputs: with batch norm ("rotnet"), or with biases and dropout .5 ("deepcluster")."""
    published = FCHead((4096, 4096), outputs, **shared)
    if options.variant == "deepcluster":
        return dataclasses.replace(published, batch_norm=False, dropout=0.5)
    return published


BACKBONE = Backbone(build, head, input_size=224, smallest=63, parameters=2_470_848, options=Options)
