"""Generator and joint discriminator of BiGAN (Donahue, Krähenbühl and Darrell, ICLR 2017, appendix C)."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from ssl_single_image.models.heads import dense_top
from ssl_single_image.models.layers import Conv, at_least_float32, batch_norm
from ssl_single_image.models.spectral import spectral_norm
from ssl_single_image.ops.convolution import upsampling_conv2d

SMALLEST = 4
"""Side of the map that the generator starts from and the discriminator ends with."""
SLOPE = 0.2

normal_init = nn.initializers.normal(0.02)


def doublings(size: int) -> int:
    """How often SMALLEST is doubled to give `size`; 0 where it never does."""
    count = (size // SMALLEST).bit_length() - 1
    return count if SMALLEST << count == size else 0


class CodeHead(nn.Module):
    """The top of an encoder: flattened features -> codes (B, latent) float32. It is linear; tanh squashes it.

    Attributes:
      normalise: batch norm, without gain and bias, before tanh. The linear layer has thousands of inputs, none of them
        negative. Adam can therefore drive it to the ends of tanh within tens of steps. No gradient comes back there.
      squash: whether there is a tanh, which brings codes into (-1, 1).
    """

    latent: int
    normalise: bool = False
    squash: bool = True
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = dense_top(self.latent)(at_least_float32(x.reshape(len(x), -1)))
        if self.normalise:
            x = batch_norm(train, self.axis_name, x.dtype, "bn", affine=False)(x)
        return jnp.tanh(x) if self.squash else x


class UpsamplingConv(nn.Module):
    """`upsampling_conv2d` with its kernel (k, k, C, D)."""

    features: int
    kernel: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", _flat_normal, shape)
        return upsampling_conv2d(x.astype(self.dtype), kernel.astype(self.dtype))


class Generator(nn.Module):
    """z (B, latent) in (-1, 1) -> images (B, size, size, 3) float32 in [0, 1].

    A fully connected layer makes 4 x 4 pixels. Then 5 x 5 transposed convolutions double the side and halve the
    channels, down to `width`. Batch norm and ReLU lie in between. z enters every hidden layer as a bias for its
    channels.

    Attributes:
      kernel: side of the kernels, 5 as published. Where 2 divides it, as with 4, each output pixel sums equally many
        input pixels, which avoids a checkerboard in the images.
    """

    size: int
    width: int = 64
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    kernel: int = 5

    @nn.compact
    def __call__(self, z: jax.Array, *, train: bool) -> jax.Array:
        steps = doublings(self.size)
        channels = self.width << (steps - 1)
        dense = functools.partial(nn.Dense, kernel_init=normal_init, use_bias=False, dtype=self.dtype)
        x = dense(SMALLEST * SMALLEST * channels, name="fc")(z).reshape(-1, SMALLEST, SMALLEST, channels)
        for number in range(steps):
            if number:
                x = UpsamplingConv(channels, self.kernel, self.dtype, name=f"up{number}")(x)
                x += dense(channels, name=f"z{number}")(z)[:, None, None]
            x = nn.relu(batch_norm(train, self.axis_name, self.dtype, f"bn{number}")(x))
            channels //= 2
        x = UpsamplingConv(3, self.kernel, self.dtype, name=f"up{steps}")(x)
        bias = self.param("bias", nn.initializers.zeros, (3,), jnp.float32)
        return nn.sigmoid(at_least_float32(x) + bias[None, None, None])


class Discriminator(nn.Module):
    """Images (B, size, size, 3) in [-1, 1] and z (B, latent) -> logits (B,) float32, above 0 for "real".

    5 x 5 convolutions of stride 2 lead down to 4 x 4, with leaky ReLU. Channels double from `width`. All layers but the
    first have batch norm. z enters from the second layer on, as a bias for its channels, before batch norm.

    Attributes:
      spectral: divides every kernel by its largest singular value (Miyato et al. 2018), estimated by one power
        iteration a step.
      kernel: side of the kernels, 5 as published.
    """

    size: int
    width: int = 64
    spectral: bool = False
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    kernel: int = 5

    @nn.compact
    def __call__(self, x: jax.Array, z: jax.Array, *, train: bool) -> jax.Array:
        def apply(layer: nn.Module, x: jax.Array) -> jax.Array:
            return spectral_norm(layer, x, train) if self.spectral else layer(x)

        dense = functools.partial(nn.Dense, kernel_init=normal_init)
        for number in range(doublings(self.size)):
            features = self.width << number
            conv = Conv(
                features,
                self.kernel,
                2,
                (self.kernel - 1) // 2,
                use_bias=number == 0,
                dtype=self.dtype,
                kernel_init=_flat_normal,
                name=f"conv{number + 1}",
            )
            x = apply(conv, x)
            if number:
                bias = apply(dense(features, use_bias=False, dtype=self.dtype, name=f"z{number + 1}"), z)
                x = batch_norm(train, self.axis_name, self.dtype, f"bn{number + 1}")(x + bias[:, None, None])
            x = nn.leaky_relu(x, SLOPE)
        top = dense(1, name="top")
        return apply(top, at_least_float32(x.reshape(len(x), -1)))[:, 0]


def _flat_normal(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """N(0, .02), drawn flat: see `layers.conv_init`."""
    return normal_init(key, (shape[0] * shape[1] * shape[2], shape[3]), dtype).reshape(shape)
