"""Networks as Flax modules: `apply` returns the output and the activations that probes read.

A new backbone is one file with a `Backbone`, and one line in BACKBONES.
"""

from __future__ import annotations

from ssl_single_image.models.backbone import Backbone, Trunk
from ssl_single_image.models.bigan import CodeHead, Discriminator, Generator, doublings
from ssl_single_image.models.chains import CHAINS
from ssl_single_image.models.critic import JOINTS, SCORES, Critic, Judged
from ssl_single_image.models.efficientnet import EfficientNet
from ssl_single_image.models.heads import FEATURES, EmbeddingHead, Network, PairNetwork, TowersHead, dense_top
from ssl_single_image.models.layers import EPSILON, ConvSpec, ConvTrunk, conv_inputs, norm_inputs
from ssl_single_image.models.registry import (
    BACKBONES,
    MEAN,
    STD,
    Module,
    activation_shapes,
    build_backbone,
    build_network,
    chain,
    current_name,
    encoder_spec,
    find,
    sees_derivatives,
    untrained,
    untrained_shapes,
)
from ssl_single_image.models.resnet import ResNet
from ssl_single_image.models.spectral import without_spectral_norm

__all__ = [
    "BACKBONES",
    "CHAINS",
    "EPSILON",
    "FEATURES",
    "JOINTS",
    "MEAN",
    "SCORES",
    "STD",
    "Backbone",
    "CodeHead",
    "ConvSpec",
    "ConvTrunk",
    "Critic",
    "Discriminator",
    "EfficientNet",
    "EmbeddingHead",
    "Generator",
    "Judged",
    "Module",
    "Network",
    "PairNetwork",
    "ResNet",
    "TowersHead",
    "Trunk",
    "activation_shapes",
    "build_backbone",
    "build_network",
    "chain",
    "conv_inputs",
    "current_name",
    "dense_top",
    "doublings",
    "encoder_spec",
    "find",
    "norm_inputs",
    "sees_derivatives",
    "untrained",
    "untrained_shapes",
    "without_spectral_norm",
]
