"""Products of the linear probe's heads, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
from precision import float64

from ssl_single_image import ops


def test_score_product_and_its_gradients():
    rng = np.random.default_rng(0)
    x, weight, gradient = rng.normal(size=(7, 300)), rng.normal(size=(4, 300)), rng.normal(size=(7, 4))

    @jax.jit
    def pull(x, weight, gradient):
        scores, back = jax.vjp(ops.score_product, x, weight)
        return scores, *back(gradient)

    with float64():
        scores, by_x, by_weight = pull(x, weight, gradient)
    np.testing.assert_allclose(scores, x @ weight.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_x, gradient @ weight, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(by_weight, gradient.T @ x, rtol=1e-12, atol=1e-12)
    assert pull(jnp.float32(x), jnp.float32(weight), jnp.float32(gradient))[2].dtype == jnp.float32
