"""What BiGAN's networks minimise, against NumPy."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image.objectives.bigan import losses

REAL, MADE = np.array([2.0, -1.0, 0.5]), np.array([0.3, -3.0, 1.0])


def scores(*values: np.ndarray) -> losses.Scores:
    return {name: jnp.asarray(value) for name, value in zip(("xz", "x", "z"), values, strict=False)}


def test_cross_entropies() -> None:
    p, q = 1 / (1 + np.exp(-REAL)), 1 / (1 + np.exp(-MADE))
    real, made = scores(REAL), scores(MADE)
    want = -(np.log(p).mean() + np.log(1 - q).mean()) / 2
    np.testing.assert_allclose(losses.discriminator_loss(real, made), want, rtol=1e-6)
    np.testing.assert_allclose(
        losses.pair_loss(real, made), -(np.log(1 - p) + np.log(q)).mean() / 2, rtol=1e-6
    )
    smooth = -((0.9 * np.log(p) + 0.1 * np.log(1 - p)).mean() + np.log(1 - q).mean()) / 2
    np.testing.assert_allclose(losses.discriminator_loss(real, made, smoothing=0.1), smooth, rtol=1e-6)


def test_hinges_over_several_scores() -> None:
    real, made = scores(REAL, 2 * REAL), scores(MADE, -MADE)
    want = sum(
        np.maximum(0, 1 - r).mean() + np.maximum(0, 1 + m).mean()
        for r, m in ((REAL, MADE), (2 * REAL, -MADE))
    )
    np.testing.assert_allclose(losses.discriminator_loss(real, made, "hinge"), want, rtol=1e-6)
    opposite = REAL.mean() - MADE.mean() + 2 * REAL.mean() + MADE.mean()
    np.testing.assert_allclose(losses.pair_loss(real, made, "hinge"), opposite, rtol=1e-6)


def test_matching_of_pairs() -> None:
    rng = np.random.default_rng(0)
    image, code = rng.normal(size=(2, 8, 5))
    cosines = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in code] for a in image]) / 0.2
    forth = np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(cosines)])
    back = np.mean([np.log(np.exp(row).sum()) - row[i] for i, row in enumerate(cosines.T)])
    got = losses.matching_loss(jnp.asarray(image), jnp.asarray(code), 0.2)
    np.testing.assert_allclose(got, (forth + back) / 2, rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_matching_is_over_the_batch_of_all_replicas() -> None:
    """Loss and gradients of four replicas, averaged as gradients are, are those of one."""
    rng = np.random.default_rng(1)
    x, weight = rng.normal(size=(8, 5)), rng.normal(size=(5, 3))

    def loss(weight: jax.Array, x: jax.Array, axis_name: str | None) -> jax.Array:
        return losses.matching_loss(x @ weight, x[:, :3], 0.2, axis_name)

    want = jax.value_and_grad(loss)(weight, x, None)

    def replica(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.lax.pmean(jax.value_and_grad(partial(loss, axis_name="i"))(weight, x), "i")

    got = jax.pmap(replica, "i")(x.reshape(4, 2, 5))
    np.testing.assert_allclose(got[0], np.full(4, want[0]), rtol=1e-12)
    for one in got[1]:
        np.testing.assert_allclose(one, want[1], rtol=1e-9)
