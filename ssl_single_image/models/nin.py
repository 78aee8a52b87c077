"""Network-in-network for 32-px crops, as RotNet and its predecessors use it on CIFAR (Lin et al. 2014)."""

from __future__ import annotations

from typing import Any

from ssl_single_image.models.alexnet32 import Options
from ssl_single_image.models.backbone import Backbone
from ssl_single_image.models.heads import AverageHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk


def build(options: Options, **shared: Any) -> ConvTrunk:
    """Three blocks of one spatial and two 1 x 1 convolutions: 192-160-96, 192-192-192, 192-192-192.

    Max-pool 3/2 after the first block, average-pool 3/2 after the second; 220 million multiply-adds for a 32-px
    image, three times those of `alexnet32`.
    """
    layers = (
        ConvSpec(192, 5, padding=2),
        ConvSpec(160, 1),
        ConvSpec(96, 1, pool=(3, 2, 1)),
        ConvSpec(192, 5, padding=2),
        ConvSpec(192, 1),
        ConvSpec(192, 1, pool=(3, 2, 1), average=True),
        ConvSpec(192, 3, padding=1),
        ConvSpec(192, 1),
        ConvSpec(192, 1),
    )
    return options.trunk(layers, **shared)


def head(outputs: int, options: Options, **shared: Any) -> AverageHead:
    """Logits of the features' mean over the map; it has no batch norm, and its logits are float32 in any case."""
    return AverageHead(outputs)


BACKBONE = Backbone(build, head, input_size=32, smallest=1, parameters=1_003_712, options=Options)
