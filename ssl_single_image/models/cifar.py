"""`cifar32`: AlexNet's five convolutions at the scale of 32-px crops."""

from __future__ import annotations

from typing import Any

from ssl_single_image.models.layers import ConvSpec, ConvTrunk, FCHead


def backbone(sobel: bool = False, **shared: Any) -> ConvTrunk:
    """Five 3 x 3 convolutions, 64-128-192-192-128 channels, max-pool 2/2 after 1, 2 and 5 (as AlexNet pools).

    AlexNet's depth and pooling places at a size that two CPU cores train usefully: 70 million multiply-adds
    for a 32-px image and 0.9 million parameters, where the net-in-net that RotNet used for CIFAR takes about
    220 million, so that half an hour sees some 300,000 rotated crops. Stride 1 and full resolution in conv1
    keep the fine detail that 32-px crops live on; pooling 2/2 rather than 3/2 halves the sides exactly
    (32, 16, 8, 4).

    Args:
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      **shared: axis_name, dtype.
    """
    pool = (2, 2)
    layers = (
        ConvSpec(64, 3, padding=1, pool=pool),
        ConvSpec(128, 3, padding=1, pool=pool),
        ConvSpec(192, 3, padding=1),
        ConvSpec(192, 3, padding=1),
        ConvSpec(128, 3, padding=1, pool=pool),
    )
    return ConvTrunk(layers, sobel_front=sobel, **shared)


def head(outputs: int, sobel: bool = False, **shared: Any) -> FCHead:
    """512-outputs with batch norm."""
    del sobel
    return FCHead((512,), outputs, **shared)
