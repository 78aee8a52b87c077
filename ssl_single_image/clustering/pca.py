"""Principal components with whitening, and scaling to unit length: the preparation of features for k-means."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ssl_single_image.clustering.blocks import fold
from ssl_single_image.parallel import replicas
from ssl_single_image.types import InputError

BLOCK = 1 << 22
"""Values of one block of centred points."""


class PCA(NamedTuple):
    """x -> (x - mean) @ matrix.

    Attributes:
      mean: (D,) float32.
      matrix: (D, C) float32, the components as columns, largest variance first, each divided by the standard deviation
        along it.
    """

    mean: Float[Array, " D"]
    matrix: Float[Array, "D C"]


def fit_pca(
    x: Float[Array, "n D"],
    components: int,
    *,
    weights: Float[Array, " n"] | None = None,
    floor: float = 1e-5,
    axis_name: str | None = None,
) -> PCA:
    """Whitening PCA: projected points have covariance 1 where their variance is above the floor.

    The axes are eigenvectors of the D x D covariance (over n, not n - 1). Their sign makes the entry of largest
    magnitude positive. With `project` and `l2_normalise` this is what DeepCluster does to features before k-means:
    Caron, Bojanowski, Joulin and Douze 2018, "Deep clustering for unsupervised learning of visual features", 3.3.

    Time: n D^2 products and an eigendecomposition, O(D^3). Memory beside x: about 4 (5 D^2 + min(n D, BLOCK)) bytes.

    Args:
      x: (n, D) float32, this replica's points.
      components: C.
      weights: (n,) float32, 0 for points that don't count and 1 for others; None: all count.
      floor: least variance that is divided by, as a share of the largest; in (0, 1].
      axis_name: mapped axis whose replicas hold the other points.

    Raises:
      InputError: components not in [1, D], a floor out of range, or x not a matrix.
    """
    if x.ndim != 2:
        raise InputError(f"PCA: points of shape {x.shape}: expected (n, D)")
    dims = x.shape[1]
    if not 1 <= components <= dims:
        raise InputError(f"PCA: components {components}: must be in [1, {dims}], the values of a point")
    if not 0 < floor <= 1:
        raise InputError(f"PCA: floor {floor}: must be in (0, 1]")
    weights = jnp.ones(len(x), x.dtype) if weights is None else weights
    mean, covariance = _moments(x, weights, axis_name)
    variances, vectors = jnp.linalg.eigh(covariance)
    variances, vectors = variances[::-1][:components], vectors[:, ::-1][:, :components]
    largest = jnp.take_along_axis(vectors, jnp.abs(vectors).argmax(0)[None], 0)
    least = jnp.maximum(floor * variances[0], jnp.finfo(x.dtype).tiny)
    scale = jnp.where(largest < 0, -1, 1) * lax.rsqrt(jnp.maximum(variances, least))[None]
    return PCA(mean, vectors * scale)


def project(pca: PCA, x: Float[Array, "n D"]) -> Float[Array, "n C"]:
    """(n, D) float32 -> (n, C) float32, along the components."""
    return jnp.matmul(x - pca.mean[None], pca.matrix, precision=lax.Precision.HIGHEST)


def l2_normalise(x: Float[Array, "n C"]) -> Float[Array, "n C"]:
    """(n, C) float32 -> rows of unit length; rows of zeros stay."""
    norms = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norms > 0, norms, 1)


def _moments(x: jax.Array, weights: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Mean (D,) and covariance (D, D) of all replicas' points."""
    n, dims = x.shape
    count = jnp.maximum(replicas.total(weights.sum(), axis_name), 1)
    mean = replicas.total(jnp.matmul(weights, x, precision=lax.Precision.HIGHEST), axis_name) / count

    def add_block(total: jax.Array, start: jax.Array, fresh: jax.Array) -> jax.Array:
        counted = fresh * lax.dynamic_slice_in_dim(weights, start, len(fresh))
        centred = lax.dynamic_slice_in_dim(x, start, len(fresh)) - mean[None]
        # HIGHEST: accelerators would round to TF32 or bfloat16, and eigenvalues near the floor would be noise.
        return total + jnp.matmul(centred.T * counted[None], centred, precision=lax.Precision.HIGHEST)

    total = fold(add_block, jnp.zeros((dims, dims), x.dtype), n, BLOCK // dims)
    return mean, replicas.total(total, axis_name) / count
