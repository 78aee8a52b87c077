"""`scattering`: the wavelet scattering transform, a network whose filters are known beforehand.

Bruna and Mallat 2013, "Invariant scattering convolution networks", as Oyallon et al. 2018, "Scattering networks for
hybrid representation learning", use it: order 2, Morlet wavelets and a Gabor low-pass. It has no parameters.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from ssl_single_image.errors import InputError
from ssl_single_image.models.backbone import Backbone, Taps, Trunk
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import at_least_float32, batch_norm
from ssl_single_image.schema import Section, Within

BLOCK = 1 << 25
"""Complex values of the largest array, about: as many images are transformed at once."""
PI = 3.1415
"""In the norm of the filters, as the published filters have it; hence the low-pass has the gain 1.00003."""


@dataclasses.dataclass(frozen=True)
class Options(Section):
    """Options of the scattering transform.

    Attributes:
      J: octaves; the map is 2^J times smaller than the input. Published: 2 for 32 pixels, 3 for 224.
      L: orientations of the wavelets in half a turn.
    """

    TITLE = "backbone_options"

    J: Annotated[int, Within(1, 5)] = 2
    L: Annotated[int, Within(1, 16)] = 8


@dataclasses.dataclass(frozen=True)
class Filters:
    """Fourier transforms of the filters on an N x N grid; they are real.

    Attributes:
      psi: the wavelets of each octave j: (L, N, N) float64.
      phi: the low-pass: (N, N) float64.
    """

    psi: tuple[np.ndarray, ...]
    phi: np.ndarray


def padded_side(side: int, octaves: int) -> int:
    """Side of the periodic grid: a multiple of 2^J with a margin of 2^(J - 1) pixels or more around the image."""
    step = 2**octaves
    return ((side + step) // step + 1) * step


@functools.cache
def filters(side: int, octaves: int, orientations: int) -> Filters:
    """The filters on a periodic grid of `side` pixels.

    Wavelet (j, l) is a Morlet of width .8 2^j, frequency 3 pi / 4 / 2^j and slant 4 / L. Its angle is
    (L / 2 - 1 - l) pi / L, with L / 2 - 1 rounded towards 0. The low-pass is a round Gaussian of width .8 2^(J - 1).
    """
    first = int(orientations - orientations / 2 - 1)
    angles = [(first - number) * np.pi / orientations for number in range(orientations)]
    psi = []
    for octave in range(octaves):
        width, frequency = 0.8 * 2**octave, 0.75 * np.pi / 2**octave
        waves = [_morlet(side, width, frequency, angle, 4 / orientations) for angle in angles]
        psi.append(np.stack([np.fft.fft2(wave).real for wave in waves]))
    low = _gabor(side, 0.8 * 2 ** (octaves - 1), 0.0, 0.0, 1.0)
    return Filters(tuple(psi), np.fft.fft2(low).real)


def _gabor(side: int, width: float, frequency: float, angle: float, slant: float) -> np.ndarray:
    """A Gaussian times a wave that runs along `angle`, made periodic: (side, side) complex128."""
    at = np.arange(-2 * side, 3 * side)
    rows, columns = at[:, None], at[None, :]
    along = rows * np.cos(angle) + columns * np.sin(angle)
    across = columns * np.cos(angle) - rows * np.sin(angle)
    wave = np.exp(-(along**2 + (slant * across) ** 2) / (2 * width**2) + 1j * frequency * along)
    return wave.reshape(5, side, 5, side).sum((0, 2)) / (2 * PI * width**2 / slant)


def _morlet(side: int, width: float, frequency: float, angle: float, slant: float) -> np.ndarray:
    """The Gabor less its mean, which is taken away with the shape of the envelope: the filter sums to 0."""
    wave, envelope = (_gabor(side, width, f, angle, slant) for f in (frequency, 0.0))
    return wave - wave.sum() / envelope.sum() * envelope


def scatter(
    x: Float[Array, "B H H C"], octaves: int, orientations: int
) -> tuple[Float[Array, "B h h F"], Float[Array, "B h h G"]]:
    """The coefficients of order 0 and 1, and all of them.

    S0 = x * phi, S1 = |x * psi1| * phi and S2 = ||x * psi1| * psi2| * phi, where psi2 is of a later octave than psi1.
    The image is padded by reflection. Each modulus is subsampled to the resolution of its octave.

    Args:
      x: float32 or float64.
      octaves: J.
      orientations: L.

    Returns:
      Two arrays of x's type, whose side h is floor(H / 2^J). The first has F = C (1 + J L) channels. The second has
      G = C (1 + J L + L^2 J (J - 1) / 2), and begins with the first. Of orders 0, 1 and 2, one after the other, colours
      vary fastest, then the orientation of psi2, its octave, the orientation of psi1, its octave.

    Raises:
      InputError: the image is smaller than 2^J pixels.
    """
    batch, side, _, colours = x.shape
    if side < 2**octaves:
        raise InputError(
            f"scattering: an input of {side} pixels is too small for J = {octaves}; it needs {2**octaves}"
        )
    grid = padded_side(side, octaves)
    before = (grid - side) // 2
    pads = (before, grid - side - before)
    planes = jnp.pad(x.transpose(0, 3, 1, 2), ((0, 0), (0, 0), pads, pads), mode="reflect")
    one = functools.partial(_coefficients, bank=filters(grid, octaves, orientations), octaves=octaves)
    at_once = max(1, BLOCK // (orientations**2 * grid**2))
    planes = planes.reshape(batch * colours, grid, grid)
    found = one(planes) if len(planes) <= at_once else _by_blocks(one, planes, at_once)
    found = found[..., 1:-1, 1:-1]  # what is left of the margin
    whole = found.reshape(batch, colours, *found.shape[1:]).transpose(0, 3, 4, 2, 1)
    flat = whole.reshape(*whole.shape[:3], -1)
    return flat[..., : colours * (1 + octaves * orientations)], flat


def _by_blocks(one: Callable[[jax.Array], jax.Array], planes: jax.Array, size: int) -> jax.Array:
    return lax.map(lambda plane: one(plane[None])[0], planes, batch_size=size)


def _coefficients(planes: Float[Array, "n N N"], bank: Filters, octaves: int) -> Float[Array, "n K m m"]:
    """All coefficients of the padded images, with their margin."""
    kind = jnp.complex64 if planes.dtype == jnp.float32 else jnp.complex128

    def at(spectrum: np.ndarray, level: int) -> jax.Array:
        return jnp.asarray(_low(spectrum, level), kind)

    def smooth(transformed: jax.Array, level: int) -> jax.Array:
        low = at(bank.phi, level)
        spectrum = transformed * low.reshape((1,) * (transformed.ndim - 2) + low.shape)
        return jnp.fft.ifft2(_subsampled(spectrum, octaves - level)).real

    count = len(planes)
    image = jnp.fft.fft2(planes.astype(kind))
    zero = smooth(image, 0)[:, None]
    first, second = [], []
    for j1, psi1 in enumerate(bank.psi):
        waves = _subsampled(image[:, None] * at(psi1, 0)[None], j1)
        envelope = jnp.fft.fft2(jnp.abs(jnp.fft.ifft2(waves)).astype(kind))
        first.append(smooth(envelope, j1))
        pairs = []
        for j2 in range(j1 + 1, octaves):
            waves = _subsampled(envelope[:, :, None] * at(bank.psi[j2], j1)[None, None], j2 - j1)
            pairs.append(smooth(jnp.fft.fft2(jnp.abs(jnp.fft.ifft2(waves)).astype(kind)), j2))
        if pairs:  # (n, L, octaves of psi2, L, m, m)
            ordered = jnp.stack(pairs, 2)
            second.append(ordered.reshape(count, -1, *ordered.shape[-2:]))
    return jnp.concatenate([zero, *first, *second], 1)


def _low(spectrum: np.ndarray, level: int) -> np.ndarray:
    """The part (..., N / 2^level, N / 2^level) of a filter's spectrum that a grid 2^level times coarser has."""
    side = spectrum.shape[-1] >> level
    kept = np.fft.fftfreq(side, 1 / side).astype(int)
    return spectrum[..., kept[:, None], kept[None, :]]


