"""Linear SVMs with one positive each, all solved at once on the device.

Malisiewicz, Gupta and Efros 2011, "Ensemble of exemplar-SVMs for object detection and beyond", section 2: the hinge
loss, a positive that counts 50 times, C = .01, and rounds of training in which hard negatives are mined.

One SVM has far more negatives than support vectors. It is therefore solved on a working set, by the pairwise steps of
libsvm (Fan, Chen and Lin 2005, "Working set selection using second order information"). The hardest negatives outside
the set are mined next, until none lies within the margin. The solution is then that of all negatives.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

WORKING = 512
"""Negatives that a round is solved on, beside twice the weight of the positive: about so many negatives are within the
margin at most. Support vectors stay, the others are the hardest of all."""
ROUNDS = 10
"""Most rounds of mining; two or three are enough for patches."""
STEPS = 20_000
"""Most steps of one round; with the published cost, patches need some hundreds."""
TOLERANCE = 1e-3
"""How far scores may violate the conditions of the optimum, as libsvm's default."""
BLOCK = 32
"""SVMs that are solved side by side; it bounds memory."""
_LEAST = 1e-12
"""Least squared distance of two points that a step is divided by."""


class Fit(NamedTuple):
    """SVMs whose scores are `x @ weight + bias`.

    Attributes:
      weight: (K, D).
      bias: (K,).
      rounds: (K,) int32, rounds of mining.
      violation: (K,), by how much the conditions of the optimum are violated: by how far a negative that is left out
        lies within the margin, or by how much points disagree on the bias. Where it is solved, at most TOLERANCE.
    """

    weight: Float[Array, "K D"]
    bias: Float[Array, " K"]
    rounds: Int[Array, " K"]
    violation: Float[Array, " K"]


class _Round(NamedTuple):
    rows: jax.Array
    alpha: jax.Array
    weight: jax.Array
    bias: jax.Array
    number: jax.Array
    violation: jax.Array


def fit(
    x: Float[Array, "n D"],
    positive: Int[Array, " K"],
    negative: Bool[Array, "K n"],
    *,
    cost: float,
    positive_weight: float,
) -> Fit:
    """K SVMs, each of one positive against its negatives; pure.

    SVM k minimises |w|^2 / 2 + cost (positive_weight h(s_p) + sum over negatives of h(-s_i)), where s = x w + b,
    p = positive[k] and h(s) = max(0, 1 - s). The bias b is not penalised.

    Args:
      x: all points.
      positive: row of each SVM's positive.
      negative: which rows are its negatives, at least one.
      cost: C.
      positive_weight: how many times the positive counts.
    """
    size = min(WORKING + 2 * math.ceil(positive_weight), len(x))
    one = functools.partial(_fit_one, jnp.asarray(x), size, cost, cost * positive_weight)
    return Fit(
        *lax.map(lambda each: one(*each), (jnp.asarray(positive), jnp.asarray(negative)), batch_size=BLOCK)
    )


def _fit_one(
    x: jax.Array,
    size: int,
    cost: float,
    positive_cost: float,
    positive: jax.Array,
    negative: jax.Array,
) -> Fit:
    exemplar = x[positive]
    sign = jnp.full(size + 1, -1, x.dtype).at[0].set(1)

    def mine(now: _Round) -> _Round:
        kept = jnp.zeros(len(x), x.dtype).at[now.rows].set(now.alpha[1:])
        score = x @ now.weight + now.bias
        rank = jnp.where(kept > 0, jnp.inf, jnp.where(negative, score, -jnp.inf))
        rows = lax.top_k(rank, size)[1]
        points = jnp.concatenate([exemplar[None], x[rows]])
        bound = jnp.where(negative[rows], jnp.asarray(cost, x.dtype), 0)
        upper = jnp.concatenate([jnp.full(1, positive_cost, x.dtype), bound])
        start = jnp.concatenate([now.alpha[:1], kept[rows]])
        start = jnp.where(
            (kept > 0).sum() > size, 0, start
        )  # weights that were cut off would be missing in the sum
        alpha, bias, gap = solve(points @ points.T, sign, upper, start)
        weight = (alpha * sign) @ points
        outside = negative.at[rows].set(False)
        worst = jnp.where(outside, x @ weight + bias + 1, 0).max()
        return _Round(rows, alpha, weight, bias, now.number + 1, jnp.maximum(worst, gap))

    start = _Round(
        rows=jnp.arange(size, dtype=jnp.int32),
        alpha=jnp.zeros(size + 1, x.dtype),
        weight=exemplar,
        bias=jnp.zeros((), x.dtype),
        number=jnp.int32(0),
        violation=jnp.full((), jnp.inf, x.dtype),
    )
    last = lax.while_loop(lambda now: (now.violation > TOLERANCE) & (now.number < ROUNDS), mine, start)
    return Fit(last.weight, last.bias, last.number, last.violation)


