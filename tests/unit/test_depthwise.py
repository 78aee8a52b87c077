"""Depthwise convolution: its formulation for CPUs against XLA's, forward and in both gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import numpy_efficientnet

from ssl_single_image import ops

SHAPES = [
    (7, 3, 1, 1),
    (9, 3, 2, 1),
    (8, 5, 2, 2),
    (4, 5, 1, 2),
    (2, 5, 1, 2),
    (1, 5, 2, 2),
    (6, 3, 3, 0),
    (1, 3, 1, 1),
]
"""Side, side of the kernel, stride and padding; of the small maps no window lies whole in the image."""


def arrays(side, size, batch=6, dtype="float64"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, side, side + 1, 5))
    return jnp.asarray(x, dtype), jnp.asarray(rng.normal(size=(size, size, 1, 5)), dtype)


@pytest.mark.parametrize(("side", "size", "stride", "padding"), SHAPES)
@pytest.mark.usefixtures("float64")
def test_shifted_arrays_give_the_values_and_gradients_of_the_native_convolution(side, size, stride, padding):
    x, kernel = arrays(side, size)

    def values(x, kernel, shifted):
        def convolve(x, kernel):
            return ops.depthwise_conv2d(x, kernel, stride, padding, shifted=shifted)

        y, pull = jax.vjp(convolve, x, kernel)
        return y, *pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    compiled = jax.jit(values, static_argnums=2)
    for found, wanted in zip(compiled(x, kernel, True), compiled(x, kernel, False), strict=True):
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.usefixtures("float64")
def test_each_channel_is_convolved_with_its_own_kernel(shifted):
    x, kernel = arrays(7, 5)
    found = jax.jit(lambda x, kernel: ops.depthwise_conv2d(x, kernel, 2, 2, shifted=shifted))(x, kernel)
    wanted = numpy_efficientnet.depthwise(
        np.asarray(x).transpose(0, 3, 1, 2), np.asarray(kernel).transpose(3, 2, 0, 1), 2
    )
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), atol=1e-12)


@pytest.mark.usefixtures("float64")
def test_gradients_have_gradients():
    """A penalty on the gradient with respect to images needs them."""
    x, kernel = arrays(5, 3, batch=4)

    def penalty(kernel, shifted):
        slope = jax.grad(lambda x: (ops.depthwise_conv2d(x, kernel, 1, 1, shifted=shifted) ** 3).sum())(x)
        return (slope**2).sum()

    found, wanted = (
        jax.jit(jax.grad(penalty), static_argnums=1)(kernel, shifted) for shifted in (True, False)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_bfloat16_is_rounded_at_the_end_alone():
    x, kernel = arrays(8, 5, batch=8, dtype="bfloat16")

    @jax.jit
    def values(x, kernel):
        y, pull = jax.vjp(lambda x, kernel: ops.depthwise_conv2d(x, kernel, 1, 2, shifted=True), x, kernel)
        return y, *pull(jnp.ones_like(y))

    wide = values(x.astype(jnp.float32), kernel.astype(jnp.float32))
    for found, wanted in zip(values(x, kernel), wide, strict=True):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.astype(jnp.float32), wanted, rtol=2**-8, atol=1e-6)