def _subsampled(spectrum: Complex[Array, "*n N N"], levels: int) -> Complex[Array, "*n m m"]:
    """The spectrum of every 2^levels-th pixel."""
    step = 2**levels
    side = spectrum.shape[-1] // step
    return spectrum.reshape(*spectrum.shape[:-2], step, side, step, side).mean((-4, -2))


class Scattering(Trunk):
    """The transform as a trunk.

    `apply(variables, x, train=...)` takes x (B, S, S, 3), normalised, and returns (output, activations). The output is
    the activation "scattering2", all coefficients; "scattering1" has those of order 0 and 1. See `scatter`. It
    computes in float32 (float64 for such an input) and returns `dtype`. There are no variables.
    """

    options: Options
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, Taps]:
        del train
        found = scatter(at_least_float32(x), self.options.J, self.options.L)
        first, both = (one.astype(self.dtype) for one in found)
        return both, {"scattering1": first, "scattering2": both}


class Head(nn.Module):
    """Batch norm without affine parameters, because coefficients differ in scale by orders; then an `FCHead`."""

    hidden: int
    outputs: int
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = batch_norm(train, self.axis_name, self.dtype, "bn0", affine=False)(x)
        return FCHead((self.hidden,), self.outputs, axis_name=self.axis_name, dtype=self.dtype)(
            x, train=train
        )


def build(options: Options, *, dtype: Any = jnp.float32, **untrained: Any) -> Scattering:
    """The transform; it has no batch norm and no kernels that `axis_name` and `spectral` could concern."""
    del untrained
    return Scattering(options, dtype)


def head(outputs: int, options: Options, **shared: Any) -> Head:
    """Normalised coefficients, 512 hidden units with batch norm, logits."""
    return Head(512, outputs, **shared)


BACKBONE = Backbone(build, head, input_size=32, smallest=4, parameters=0, options=Options)
