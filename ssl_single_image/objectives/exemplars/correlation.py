"""Whitening of windows by frequency, in which a max-margin correlation filter is an ordinary SVM.

Rodriguez, Boddeti, Kumar and Mahalanobis 2013, "Maximum margin correlation filter"; Boddeti, Kanade and Kumar 2013,
"Correlation filters for object alignment", where channels are coupled. The filter h minimises h^H T h instead of |h|^2,
with T = alpha I + (1 - alpha) D. D is the mean of x x^H over windows x, at each frequency a matrix of channels. A
correlation filter of small h^H D h has a sharp peak.

T^(-1/2) is Hermitian at every frequency, and at -f the conjugate of what it is at f. It therefore takes real windows to
real windows. The inner products of windows under it are those of the published dual, Re(x^H T^-1 x).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Complex, Float


def whitening(x: Float[Array, "n h h C"], alpha: float) -> Complex[Array, "h f C C"]:
    """T^(-1/2) at every frequency of windows.

    Args:
      x: real windows.
      alpha: in (0, 1]; 1 gives the identity.
    """
    spectrum = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
    power = jnp.einsum("nfgc,nfgd->fgcd", spectrum, spectrum.conj()) / len(x)
    mixed = alpha * jnp.eye(x.shape[-1], dtype=power.dtype)[None, None] + (1 - alpha) * power
    values, vectors = jnp.linalg.eigh(mixed)
    # Rounding may leave less than alpha, which is the least that there can be.
    scale = (1 / jnp.sqrt(jnp.maximum(values, alpha)))[..., None, :].astype(vectors.dtype)
    return (vectors * scale) @ vectors.conj().swapaxes(-1, -2)


def apply(root: Complex[Array, "h f C C"], x: Float[Array, "n h h C"]) -> Float[Array, "n h h C"]:
    """Windows, or filters that were learnt of such windows, under T^(-1/2)."""
    spectrum = jnp.fft.rfft2(x, axes=(1, 2), norm="ortho")
    changed = jnp.einsum("fgcd,nfgd->nfgc", root, spectrum)
    return jnp.fft.irfft2(changed, x.shape[1:3], axes=(1, 2), norm="ortho").astype(x.dtype)


def filters(root: Complex[Array, "h f C C"], weight: Float[Array, "K D"]) -> Float[Array, "K h h C"]:
    """The filters in space whose inner product with a window is `weight`'s with the whitened window."""
    rows, _, channels, _ = root.shape
    return apply(root, jnp.reshape(weight, (len(weight), rows, rows, channels)))
