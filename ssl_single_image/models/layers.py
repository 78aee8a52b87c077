"""Building blocks of the convolutional networks: convolutions with variables, batch norm, and chains of both."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jax import lax

from ssl_single_image.models.backbone import Taps, Trunk
from ssl_single_image.models.spectral import spectral_norm
from ssl_single_image.ops.convolution import conv2d
from ssl_single_image.ops.depthwise import depthwise_conv2d
from ssl_single_image.ops.pooling import average_pool, max_pool

EPSILON = 1e-5
"""What batch norm adds to a variance, here as in PyTorch."""
MOMENTUM = 0.9
"""Of batch norm's running statistics: what a step leaves of them."""


def conv_init(key: jax.Array, shape: tuple[int, int, int, int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """N(0, 2 / fan out) for a kernel (k, k, C, D), as He et al. 2015.

    Drawn flat, because XLA:CPU takes seconds to compile a draw of a four-dimensional shape.
    """
    return math.sqrt(2 / (shape[0] * shape[1] * shape[3])) * _flat_normal(key, shape, dtype)


def fan_in_init(
    key: jax.Array, shape: tuple[int, int, int, int], dtype: jnp.dtype = jnp.float32
) -> jax.Array:
    """N(0, 2 / fan in), as `conv_init`; for normalised kernels, whose scale only says how fast Adam turns them."""
    return math.sqrt(2 / math.prod(shape[:3])) * _flat_normal(key, shape, dtype)


def _flat_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """One block: convolution, batch norm, ReLU and, where `pool` (window, stride[, padding]) is set, pooling."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: tuple[int, ...] | None = None
    average: bool = False
    """Pools by the mean instead of the maximum."""


def sides_after(layers: Sequence[ConvSpec], side: int) -> list[int]:
    """Sides of the maps that a chain makes of an input: behind every convolution and every pooling, in order."""
    found = []
    for layer in layers:
        side = (side + 2 * layer.padding - layer.kernel) // layer.stride + 1
        found.append(side)
        if layer.pool:
            window, stride, padding = (*layer.pool, 0)[:3]
            side = (side + 2 * padding - window) // stride + 1
            found.append(side)
    return found


class Conv(nn.Module):
    """`conv2d` with its variables: `kernel` (k, k, C, D) and, with `use_bias`, `bias` (D,)."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = conv_init

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
            y += bias.astype(self.dtype)[None, None, None]
        return y


def convolution(
    spectral: bool,
    features: int,
    kernel: int,
    stride: int,
    padding: int = 0,
    use_bias: bool = False,
    dtype: jnp.dtype = jnp.float32,
    *,
    name: str,
) -> Callable[[jax.Array, bool], jax.Array]:
    """A `Conv` as (x, train) -> y, with or without `spectral_norm`; to be called inside a compact method."""
    init = fan_in_init if spectral else conv_init
    conv = Conv(features, kernel, stride, padding, use_bias, dtype, init, name=name)
    return lambda x, train: spectral_norm(conv, x, train) if spectral else conv(x)


class DepthwiseConv(nn.Module):
    """`depthwise_conv2d` with its variable `kernel` (k, k, 1, C).

    It is drawn from N(0, 2 / k^2): an output sees k^2 values, and a value goes into as many outputs.
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, 1, x.shape[-1])
        kernel = self.param("kernel", fan_in_init, shape, jnp.float32)
        return depthwise_conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)


def at_least_float32(x: jax.Array) -> jax.Array:
    """x as float32; float64 stays, so that tests can compute without visible rounding."""
    return x.astype(np.promote_types(x.dtype, np.float32))


class BatchNorm(nn.BatchNorm):
    """Flax's, which takes its statistics in float32 from inputs of any type: strict promotion of types stops here."""

    def __call__(self, x: jax.Array, *args: Any, **options: Any) -> jax.Array:
        with jax.numpy_dtype_promotion("standard"):
            return super().__call__(x, *args, **options)


def batch_norm(
    train: bool,
    axis_name: str | None,
    dtype: jnp.dtype,
    name: str,
    *,
    affine: bool = True,
    gain: float = 1.0,
    momentum: float = MOMENTUM,
    epsilon: float = EPSILON,
) -> BatchNorm:
    """Batch norm of this package; training statistics span `axis_name` too.

    With `affine` it has gains, which begin as `gain`, and shifts.
    """
    return BatchNorm(
        use_running_average=not train,
        momentum=momentum,
        epsilon=epsilon,
        axis_name=axis_name,
        dtype=dtype,
        scale_init=nn.initializers.constant(gain),
        use_scale=affine,
        use_bias=affine,
        name=name,
    )


def norm_inputs(network: nn.Module, variables: Any, x: jax.Array) -> dict[str, Any]:
    """What enters every batch norm of a network in inference mode: the arrays whose moments are its statistics.

    Args:
      network: a trunk.
      variables: its "params" and "batch_stats".
      x: its normalised input (B, S, S, 3).

    Returns:
      In the form of "batch_stats", with an array (B, h, w, C) in place of the statistics of each layer.
    """
    return traverse_util.unflatten_dict(_entering(nn.BatchNorm, network, variables, x))


def conv_inputs(network: nn.Module, variables: Any, x: jax.Array) -> dict[str, Any]:
    """What enters every convolution of a network in inference mode, by its name; arguments as `norm_inputs`'."""
    return traverse_util.unflatten_dict(_entering(Conv, network, variables, x))


def _entering(
    kind: type[nn.Module], network: nn.Module, variables: Any, x: jax.Array
) -> dict[tuple[str, ...], jax.Array]:
    """Path of every module of a kind -> what it is given."""
    found: dict[tuple[str, ...], jax.Array] = {}

    def look(call: Callable[..., Any], args: Any, options: Any, context: Any) -> Any:
        if isinstance(context.module, kind) and context.method_name == "__call__":
            found[context.module.path] = args[0]
        return call(*args, **options)

    with nn.intercept_methods(look):
        network.apply(variables, x, train=False)
    return found


def sobel(x: jax.Array) -> jax.Array:
    """Horizontal and vertical Sobel derivatives of the channels' mean: (B, H, W, C) -> (B, H, W, 2).

    The fixed front of DeepCluster's networks (Caron et al. 2018, section 3.2): it takes colour away from
    the clustering.
    """
    horizontal = jnp.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], x.dtype)
    kernel = jnp.stack([horizontal, horizontal.T], -1)[:, :, None, :]
    return conv2d(x.mean(-1, keepdims=True), kernel, 1, 1)


