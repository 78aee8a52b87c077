"""AlexNet with batch norm, as the published RotNet and DeepCluster systems use it, for 224-px crops."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssl_single_image.models.layers import ConvSpec, ConvTrunk, FCHead
from ssl_single_image.types import InputError

WIDTHS = {
    "rotnet": (64, 192, 384, 256, 256),
    "deepcluster": (96, 256, 384, 384, 256),
    "bigan": (96, 256, 384, 384, 256),
}


def backbone(width: str = "rotnet", sobel: bool = False, **shared: Any) -> ConvTrunk:
    """Five convolutions: 11 x 11 stride 4, 5 x 5, then three of 3 x 3; max-pool 3/2 after 1, 2 and 5.

    Args:
      width: "rotnet", 64-192-384-256-256 without biases (Gidaris et al. 2018), or "deepcluster",
        96-256-384-384-256 with biases (Caron et al. 2018), or "bigan", the same widths with leaky ReLU of slope .2
        and no batch norm in conv1 (Donahue et al. 2017; made for 112-px crops).
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      **shared: axis_name, dtype.

    Raises:
      InputError: unknown width.
    """
    if width not in WIDTHS:
        raise InputError(f"alexnet width {width!r}: expected one of {', '.join(WIDTHS)}")
    pool = (3, 2)
    c1, c2, c3, c4, c5 = WIDTHS[width]
    layers = (
        ConvSpec(c1, 11, 4, 2, pool),
        ConvSpec(c2, 5, 1, 2, pool),
        ConvSpec(c3, 3, 1, 1),
        ConvSpec(c4, 3, 1, 1),
        ConvSpec(c5, 3, 1, 1, pool),
    )
    if width == "bigan":
        return ConvTrunk(layers, sobel_front=sobel, slope=0.2, first_norm=False, **shared)
    return ConvTrunk(layers, sobel_front=sobel, use_bias=width == "deepcluster", **shared)


def head(outputs: int, width: str = "rotnet", sobel: bool = False, **shared: Any) -> FCHead:
    """4096-4096-outputs: with batch norm ("rotnet"), or with biases and dropout .5 ("deepcluster")."""
    del sobel
    published = FCHead((4096, 4096), outputs, **shared)
    if width == "deepcluster":
        return dataclasses.replace(published, batch_norm=False, dropout=0.5)
    return published
