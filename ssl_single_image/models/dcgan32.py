"""`dcgan32`: the discriminator of DCGAN (Radford, Metz and Chintala, ICLR 2016) as a backbone for 32-px crops."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from ssl_single_image.models.backbone import Backbone
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk
from ssl_single_image.schema import OneOf, Section, Within


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of the strided backbone.

    Attributes:
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      slope: slope of the activation below zero; 0 is ReLU.
      kernel: side of the convolutions: 5 as published, or 4 as in Chintala's code for Torch.
    """

    TITLE = "backbone_options"

    sobel: bool = False
    slope: Annotated[float, Within(0, 1, "[)")] = 0.2
    kernel: Annotated[int, OneOf(4, 5)] = 5


def build(options: Options, **shared: Any) -> ConvTrunk:
    """Four convolutions of stride 2 without pooling, 64-128-256-512 channels, for sides of 16, 8, 4 and 2.

    As published, all but the first have batch norm. They take 41 million multiply-adds for a 32-px image, and 26
    million with kernels of 4 x 4.
    """
    side = options.kernel
    layers = tuple(ConvSpec(64 << number, side, stride=2, padding=(side - 1) // 2) for number in range(4))
    return ConvTrunk(layers, sobel_front=options.sobel, slope=options.slope, first_norm=False, **shared)


def head(outputs: int, options: Options, **shared: Any) -> FCHead:
    """512-outputs with batch norm, as that of `alexnet32`."""
    return FCHead((512,), outputs, **shared)


BACKBONE = Backbone(build, head, input_size=32, smallest=1, parameters=4_307_456, options=Options)
