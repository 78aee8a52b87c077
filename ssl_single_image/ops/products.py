"""Matrix products of shapes that a backend is slow at."""

from __future__ import annotations

import jax
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def score_product(x: Float[Array, "B F"], weight: Float[Array, "C F"]) -> Float[Array, "B C"]:
    """x @ weight.T for few classes C and thousands of features F: the scores of a linear classifier.

    The gradient of the weight is gradient^T x, with the small operand transposed beforehand. XLA:CPU takes seven times
    as long for the product that it makes of the plain expression, and as long again to transpose a weight (F, C).
    """
    return x @ weight.T


def _forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ weight.T, (x, weight)


def _backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = saved
    # The barrier keeps XLA from folding the transposition back into the product.
    return gradient @ weight, lax.optimization_barrier(gradient.T) @ x


score_product.defvjp(_forward, _backward)
