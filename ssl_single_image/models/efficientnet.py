"""`efficientnet_b0`: the smallest EfficientNet (Tan and Le 2019, table 1).

Sixteen blocks widen their input, filter each channel on its own, weigh the channels, and make few of them again.
Strided convolutions are padded by k // 2 on each side, as in PyTorch. The authors' own code pads more behind than in
front, so their weights compute something slightly different here. Layers to probe are the outputs of the last blocks
before the map shrinks, "block00", "block02", "block04" and "block10", and that of the last block, "block15". The
trunk's output is that of the 1 x 1 convolution behind it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models.backbone import Backbone, Taps, Trunk
from ssl_single_image.models.heads import AverageHead
from ssl_single_image.models.layers import DepthwiseConv, batch_norm, convolution, sobel
from ssl_single_image.models.spectral import spectral_norm
from ssl_single_image.schema import OneOf, Section, Within


class Stage(NamedTuple):
    """Blocks of one width; the first of them has the stride.

    Attributes:
      blocks: how many.
      kernel: side of the depthwise kernels.
      stride: of the first block.
      expansion: how many times wider a block is inside than its input; 1: it has no layer that widens it.
      features: channels of the output.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    features: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280
"""Channels of the first and the last convolution."""
PROBED = (0, 2, 4, 10, 15)
"""Blocks whose outputs are probed. Names have two digits, because JAX sorts dictionaries by their keys."""
SQUEEZE = 4
"""How many times fewer units a block's squeeze-and-excitation has than the block's input has channels."""
MOMENTUM = 0.99
"""Of batch norm."""
DROPOUT = 0.2
"""Of the head."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of EfficientNet.

    Attributes:
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      stem: "imagenet" begins with a 3 x 3 convolution of stride 2; "small", for 32-px images, with stride 1.
      drop_path: stochastic depth (Huang et al. 2016): how often the last block is left out for an image in training;
        earlier blocks in proportion to their number, and 0 never. BiGAN never leaves one out.
      epsilon: what batch norm adds to a variance; 0.001 as published. torchvision's network has 0.00001.
    """

    TITLE = "backbone_options"

    sobel: bool = False
    stem: Annotated[str, OneOf("imagenet", "small")] = "imagenet"
    drop_path: Annotated[float, Within(0, 1, "[)")] = 0.2
    epsilon: Annotated[float, Within(0, 1, "(]")] = 1e-3


class Block(nn.Module):
    """An inverted residual with squeeze-and-excitation: (B, H, W, C) -> (B, h, w, D).

    1 x 1 convolution, depthwise convolution, a weight for each channel, 1 x 1 convolution. Batch norm follows every
    convolution, and swish all but the last. The input is added where it has the output's shape.
    """

    stage: Stage
    stride: int
    dropped: float
    """How often the block is left out for an image in training, where the input is added and a "dropout" key given."""
    epsilon: float
    spectral: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        inputs = x.shape[-1]
        y = x
        if self.stage.expansion > 1:
            y = nn.swish(self._conv("expand", self.stage.expansion * inputs, y, train))
        y = nn.swish(self._depthwise(y, train))
        y *= self._weights(y, inputs // SQUEEZE, train)
        y = self._conv("project", self.stage.features, y, train)
        return x + self._some(y, train) if x.shape == y.shape else y

    def _conv(self, name: str, features: int, x: jax.Array, train: bool) -> jax.Array:
        x = convolution(self.spectral, features, 1, 1, dtype=self.dtype, name=name)(x, train)
        return self._norm(name, x, train)

    def _depthwise(self, x: jax.Array, train: bool) -> jax.Array:
        kernel = self.stage.kernel
        conv = DepthwiseConv(kernel, self.stride, kernel // 2, self.dtype, name="depthwise")
        return self._norm("depthwise", spectral_norm(conv, x, train) if self.spectral else conv(x), train)

    def _norm(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        return _norm(train, self.axis_name, self.dtype, f"{name}_bn", epsilon=self.epsilon)(x)

    def _weights(self, x: jax.Array, units: int, train: bool) -> jax.Array:
        """In (0, 1), for each image and channel: (B, 1, 1, C)."""
        conv = functools.partial(
            convolution, self.spectral, kernel=1, stride=1, use_bias=True, dtype=self.dtype
        )
        means = x.mean((1, 2), keepdims=True)
        hidden = nn.swish(conv(units, name="squeeze")(means, train))
        return nn.sigmoid(conv(x.shape[-1], name="excite")(hidden, train))

    def _some(self, x: jax.Array, train: bool) -> jax.Array:
        """x with some images' part 0 and the others' larger, so that the mean stays: stochastic depth."""
        if not (train and self.dropped and self.has_rng("dropout")):
            return x
        kept = 1 - self.dropped
        keeps = jax.random.bernoulli(self.make_rng("dropout"), kept, (x.shape[0], 1, 1, 1))
        return jnp.where(keeps, x / kept, 0)


class EfficientNet(Trunk):
    """A 3 x 3 convolution, seven stages of blocks, and a 1 x 1 convolution with 1280 features.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns the last convolution's activation
    (B, h, w, 1280) and the outputs of five blocks: {"block00": ..., "block15": ...}. With the stem "imagenet" the map
    is halved five times, else four times. In training, blocks are left out at random where `rngs` have "dropout".
    """

    options: Options = Options()
    stages: tuple[Stage, ...] = STAGES
    spectral: bool = False
    """Divides every kernel by its largest singular value, see `spectral_norm`; a depthwise one as a matrix (k k, C)."""
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        if self.options.sobel:
            x = sobel(x)
        conv = functools.partial(convolution, self.spectral, dtype=self.dtype)
        norm = functools.partial(_norm, train, self.axis_name, self.dtype, epsilon=self.options.epsilon)
        stride = 2 if self.options.stem == "imagenet" else 1
        x = nn.swish(norm("bn1")(conv(STEM, 3, stride, 1, name="conv1")(x, train)))
        taps: Taps = {}
        for number, make in enumerate(self._blocks()):
            name = f"block{number:02}"
            x = make(name=name)(x, train=train)
            if number in PROBED:
                taps[name] = x
        x = nn.swish(norm("top_bn")(conv(TOP, 1, 1, name="top")(x, train)))
        return x, taps

    def _blocks(self) -> Iterator[Callable[..., Block]]:
        total, number = sum(stage.blocks for stage in self.stages), 0
        for stage in self.stages:
            for place in range(stage.blocks):
                yield functools.partial(
                    Block,
                    stage,
                    1 if place else stage.stride,
                    self.options.drop_path * number / total,
                    self.options.epsilon,
                    self.spectral,
                    self.axis_name,
                    self.dtype,
                )
                number += 1


_norm = functools.partial(batch_norm, momentum=MOMENTUM)


def build(options: Options, **shared: Any) -> EfficientNet:
    """The trunk, up to the activation of the last convolution."""
    return EfficientNet(options, **shared)


def head(outputs: int, options: Options, **shared: Any) -> AverageHead:
    """The mean over the map, dropout .2 and a linear layer."""
    del options, shared
    return AverageHead(outputs, DROPOUT)


def input_size(options: Options) -> int:
    """224 pixels, 32 with the small stem."""
    return 224 if options.stem == "imagenet" else 32


BACKBONE = Backbone(
    build,
    head,
    input_size=224,
    smallest=1,
    parameters=4_007_548,
    options=Options,
    averages=True,
    input_size_by=input_size,
)
