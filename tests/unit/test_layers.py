"""Both formulations of convolution and pooling against plain NumPy loops, and against each other's gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image.models import layers


def reference(x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    rows = range(0, x.shape[1] - size + 1, stride)
    cols = range(0, x.shape[2] - size + 1, stride)
    out = [[np.tensordot(x[:, r : r + size, c : c + size], kernel, 3) for c in cols] for r in rows]
    return np.stack([np.stack(row, 1) for row in out], 1)


SHAPES = [(7, 3, 1, 1), (9, 3, 2, 0), (11, 5, 1, 2), (17, 11, 4, 2), (6, 1, 1, 0), (8, 1, 2, 0)]


@pytest.mark.parametrize(("side", "size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("patches", [True, False])
def test_conv2d_is_the_textbook_sum(side, size, stride, padding, patches):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side + 1, 3)).astype(np.float32)
    kernel = rng.normal(size=(size, size, 3, 4)).astype(np.float32)
    conv = jax.jit(lambda x, kernel: layers.conv2d(x, kernel, stride, padding, patches=patches))
    got = conv(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(got, reference(x, kernel, stride, padding), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "size", "stride", "padding"), SHAPES)
def test_conv2d_formulations_have_the_same_gradients(side, size, stride, padding):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, side, side, 3)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(size, size, 3, 4)), jnp.float32)

    def loss(x, kernel, patches):
        return (layers.conv2d(x, kernel, stride, padding, patches=patches) ** 2).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    fast = gradients(x, kernel, True)
    plain = gradients(x, kernel, False)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("side", "window", "stride", "padding"), [(8, 2, 2, 0), (13, 3, 2, 0), (7, 3, 1, 1)])
@pytest.mark.parametrize("slices", [True, False])
def test_max_pool_and_its_gradient(side, window, stride, padding, slices):
    rng = np.random.default_rng(2)
    x = rng.permutation(2 * side * side * 3).reshape(2, side, side, 3).astype(np.float32) - 100  # no ties
    padded = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)), constant_values=-np.inf)
    starts = range(0, side + 2 * padding - window + 1, stride)
    want = np.stack(
        [
            np.stack([padded[:, r : r + window, c : c + window].max((1, 2)) for c in starts], 1)
            for r in starts
        ],
        1,
    )

    def pool(x):
        return layers.max_pool(x, window, stride, padding, slices=slices)

    np.testing.assert_array_equal(jax.jit(pool)(jnp.asarray(x)), want)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: pool(x).sum()))(jnp.asarray(x)))
    wins = np.array([(want == value).sum() for value in x.ravel()]).reshape(x.shape)
    np.testing.assert_array_equal(gradient, wins)


def test_average_pool_counts_the_padding():
    x = np.random.default_rng(4).random((2, 7, 7, 3), np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    want = [[padded[:, r : r + 3, c : c + 3].mean((1, 2)) for c in range(0, 7, 2)] for r in range(0, 7, 2)]
    got = layers.average_pool(jnp.asarray(x), 3, 2, 1)
    np.testing.assert_allclose(got, np.stack([np.stack(row, 1) for row in want], 1), rtol=1e-5)


def test_max_pool_gives_the_gradient_of_a_tie_to_the_first_cell():
    x = jnp.asarray(np.random.default_rng(3).integers(0, 3, (2, 8, 8, 3)), jnp.float32)

    def gradient(slices):
        return jax.jit(jax.grad(lambda x: (layers.max_pool(x, 2, 2, slices=slices) ** 2).sum()))(x)

    np.testing.assert_array_equal(gradient(True), gradient(False))


def test_sobel_of_a_ramp():
    ramp = jnp.broadcast_to(jnp.arange(6.0)[None, None, :, None], (1, 6, 6, 3))
    edges = np.asarray(layers.sobel(ramp))[0, 1:-1, 1:-1]
    np.testing.assert_allclose(edges[..., 0], -8.0)
    np.testing.assert_allclose(edges[..., 1], 0.0)