class ConvTrunk(Trunk):
    """A chain of convolutional blocks: what every backbone is but the residual networks and `scattering`.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns (output, activations): the output
    of the last block (B, h, w, D), and the activations {"conv1": ..., "convN": ...} after each ReLU, before
    pooling.
    """

    layers: Sequence[ConvSpec]
    sobel_front: bool = False
    use_bias: bool = False
    slope: float = 0.0
    """Slope of the activation below zero; 0 is ReLU."""
    first_norm: bool = True
    """Whether the first layer has batch norm; without, it has a bias."""
    spectral: bool = False
    """Divides every kernel by its largest singular value, as a discriminator wants it: see `spectral_norm`."""
    frozen: int = 0
    """The first layers, as many, that are not trained: always in inference mode, and without gradients."""
    front: Callable[[], Trunk] | None = None
    """Makes what takes the place of the layers before `start`."""
    start: int = 1
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        if self.sobel_front:
            x = sobel(x)
        taps: Taps = {}
        if self.front is not None:
            x, before = self.front()(x, train=train)
            taps |= before
        for number, layer in enumerate(self.layers[self.start - 1 :], self.start):
            name = f"conv{number}"
            norm = self.first_norm or number > 1
            sizes = layer.features, layer.kernel, layer.stride, layer.padding
            convolve = convolution(self.spectral, *sizes, self.use_bias or not norm, self.dtype, name=name)
            training = train and number > self.frozen
            x = convolve(x, training)
            if norm:
                x = batch_norm(training, self.axis_name, self.dtype, f"bn{number}")(x)
            x = nn.leaky_relu(x, self.slope) if self.slope else nn.relu(x)
            taps[name] = x
            if layer.pool:
                x = (average_pool if layer.average else max_pool)(x, *layer.pool)
            if number == self.frozen:
                x = lax.stop_gradient(x)
        return x, taps

    def average_pooled(self) -> ConvTrunk:
        averaged = tuple(dataclasses.replace(layer, average=True) for layer in self.layers)
        return self.clone(layers=averaged)
