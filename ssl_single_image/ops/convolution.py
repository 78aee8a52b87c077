"""Convolution: the one place that chooses how it is computed.

XLA's CPU backend is slow at convolutions and more so at their gradients. There they are written as matrix
products. On GPU and TPU a convolution stays `lax.conv_general_dilated`. All give the same numbers to rounding.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.ops import backend, patches, winograd

FEW_CHANNELS = 16
"""Fewer input channels than this make the products of `winograd` too thin."""
WORTH = 2
"""How many times fewer products `winograd` must take, for the transforms around them have a price."""


def conv2d(
    x: Float[Array, "B H W C"],
    kernel: Float[Array, "k k C D"],
    stride: int,
    padding: int,
    *,
    products: bool | None = None,
) -> Float[Array, "B Y X D"]:
    """Two-dimensional convolution (cross-correlation, as networks use the word).

    Args:
      x: (B, H, W, C) float.
      kernel: (k, k, C, D), same dtype.
      stride: step in pixels, both directions.
      padding: rows and columns of zeros on each side.
      products: True computes by matrix products, of patches or of transformed tiles. False computes by XLA's
        convolution. None takes the faster for the default backend, decided when traced.

    Returns:
      (B, (H + 2 padding - k) // stride + 1, likewise W, D).
    """
    if products is None:
        products = backend.fastest("convolution") == "products"
    if not products:
        dims = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=dims
        )
    size, _, channels, features = kernel.shape
    fast = _suits_winograd(x, kernel, stride, padding)
    if size > 1 and channels >= FEW_CHANNELS and not fast:
        return patches.convolve(x, kernel, stride, padding)
    if stride > 1 and size > 1:
        x, kernel = _space_to_depth(x, kernel, stride, padding)
        size, stride, padding = len(kernel), 1, 0
    if fast:
        return winograd.convolve(x, kernel, padding)
    columns = jnp.concatenate(windows(x, size, stride, padding, 0.0), -1)
    # Two-dimensional operands: XLA:CPU's gradients of the product are slower with the batch axes kept apart.
    rows = columns.reshape(-1, columns.shape[-1]) @ kernel.reshape(-1, features)
    return rows.reshape(*columns.shape[:3], features)


def _suits_winograd(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> bool:
    """Where it is faster than patches (benchmarks/train_step.py) and rounds no worse than float32 should.

    With a stride it takes the blocks of `_space_to_depth`. Where the kernel lacks cells of a block, these are zeros
    that patches do not multiply. An output of 2 x 2 pixels fills a quarter of its tile: by patches it takes no more
    products.
    """
    size, _, channels, _ = kernel.shape
    blocks = -(-size // stride)
    if x.dtype != jnp.float32 or not 1 < blocks <= winograd.MAX_KERNEL or channels * stride**2 < FEW_CHANNELS:
        return False
    rows, columns = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    needed = winograd.products(rows, columns, blocks) * stride**2
    return needed * WORTH <= rows * columns * size**2


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


def upsampling_conv2d(
    x: Float[Array, "B H W C"], kernel: Float[Array, "k k C D"]
) -> Float[Array, "B 2*H 2*W D"]:
    """Transposed convolution of stride 2 that doubles the sides: the input gradient of a `conv2d` that halves them.

    It is computed as one convolution at the low resolution. An input pixel becomes 2 x 2 pixels, and each of these
    has a channel of its own. No product with an inserted zero is made.

    Args:
      x: (B, H, W, C) float.
      kernel: (k, k, C, D); output pixel 2 i - (k - 1) // 2 + t takes x[i] through kernel[t].

    Returns:
      (B, 2 H, 2 W, D).
    """
    size, _, channels, features = kernel.shape
    border = (size - 1) // 2  # the padding of the convolution whose gradient this is
    reach = (border + 1) // 2  # input pixels to either side that an output pixel sees
    places = 2 * reach + 1
    # Output phase p sees x[i + d], d = -reach .. reach, through kernel[p + border - 2 d]; beyond the kernel is zero.
    before = 2 * reach - border
    padded = jnp.pad(kernel, ((before, 2 * places - size - before),) * 2 + ((0, 0), (0, 0)))
    phases = padded.reshape(places, 2, places, 2, channels, features)[::-1, :, ::-1]
    low = phases.transpose(0, 2, 4, 1, 3, 5).reshape(places, places, channels, 4 * features)
    y = conv2d(x, low, 1, reach)
    batch, height, width, _ = y.shape
    y = y.reshape(batch, height, width, 2, 2, features).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(batch, 2 * height, 2 * width, features)


def windows(x: jax.Array, size: int, stride: int, padding: int, fill: float) -> list[jax.Array]:
    """The size^2 strided slices of x, one for each place in a window, row by row."""
    if padding:
        x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=fill)
    batch, height, width, channels = x.shape
    last_row, last_col = (height - size) // stride * stride, (width - size) // stride * stride

    def at(row: int, col: int) -> jax.Array:
        limit = (batch, row + last_row + 1, col + last_col + 1, channels)
        return lax.slice(x, (0, row, col, 0), limit, (1, stride, stride, 1))

    return [at(row, col) for row in range(size) for col in range(size)]
