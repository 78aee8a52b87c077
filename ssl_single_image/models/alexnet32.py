"""`alexnet32`: AlexNet's five convolutions at the scale of 32-px crops."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from ssl_single_image.models.backbone import Backbone
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk
from ssl_single_image.schema import Section, Within


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of the small backbones.

    Attributes:
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      slope: slope of the activation below zero, such as .2 for a leaky ReLU; 0 is ReLU.
      first_norm: whether conv1 has batch norm; without, it has a bias.
    """

    TITLE = "backbone_options"

    sobel: bool = False
    slope: Annotated[float, Within(0, 1, "[)")] = 0.0
    first_norm: bool = True

    def trunk(self, layers: tuple[ConvSpec, ...], **shared: Any) -> ConvTrunk:
        """The trunk of these layers with these options."""
        return ConvTrunk(
            layers, sobel_front=self.sobel, slope=self.slope, first_norm=self.first_norm, **shared
        )


def build(options: Options, **shared: Any) -> ConvTrunk:
    """Five 3 x 3 convolutions, 64-128-192-192-128 channels, max-pool 2/2 after 1, 2 and 5 (as AlexNet pools).

    It has AlexNet's depth and pooling places at a size that two CPU cores train usefully: 70 million multiply-adds for
    a 32-px image. The net-in-net that RotNet used for CIFAR takes about 220 million. Half an hour sees some 300,000
    rotated crops. Stride 1 and full resolution in conv1 keep the fine detail that 32-px crops live on. Pooling 2/2
    rather than 3/2 halves the sides exactly (32, 16, 8, 4).
    """
    pool = (2, 2)
    layers = (
        ConvSpec(64, 3, padding=1, pool=pool),
        ConvSpec(128, 3, padding=1, pool=pool),
        ConvSpec(192, 3, padding=1),
        ConvSpec(192, 3, padding=1),
        ConvSpec(128, 3, padding=1, pool=pool),
    )
    return options.trunk(layers, **shared)


def head(outputs: int, options: Options, **shared: Any) -> FCHead:
    """512-outputs with batch norm, whatever the options."""
    return FCHead((512,), outputs, **shared)


BACKBONE = Backbone(build, head, input_size=32, smallest=8, parameters=851_008, options=Options)
