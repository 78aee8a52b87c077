"""The scattering transform of one grey image in NumPy, by sums in space: slow, and close to the formulas."""

from __future__ import annotations

import itertools

import numpy as np


def gabor(side: int, width: float, frequency: float, angle: float, slant: float) -> np.ndarray:
    """exp(-u' C u + i xi' u) over shifts of whole periods, divided by the published norm."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    curve = turn @ np.diag([1, slant**2]) @ turn.T / (2 * width**2)
    xi = frequency * np.array([np.cos(angle), np.sin(angle)])
    total = np.zeros((side, side), complex)
    for down, right in itertools.product(range(-2, 3), repeat=2):
        u = np.moveaxis(np.mgrid[:side, :side], 0, -1) + side * np.array([down, right])
        total += np.exp(-np.einsum("...i,ij,...j", u, curve, u) + 1j * (u @ xi))
    return total / (2 * 3.1415 * width**2 / slant)


def wavelet(side: int, octave: int, number: int, orientations: int) -> np.ndarray:
    angle = (orientations // 2 - 1 - number) * np.pi / orientations
    shape = (0.8 * 2**octave, 3 * np.pi / 4 / 2**octave, angle, 4 / orientations)
    wave, envelope = gabor(side, *shape), gabor(side, shape[0], 0.0, *shape[2:])
    return wave - wave.sum() / envelope.sum() * envelope


def coarser(filter_: np.ndarray, level: int) -> np.ndarray:
    """The filter on a grid 2^level times coarser: the middle of its spectrum, whose imaginary part is dropped."""
    side = len(filter_)
    spectrum = np.fft.fftshift(np.fft.fft2(filter_).real)
    first, kept = side // 2 - (side >> level) // 2, side >> level
    middle = spectrum[first : first + kept, first : first + kept]
    return np.fft.ifft2(np.fft.ifftshift(middle))


def convolve(x: np.ndarray, filter_: np.ndarray) -> np.ndarray:
    """Circular convolution, pixel of the filter by pixel."""
    return sum(
        filter_[down, right] * np.roll(x, (down, right), (0, 1)) for down, right in np.ndindex(*filter_.shape)
    )


def scatter(x: np.ndarray, octaves: int, orientations: int, *, subsampled: bool = True) -> np.ndarray:
    """(H, H) -> (K, h, h): S0, S1 by octave and angle, S2 by octave and angle of the first, then of the second.

    Not `subsampled`, every modulus keeps all pixels, as in the definition.
    """
    step = 2**octaves
    side = ((len(x) + step) // step + 1) * step
    before = (side - len(x)) // 2
    image = np.pad(x, (before, side - len(x) - before), mode="reflect")
    low = gabor(side, 0.8 * 2 ** (octaves - 1), 0.0, 0.0, 1.0)

    def level(octave: int) -> int:
        return octave if subsampled else 0

    def smooth(y: np.ndarray, at: int) -> np.ndarray:
        stride = 2 ** (octaves - at)
        return convolve(y, coarser(low, at)).real[::stride, ::stride][1:-1, 1:-1]

    def modulus(y: np.ndarray, at: int, octave: int, number: int) -> np.ndarray:
        stride = 2 ** (level(octave) - at)
        waves = convolve(y, coarser(wavelet(side, octave, number, orientations), at))
        return np.abs(waves)[::stride, ::stride]

    orders: list[list[np.ndarray]] = [[smooth(image, 0)], [], []]
    for j1, one in itertools.product(range(octaves), range(orientations)):
        first = modulus(image, 0, j1, one)
        orders[1].append(smooth(first, level(j1)))
        for j2, two in itertools.product(range(j1 + 1, octaves), range(orientations)):
            orders[2].append(smooth(modulus(first, level(j1), j2, two), level(j2)))
    return np.stack([*orders[0], *orders[1], *orders[2]])
