"""`resnet18` and `resnet50`: residual networks (He et al. 2016), as torchvision builds them.

In a bottleneck the 3 x 3 convolution has the stride, and not the first 1 x 1 as in the paper. Layers to probe are
"conv1", before its pooling, and the outputs "layer1" to "layer4" of the four stages.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models.backbone import Backbone, Taps, Trunk
from ssl_single_image.models.heads import AverageHead
from ssl_single_image.models.layers import batch_norm, convolution, sobel
from ssl_single_image.ops.pooling import average_pool, max_pool
from ssl_single_image.schema import OneOf, Section

EXPANSION = 4
"""How many times more channels leave a bottleneck than its 3 x 3 convolution has."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of residual networks.

    Attributes:
      sobel: replaces the colour input by its Sobel derivatives, as DeepCluster does.
      stem: "imagenet" begins with a 7 x 7 convolution of stride 2 and max-pool 3/2; "small", for 32-px images, with a
        3 x 3 convolution of stride 1 alone.
      zero_gains: the last batch norm of each block begins with gains of 0, so that the block passes its input on (Goyal
        et al. 2017, section 5.1).
    """

    TITLE = "backbone_options"

    sobel: bool = False
    stem: Annotated[str, OneOf("imagenet", "small")] = "imagenet"
    zero_gains: bool = False


class Residual(nn.Module):
    """Convolutions with batch norm and ReLU, around which a shortcut leads: (B, H, W, C) -> (B, h, w, D)."""

    features: int
    """Of the convolutions but a bottleneck's last."""
    stride: int
    bottleneck: bool
    gain: float
    """Of the last batch norm at the start."""
    spectral: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        norm = functools.partial(batch_norm, train, self.axis_name, self.dtype)
        conv = functools.partial(convolution, self.spectral, dtype=self.dtype)
        y = x
        convs = self._convolutions()
        for number, (features, kernel, stride) in enumerate(convs, 1):
            last = number == len(convs)
            y = conv(features, kernel, stride, kernel // 2, name=f"conv{number}")(y, train)
            y = norm(f"bn{number}", gain=self.gain if last else 1.0)(y)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = conv(y.shape[-1], 1, self.stride, name="shortcut")(x, train)
            x = norm("shortcut_bn")(x)
        return nn.relu(x + y)

    def _convolutions(self) -> Sequence[tuple[int, int, int]]:
        """Features, side of the kernel and stride of each."""
        d = self.features
        if self.bottleneck:
            return (d, 1, 1), (d, 3, self.stride), (EXPANSION * d, 1, 1)
        return (d, 3, self.stride), (d, 3, 1)


class ResNet(Trunk):
    """A stem and four stages of residual blocks with 64, 128, 256 and 512 features; all but the first halve the map.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns the last activation (B, h, w, D) and
    all of them: {"conv1": ..., "layer1": ..., "layer4": ...}.
    """

    blocks: Sequence[int]
    """Of each stage."""
    bottleneck: bool
    options: Options = Options()
    spectral: bool = False
    """Divides every kernel by its largest singular value, see `spectral_norm`."""
    average: bool = False
    """Pools by the mean instead of the maximum."""
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        if self.options.sobel:
            x = sobel(x)
        large = self.options.stem == "imagenet"
        kernel, stride = (7, 2) if large else (3, 1)
        conv = convolution(self.spectral, 64, kernel, stride, kernel // 2, dtype=self.dtype, name="conv1")
        x = conv(x, train)
        x = nn.relu(batch_norm(train, self.axis_name, self.dtype, "bn1")(x))
        taps = {"conv1": x}
        if large:
            x = (average_pool if self.average else max_pool)(x, 3, 2, 1)
        block = functools.partial(
            Residual,
            bottleneck=self.bottleneck,
            gain=0.0 if self.options.zero_gains else 1.0,
            spectral=self.spectral,
            axis_name=self.axis_name,
            dtype=self.dtype,
        )
        for stage, blocks in enumerate(self.blocks, 1):
            for number in range(blocks):
                stride = 2 if stage > 1 and number == 0 else 1
                x = block(32 << stage, stride, name=f"layer{stage}_{number}")(x, train=train)
            taps[f"layer{stage}"] = x
        return x, taps

    def average_pooled(self) -> ResNet:
        return self.clone(average=True)


def build(blocks: Sequence[int], bottleneck: bool, options: Options, **shared: Any) -> ResNet:
    """The trunk of `blocks` in each stage; it has 2 or 3 convolutions a block, one before them and no top layer."""
    return ResNet(blocks, bottleneck, options, **shared)


def head(outputs: int, options: Options, **shared: Any) -> AverageHead:
    """The mean over the map, and a linear layer."""
    del options, shared
    return AverageHead(outputs)


def input_size(options: Options) -> int:
    """224 pixels, 32 with the small stem."""
    return 224 if options.stem == "imagenet" else 32


def _backbone(blocks: Sequence[int], bottleneck: bool, parameters: int) -> Backbone:
    return Backbone(
        functools.partial(build, blocks, bottleneck),
        head,
        input_size=224,
        smallest=1,
        parameters=parameters,
        options=Options,
        averages=True,
        input_size_by=input_size,
    )


RESNET18 = _backbone((2, 2, 2, 2), False, 11_176_512)
RESNET50 = _backbone((3, 4, 6, 3), True, 23_508_032)
