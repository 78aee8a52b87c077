"""What BiGAN's three networks minimise, given the discriminator's scores. Above 0 a score says "real"."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from ssl_single_image.parallel import replicas

Scores = dict[str, jax.Array]
"""Name of a score -> (B,) float32. The published discriminator gives one, "xz"."""


def discriminator_loss(
    real: Scores, made: Scores, kind: str = "cross_entropy", smoothing: float = 0.0
) -> Float[Array, ""]:
    """The loss of D, summed over its scores.

    Args:
      real: of crops with their codes.
      made: of generated images with theirs.
      kind: "cross_entropy", half the mean entropies with labels 1 - smoothing and 0 (Donahue et al. 2017); "hinge",
        mean max(0, 1 - real) + mean max(0, 1 + made) (BigBiGAN, Donahue and Simonyan 2019, equation 3).
      smoothing: of the label of crops, for cross-entropy.
    """
    if kind == "hinge":
        terms = [jax.nn.relu(1 - real[s]).mean() + jax.nn.relu(1 + made[s]).mean() for s in real]
    else:
        terms = [_entropies(real[s], made[s], 1 - smoothing) for s in real]
    return jnp.stack(terms).sum()


def pair_loss(real: Scores, made: Scores, kind: str = "cross_entropy") -> Float[Array, ""]:
    """The loss of E and G, summed over D's scores.

    Cross-entropy is that of D with the labels exchanged. With "hinge" it is mean real - mean made.
    """
    if kind == "hinge":
        return jnp.stack([real[s].mean() - made[s].mean() for s in real]).sum()
    return discriminator_loss(made, real)


def _entropies(real: jax.Array, made: jax.Array, label: float) -> jax.Array:
    entropy = optax.sigmoid_binary_cross_entropy
    return (entropy(real, jnp.full_like(real, label)).mean() + entropy(made, 0 * made).mean()) / 2


def matching_loss(
    image: Float[Array, "B h"], code: Float[Array, "B h"], temperature: float, axis_name: str | None = None
) -> Float[Array, ""]:
    """InfoNCE (van den Oord et al. 2018): each row's pair against all others of the global batch, in both directions.

    The similarity is the cosine, divided by `temperature`. Vectors that know nothing of each other reach log B.

    Returns:
      the mean over this replica's rows.
    """
    vectors = [x / (jnp.linalg.norm(x, axis=-1, keepdims=True) + 1e-6) for x in (image, code)]
    everywhere = replicas.gather(vectors, axis_name)
    own = (vectors[0] * vectors[1]).sum(-1) / temperature
    losses = [
        jax.nn.logsumexp(mine @ others.T / temperature, -1) - own
        for mine, others in zip(vectors, reversed(everywhere), strict=True)
    ]
    return jnp.stack(losses).mean()
