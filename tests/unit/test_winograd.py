"""Minimal filtering against the sums that it replaces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ssl_single_image.ops import tiles, winograd


@pytest.mark.parametrize(("outputs", "taps"), [(2, 3), (4, 2), (4, 3), (4, 5)])
def test_the_transforms_give_a_correlation(outputs, taps):
    a, g, b = winograd.transforms(outputs, taps)
    rng = np.random.default_rng(0)
    kernel, signal = rng.normal(size=taps), rng.normal(size=outputs + taps - 1)
    np.testing.assert_allclose(a @ ((g @ kernel) * (b @ signal)), np.correlate(signal, kernel), rtol=1e-12)


def plain(x, kernel, padding):
    dims = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=dims)


def error(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("taps", [2, 3, 4, 5])
@pytest.mark.parametrize("shape", [(2, 8, 8), (1, 5, 11), (3, 6, 5)])
def test_convolution_and_gradients_for_all_paddings(taps, shape):
    rng = np.random.default_rng(taps)
    x = jnp.asarray(rng.normal(size=(*shape, 8)))
    kernel = jnp.asarray(rng.normal(size=(taps, taps, 8, 4)))
    for padding in range(taps):
        want, pull_back = jax.vjp(lambda x, k, p=padding: plain(x, k, p), x, kernel)
        gradient = jnp.asarray(rng.normal(size=want.shape))

        @jax.jit
        def fast(x, kernel, gradient, padding=padding):
            y, pull_back = jax.vjp(lambda x, k: winograd.convolve(x, k, padding), x, kernel)
            return y, *pull_back(gradient)

        for got, wanted in zip(fast(x, kernel, gradient), (want, *pull_back(gradient)), strict=True):
            assert got.shape == wanted.shape
            assert error(got, wanted) < 1e-12


def test_products_count_whole_tiles():
    assert winograd.products(4, 4, 3) == 36  # one tile of 6 x 6 cells, where a plain sum takes 144
    assert winograd.products(5, 2, 3) == 2 * 36
    assert winograd.products(2, 2, 3) == 36  # and here no fewer than a plain sum


@pytest.mark.parametrize(("taps", "limit"), [(3, 4e-6), (5, 6e-6)])
def test_rounding_at_the_width_of_a_network(taps, limit):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 13, 13, 192))
    kernel = rng.normal(size=(taps, taps, 192, 64))
    x_low, kernel_low = jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)
    exact = sum(
        np.asarray(x_low, np.float64)[:, r : r + 13 - taps + 1, c : c + 13 - taps + 1]
        @ np.asarray(kernel_low, np.float64)[r, c]
        for r in range(taps)
        for c in range(taps)
    )
    assert error(np.asarray(winograd.convolve(x_low, kernel_low, 0), np.float64), exact) < limit


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("width", "step"), [(3, 2), (2, 2), (6, 4), (1, 3), (8, 4)])
def test_overlap_add_is_the_transpose_of_split(width, step):
    rng = np.random.default_rng(2)
    count, before, side = 4, 1, 15
    x = jnp.asarray(rng.normal(size=(2, side, 3, 5)))

    def cells(x):
        return tiles.split(tiles.padded(x, 1, before, width, step, count), 1, width, step)

    assert all(cell.shape == (2, count, 3, 5) for cell in cells(x))
    weights = [jnp.asarray(rng.normal(size=(2, count, 3, 5))) for _ in range(width)]
    (want,) = jax.linear_transpose(cells, x)(weights)
    got = tiles.overlap_add(weights, 1, step, start=before, size=side)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def test_split_takes_the_cells_that_its_name_says():
    x = jnp.arange(12.0).reshape(1, 12, 1, 1)
    first, second, third = (np.asarray(cell).ravel() for cell in tiles.split(x, 1, 3, 2))
    np.testing.assert_array_equal(first, [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(second, [1, 3, 5, 7, 9])
    np.testing.assert_array_equal(third, [2, 4, 6, 8, 10])