def solve(
    gram: Float[Array, "n n"],
    sign: Float[Array, " n"],
    upper: Float[Array, " n"],
    alpha: Float[Array, " n"],
) -> tuple[Float[Array, " n"], Float[Array, ""], Float[Array, ""]]:
    """The dual variables of an SVM, its bias, and by how much points disagree on it: at most TOLERANCE, or after STEPS.

    Minimises sum_ij a_i a_j y_i y_j K_ij / 2 - sum_i a_i subject to 0 <= a_i <= upper_i and sum_i a_i y_i = 0. Each
    step changes the pair that promises most, by second-order information.

    Args:
      gram: K, the inner products of the points.
      sign: y, 1 or -1 of each point.
      upper: the bounds; a point whose bound is 0 is left out.
      alpha: where to start: within the bounds, with the sum 0.
    """
    diagonal = jnp.diagonal(gram)

    def movable(alpha: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Whose y a can grow, and whose can shrink."""
        less, more = alpha > 0, alpha < upper
        return jnp.where(sign > 0, more, less), jnp.where(sign > 0, less, more)

    def ends(alpha: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Largest bias that a point which can grow asks for, and smallest of one that can shrink."""
        grows, shrinks = movable(alpha)
        return jnp.where(grows, wanted, -jnp.inf).max(), jnp.where(shrinks, wanted, jnp.inf).min()

    def unsolved(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        alpha, wanted, step = carry
        high, low = ends(alpha, wanted)
        return (high - low > TOLERANCE) & (step < STEPS)

    def change(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        alpha, wanted, step = carry
        grows, shrinks = movable(alpha)
        i = jnp.where(grows, wanted, -jnp.inf).argmax()
        distance = jnp.maximum(diagonal[i] + diagonal - 2 * gram[i], _LEAST)
        gap = wanted[i] - wanted
        j = jnp.where(shrinks & (gap > 0), gap * gap / distance, -jnp.inf).argmax()
        room_i = jnp.where(sign[i] > 0, upper[i] - alpha[i], alpha[i])
        room_j = jnp.where(sign[j] > 0, alpha[j], upper[j] - alpha[j])
        move = jnp.minimum(gap[j] / distance[j], jnp.minimum(room_i, room_j))
        # A variable that uses up its room is put on the bound itself: what rounding left would be moved for ever.
        end_i, end_j = jnp.where(sign[i] > 0, upper[i], 0), jnp.where(sign[j] > 0, 0, upper[j])
        alpha_i = jnp.where(move >= room_i, end_i, alpha[i] + sign[i] * move)
        alpha_j = jnp.where(move >= room_j, end_j, alpha[j] - sign[j] * move)
        alpha = alpha.at[i].set(alpha_i).at[j].set(alpha_j)
        return alpha, wanted - move * (gram[i] - gram[j]), step + 1

    carry = (alpha, sign - gram @ (alpha * sign), jnp.int32(0))
    alpha, wanted, _ = lax.while_loop(unsolved, change, carry)
    high, low = ends(alpha, wanted)
    return alpha, (high + low) / 2, high - low
