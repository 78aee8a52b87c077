"""Both formulations of convolution and pooling against plain NumPy loops, and against each other's gradients.

In float64, where they agree to 1e-12, and in float32, where minimal filtering is chosen and rounds by up to 1e-5.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image.models import layers
from ssl_single_image.ops import convolution, pooling


def reference(x, kernel, stride, padding):
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    size = kernel.shape[0]
    rows = range(0, x.shape[1] - size + 1, stride)
    cols = range(0, x.shape[2] - size + 1, stride)
    out = [[np.tensordot(x[:, r : r + size, c : c + size], kernel, 3) for c in cols] for r in rows]
    return np.stack([np.stack(row, 1) for row in out], 1)


ROUNDING = {"float64": 1e-12, "float32": 2e-5}
SHAPES = [(7, 3, 1, 1), (9, 3, 2, 0), (11, 5, 1, 2), (17, 11, 4, 2), (6, 1, 1, 0), (8, 1, 2, 0)]


@pytest.mark.parametrize(("side", "size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.usefixtures("float64")
def test_conv2d_is_the_textbook_sum(side, size, stride, padding, channels, products, dtype):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, side, side + 1, channels)).astype(dtype)
    kernel = rng.normal(size=(size, size, channels, 4)).astype(dtype)
    conv = jax.jit(lambda x, kernel: convolution.conv2d(x, kernel, stride, padding, products=products))
    got = conv(jnp.asarray(x), jnp.asarray(kernel))
    want = reference(np.float64(x), np.float64(kernel), stride, padding)
    assert got.shape == want.shape
    assert got.dtype == dtype
    assert np.abs(got - want).max() < ROUNDING[dtype] * np.abs(want).max()


@pytest.mark.parametrize(("side", "size", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("channels", [3, 16])
@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.usefixtures("float64")
def test_conv2d_formulations_have_the_same_gradients(side, size, stride, padding, channels, dtype):
    rng = np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(2, side, side, channels)), dtype)
    kernel = jnp.asarray(rng.normal(size=(size, size, channels, 4)), dtype)

    def loss(x, kernel, products):
        return (convolution.conv2d(x, kernel, stride, padding, products=products) ** 2).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)
    fast = gradients(x, kernel, True)
    plain = gradients(x, kernel, False)
    for a, b in zip(fast, plain, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=4 * ROUNDING[dtype] * np.abs(b).max())


@pytest.mark.parametrize(("side", "window", "stride", "padding"), [(8, 2, 2, 0), (13, 3, 2, 0), (7, 3, 1, 1)])
@pytest.mark.parametrize("separable", [True, False])
def test_max_pool_and_its_gradient(side, window, stride, padding, separable):
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
        return pooling.max_pool(x, window, stride, padding, separable=separable)

    np.testing.assert_array_equal(jax.jit(pool)(jnp.asarray(x)), want)
    gradient = np.asarray(jax.jit(jax.grad(lambda x: pool(x).sum()))(jnp.asarray(x)))
    wins = np.array([(want == value).sum() for value in x.ravel()]).reshape(x.shape)
    np.testing.assert_array_equal(gradient, wins)


def test_average_pool_counts_the_padding():
    x = np.random.default_rng(4).random((2, 7, 7, 3), np.float32)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    want = [[padded[:, r : r + 3, c : c + 3].mean((1, 2)) for c in range(0, 7, 2)] for r in range(0, 7, 2)]
    got = pooling.average_pool(jnp.asarray(x), 3, 2, 1)
    np.testing.assert_allclose(got, np.stack([np.stack(row, 1) for row in want], 1), rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "side"), [(13, 13, 4), (7, 10, 3), (5, 5, 5), (9, 9, 1)])
def test_adaptive_pooling_takes_the_mean_of_each_bin(height, width, side):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3))
    expected = np.empty((2, side, side, 3))
    for i, j in np.ndindex(side, side):
        rows = slice(int(np.floor(i * height / side)), int(np.ceil((i + 1) * height / side)))
        columns = slice(int(np.floor(j * width / side)), int(np.ceil((j + 1) * width / side)))
        expected[:, i, j] = x[:, rows, columns].mean((1, 2))
    got = pooling.adaptive_pool(jnp.asarray(x, jnp.float32), side)
    np.testing.assert_allclose(got, expected, atol=1e-6)  # float32


@pytest.mark.parametrize(("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1)])
def test_max_pool_gives_the_gradient_of_a_tie_to_the_first_cell(window, stride, padding):
    x = jnp.asarray(np.random.default_rng(3).integers(0, 3, (2, 9, 9, 3)), jnp.float32)

    def gradient(separable):
        pool = lambda x: pooling.max_pool(x, window, stride, padding, separable=separable)  # noqa: E731
        return jax.jit(jax.grad(lambda x: (pool(x) ** 2).sum()))(x)

    np.testing.assert_array_equal(gradient(True), gradient(False))


def test_sobel_of_a_ramp():
    ramp = jnp.broadcast_to(jnp.arange(6.0)[None, None, :, None], (1, 6, 6, 3))
    edges = np.asarray(layers.sobel(ramp))[0, 1:-1, 1:-1]
    np.testing.assert_allclose(edges[..., 0], -8.0, atol=1e-5)
    np.testing.assert_allclose(edges[..., 1], 0.0, atol=1e-5)
