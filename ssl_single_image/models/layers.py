"""Building blocks of the convolutional networks: convolution, max-pooling, normalised trunks and heads.

The one place that chooses how a convolution is computed. XLA's CPU backend is slow at convolution
gradients, so there a convolution is written as one matrix product over gathered patches; on GPU and TPU it
stays `lax.conv_general_dilated`. Both give the same numbers to rounding.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

Taps = dict[str, jax.Array]

dense_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def conv_init(key: jax.Array, shape: tuple[int, int, int, int], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """N(0, 2 / fan out) for a kernel (k, k, C, D), as He et al. 2015.

    Drawn flat, because XLA:CPU takes seconds to compile a draw of a four-dimensional shape.
    """
    scale = math.sqrt(2 / (shape[0] * shape[1] * shape[3]))
    return scale * jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def conv2d(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int, *, patches: bool | None = None
) -> jax.Array:
    """Two-dimensional convolution (cross-correlation, as networks use the word).

    Args:
      x: (B, H, W, C) float.
      kernel: (k, k, C, D), same dtype.
      stride: step in pixels, both directions.
      padding: rows and columns of zeros on each side.
      patches: True computes by patches and one matrix product, False by XLA's convolution; None takes the
        faster for the default backend, decided when traced.

    Returns:
      (B, (H + 2 padding - k) // stride + 1, likewise W, D).
    """
    if patches is None:
        patches = jax.default_backend() == "cpu"
    if not patches:
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=dims
        )
    if stride > 1:
        x, kernel = _space_to_depth(x, kernel, stride, padding)
        stride, padding = 1, 0
    size, _, _, features = kernel.shape
    columns = jnp.concatenate(_windows(x, size, stride, padding, 0.0), -1)
    # Two-dimensional operands: XLA:CPU's gradients of the product are slower with the batch axes kept apart.
    rows = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, features)
    return rows.reshape(*columns.shape[:3], features)


def _space_to_depth(
    x: jax.Array, kernel: jax.Array, stride: int, padding: int
) -> tuple[jax.Array, jax.Array]:
    """Input and kernel of the same convolution without a stride: stride x stride pixels become channels of one.

    Windows are then few and their rows contiguous: 9 instead of AlexNet's 121.
    """
    size, _, channels, features = kernel.shape
    blocks = -(-size // stride)  # of a window's side; what the kernel lacks for them is zero
    batch = x.shape[0]
    pads, counts = [(0, 0)], []
    for side in x.shape[1:3]:
        count = (side + 2 * padding - size) // stride + blocks
        counts.append(count)
        pads.append((padding, max(0, count * stride - side - padding)))
    rows, columns = counts
    x = jnp.pad(x, [*pads, (0, 0)])[:, : rows * stride, : columns * stride]
    x = x.reshape(batch, rows, stride, columns, stride, channels).transpose(0, 1, 3, 2, 4, 5)
    more = blocks * stride - size
    kernel = jnp.pad(kernel, ((0, more), (0, more), (0, 0), (0, 0)))
    kernel = kernel.reshape(blocks, stride, blocks, stride, channels, features).transpose(0, 2, 1, 3, 4, 5)
    depth = stride * stride * channels
    return x.reshape(batch, rows, columns, depth), kernel.reshape(blocks, blocks, depth, features)


def max_pool(
    x: jax.Array, window: int, stride: int, padding: int = 0, *, slices: bool | None = None
) -> jax.Array:
    """Maximum over windows; cells of the padding never win.

    Args:
      x: (B, H, W, C) float.
      window: side of the square window.
      stride: step in pixels.
      padding: cells added on each side.
      slices: True takes the maximum of window^2 strided slices, whose gradient XLA:CPU computes several times
        faster than `reduce_window`'s; None decides by the default backend. Where two cells of a window are
        equal, `reduce_window` and windows that tile x give the gradient to the first; overlapping slices
        share it.

    Returns:
      (B, (H + 2 padding - window) // stride + 1, likewise W, C).
    """
    if slices is None:
        slices = jax.default_backend() == "cpu"
    if slices:
        if stride == window and not padding and x.shape[1] % window == x.shape[2] % window == 0:
            return _max_of_tiles(x, window)
        return functools.reduce(jnp.maximum, _windows(x, window, stride, padding, -jnp.inf))
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, window, window, 1), (1, stride, stride, 1), pads)


def average_pool(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """Mean over windows, the zeros of the padding included; sizes as `max_pool`'s."""
    total = functools.reduce(jnp.add, _windows(x, window, stride, padding, 0.0))
    return total / window**2


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _max_of_tiles(x: jax.Array, window: int) -> jax.Array:
    """`max_pool` where the windows tile x; its gradient is one pass of comparisons."""
    return _tiles(x, window).max((2, 4))


def _tiles(x: jax.Array, window: int) -> jax.Array:
    """(B, H, W, C) -> (B, H / window, window, W / window, window, C)."""
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // window, window, width // window, window, channels)


def _max_of_tiles_forward(x: jax.Array, window: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    largest = _max_of_tiles(x, window)
    return largest, (x, largest)


def _max_of_tiles_backward(
    window: int, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    x, largest = saved
    tiles = _tiles(x, window)
    given = jnp.zeros(largest.shape, bool)
    rows = []
    for row in range(window):
        cells = []
        for col in range(window):
            wins = (tiles[:, :, row, :, col] == largest) & ~given
            given |= wins
            cells.append(jnp.where(wins, gradient, 0))
        rows.append(jnp.stack(cells, 3))
    return (jnp.stack(rows, 2).reshape(x.shape),)


_max_of_tiles.defvjp(_max_of_tiles_forward, _max_of_tiles_backward)


def _windows(x: jax.Array, size: int, stride: int, padding: int, fill: float) -> list[jax.Array]:
    """The size^2 strided slices of x, one for each place in a window, row by row."""
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    batch, height, width, channels = x.shape
    last_row, last_col = (height - size) // stride * stride, (width - size) // stride * stride

    def at(row: int, col: int) -> jax.Array:
        limit = (batch, row + last_row + 1, col + last_col + 1, channels)
        return lax.slice(x, (0, row, col, 0), limit, (1, stride, stride, 1))

    return [at(row, col) for row in range(size) for col in range(size)]


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


class Conv(nn.Module):
    """`conv2d` with its variables: `kernel` (k, k, C, D) and, with `use_bias`, `bias` (D,)."""

    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    use_bias: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", conv_init, shape, jnp.float32)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.padding)
        if self.use_bias:
            y += self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


def batch_norm(train: bool, axis_name: str | None, dtype: jnp.dtype, name: str) -> nn.BatchNorm:
    """Batch norm of this package: momentum .9, epsilon 1e-5; training statistics span `axis_name` too."""
    return nn.BatchNorm(
        use_running_average=not train, momentum=0.9, epsilon=1e-5, axis_name=axis_name, dtype=dtype, name=name
    )


def sobel(x: jax.Array) -> jax.Array:
    """Horizontal and vertical Sobel derivatives of the channels' mean: (B, H, W, C) -> (B, H, W, 2).

    The fixed front of DeepCluster's networks (Caron et al. 2018, section 3.2): it takes colour away from
    the clustering.
    """
    horizontal = jnp.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]], x.dtype)
    kernel = jnp.stack([horizontal, horizontal.T], -1)[:, :, None, :]
    return conv2d(x.mean(-1, keepdims=True), kernel, 1, 1)


class ConvTrunk(nn.Module):
    """A chain of convolutional blocks; every backbone of this package is one.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns (output, taps): the output
    of the last block (B, h, w, D), and the activations {"conv1": ..., "convN": ...} after each ReLU, before
    pooling.
    """

    layers: Sequence[ConvSpec]
    sobel_front: bool = False
    use_bias: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        if self.sobel_front:
            x = sobel(x)
        taps: Taps = {}
        for number, layer in enumerate(self.layers, 1):
            name = f"conv{number}"
            x = Conv(
                layer.features,
                layer.kernel,
                layer.stride,
                layer.padding,
                self.use_bias,
                self.dtype,
                name=name,
            )(x)
            x = nn.relu(batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x))
            taps[name] = x
            if layer.pool:
                x = (average_pool if layer.average else max_pool)(x, *layer.pool)
        return x, taps


