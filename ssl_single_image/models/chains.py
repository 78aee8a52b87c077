"""The networks that are chains of convolutions, from which backbones with some of their layers are made."""

from __future__ import annotations

from ssl_single_image.models import alexnet, alexnet32, dcgan32, nin
from ssl_single_image.models.backbone import Backbone

CHAINS: dict[str, Backbone] = {
    "alexnet": alexnet.BACKBONE,
    "alexnet32": alexnet32.BACKBONE,
    "dcgan32": dcgan32.BACKBONE,
    "nin": nin.BACKBONE,
}
