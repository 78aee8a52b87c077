"""Convolution by patches, and parts of a batch, against XLA's convolution of the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssl_single_image.ops import convolution, parts, patches, winograd


def plain(x, kernel, stride, padding):
    dims = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=dims
    )


def with_gradients(conv, x, kernel, gradient):
    y, pull_back = jax.vjp(conv, x, kernel)
    return y, *pull_back(gradient)


def compared(conv, wanted, x, kernel):
    rng = np.random.default_rng(1)
    gradient = jnp.asarray(rng.normal(size=wanted(x, kernel).shape), x.dtype)
    got = jax.jit(lambda *given: with_gradients(conv, *given))(x, kernel, gradient)
    return zip(got, with_gradients(wanted, x, kernel, gradient), strict=True)


def operands(batch, height, width, taps, dtype=np.float64):
    rng = np.random.default_rng(taps)
    shapes = (batch, height, width, 6), (taps, taps, 6, 4)
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("images", [1, 2, 4, 8])
@pytest.mark.parametrize(
    ("taps", "stride", "padding"), [(3, 2, 1), (3, 1, 1), (2, 2, 0), (5, 2, 2), (2, 3, 0)]
)
def test_patches_of_parts_give_the_convolution_of_the_batch(taps, stride, padding, images, monkeypatch):
    x, kernel = operands(5, 8, 9, taps)
    monkeypatch.setattr(parts, "images", lambda batch, *_: min(batch, images))
    conv = lambda x, kernel: patches.convolve(x, kernel, stride, padding)  # noqa: E731
    for got, want in compared(conv, lambda x, kernel: plain(x, kernel, stride, padding), x, kernel):
        assert got.shape == want.shape
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("images", [1, 2, 4, 8])
def test_minimal_filtering_of_parts_gives_the_convolution_of_the_batch(images, monkeypatch):
    x, kernel = operands(5, 8, 9, 3)
    monkeypatch.setattr(parts, "images", lambda batch, *_: min(batch, images))
    conv = lambda x, kernel: winograd.convolve(x, kernel, 1)  # noqa: E731
    for got, want in compared(conv, lambda x, kernel: plain(x, kernel, 1, 1), x, kernel):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)


def test_gradients_of_the_kernel_add_up_in_float32(monkeypatch):
    x, kernel = operands(64, 6, 6, 3, jnp.bfloat16)
    monkeypatch.setattr(parts, "images", lambda *_: 1)
    ones = jnp.ones((64, 3, 3, 4), jnp.bfloat16)
    conv = lambda x, kernel: patches.convolve(x, kernel, 2, 1)  # noqa: E731
    _, change, found = jax.jit(lambda *given: with_gradients(conv, *given))(x, kernel, ones)
    want = with_gradients(lambda x, kernel: plain(x, kernel, 2, 1), *map(jnp.float32, (x, kernel, ones)))[2]
    assert found.dtype == change.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(found), want, rtol=2**-8, atol=2**-8)


@pytest.mark.parametrize(
    ("batch", "each", "least", "images"),
    [
        (128, 100, 1, 8),
        (128, 101, 1, 4),
        (128, 2000, 1, 1),
        (128, 2000, 3, 4),
        (5, 100, 1, 5),
        (5, 2000, 8, 5),
    ],
)
def test_parts_have_a_power_of_two_of_images_within_the_bytes(batch, each, least, images):
    assert parts.images(batch, each, 800, least) == images


def test_join_is_the_inverse_of_split():
    x = jnp.arange(10.0).reshape(5, 2)
    halves = parts.split(x, 3)
    assert halves.shape == (2, 3, 2)
    np.testing.assert_array_equal(halves[1, 2], 0)
    np.testing.assert_array_equal(parts.join(halves, 5), x)


@pytest.mark.parametrize(
    ("side", "channels", "size", "stride", "chosen"),
    [
        (32, 64, 3, 1, True),
        (32, 64, 3, 2, False),  # the blocks would be products with many zeros
        (32, 64, 5, 2, True),
        (32, 64, 4, 2, True),
        (4, 256, 5, 2, False),  # 2 x 2 outputs
        (224, 3, 11, 4, True),  # the blocks have 48 channels
        (224, 3, 7, 2, False),  # and here 12
        (32, 64, 1, 1, False),
    ],
)
def test_the_choice_of_a_formulation(side, channels, size, stride, chosen):
    x = jnp.zeros((1, side, side, channels))
    kernel = jnp.zeros((size, size, channels, 1))
    assert convolution._suits_winograd(x, kernel, stride, (size - 1) // 2) == chosen