class FCHead(nn.Module):
    """Flattened features -> hidden fully connected layers -> logits (B, outputs) in float32.

    Each hidden layer is followed by ReLU; `batch_norm` puts batch norm (and no bias) before it, `dropout`
    drops before each hidden layer (needs a "dropout" key when training).
    """

    hidden: Sequence[int]
    outputs: int
    batch_norm: bool = True
    dropout: float = 0.0
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = x.reshape(x.shape[0], -1)
        for number, features in enumerate(self.hidden, 1):
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
            dense = functools.partial(nn.Dense, kernel_init=dense_init, dtype=self.dtype)
            x = dense(features, use_bias=not self.batch_norm, name=f"fc{number}")(x)
            if self.batch_norm:
                x = batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x)
            x = nn.relu(x)
        return dense_top(self.outputs)(x.astype(jnp.float32))


class AverageHead(nn.Module):
    """The features' mean over the map -> logits (B, outputs) in float32."""

    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        return dense_top(self.outputs)(x.mean((1, 2)).astype(jnp.float32))


def dense_top(outputs: int) -> nn.Dense:
    """The layer that gives the logits: float32, N(0, .01) weights, zero bias."""
    return nn.Dense(outputs, kernel_init=nn.initializers.normal(0.01), name="top")


class Network(nn.Module):
    """A backbone and a head: `apply` returns (logits, taps); variables under "backbone" and "head"."""

    make_backbone: Callable[[], nn.Module]
    make_head: Callable[[], nn.Module]

    def setup(self) -> None:
        self.backbone = self.make_backbone()
        self.head = self.make_head()

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        features, taps = self.backbone(x, train=train)
        return self.head(features, train=train), taps
