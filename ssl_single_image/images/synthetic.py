"""Images that no camera took, made from a seed: `synthetic:NAME[,size=N]@SEED`.

They ask what pretraining owes to a photograph: each has one property of photographs and lacks the others. A new kind is
a function and a line in KINDS.

The numbers come from `numpy.random.default_rng([seed, salt])`. A seed names the same bits on every machine, as far as
NumPy keeps its generators and its FFT as they are. A run records the hash of what it saw.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ssl_single_image.images import attractors
from ssl_single_image.types import InputError

PREFIX = "synthetic:"
FORM = "synthetic:NAME[,size=N]@SEED"
SIZE, SMALLEST, LARGEST = 1024, 64, 8192
"""Side of an image in pixels: the default, and the limits."""
MOST_SEED = 2**32
_PARTS = re.compile(r"synthetic:(?P<name>[^,@]*)(?P<options>(?:,[^,@]*)*)(?:@(?P<seed>.*))?", re.DOTALL)
_LEAVES_AT_ONCE = 4096
_OPPONENT = np.array([[1, 1, 1], [0.5, 0.5, -1], [1, -1, 0]]) / np.sqrt([[3.0], [1.5], [2.0]])
_SPREAD = np.array([1.0, 0.3, 0.1])
_CONTRAST = 0.18
"""Standard deviation of pink noise, of a range of 1: about one value in 180 is cut off."""


def dead_leaves(rng: np.random.Generator, size: int) -> np.ndarray:
    """Discs that hide each other: edges, occlusion and every scale, as in photographs, but no objects.

    The law is that of the dead leaves model (Lee, Mumford and Huang 2001). Baradad et al. (2021), "Learning to See by
    Looking at Noise", pretrain on such pictures. Centres are uniform in the plane. Radii have the density r^-3 between
    `max(1, size / 512)` and `size / 4` pixels, so that the picture looks alike at every scale. A leaf has one colour,
    uniform in the RGB cube and independent of the others. Edges are not smoothed.

    Leaves fall from the front to the back until no pixel is left. What is seen has then exactly the law of leaves that
    have fallen for ever (Kendall and Thönnes 1999).
    """
    smallest, largest = max(1.0, size / 512), size / 4
    image, free = np.zeros((size, size, 3), np.uint8), np.ones((size, size), bool)
    while free.any():
        u = rng.random((_LEAVES_AT_ONCE, 3))
        colours = rng.integers(0, 256, (_LEAVES_AT_ONCE, 3), np.uint8)
        radius = (smallest**-2 + u[:, 0] * (largest**-2 - smallest**-2)) ** -0.5
        centre = u[:, 1:] * (size + 2 * largest) - largest
        first = np.clip(np.ceil(centre - radius[:, None] - 0.5), 0, size).astype(int)
        last = np.clip(np.floor(centre + radius[:, None] - 0.5) + 1, 0, size).astype(int)
        for i in np.flatnonzero(_free_within(free, first, last)):
            (y0, x0), (y1, x1) = first[i], last[i]
            rows, columns = np.arange(y0, y1) + 0.5 - centre[i, 0], np.arange(x0, x1) + 0.5 - centre[i, 1]
            window = free[y0:y1, x0:x1]
            seen = window & (rows[:, None] ** 2 + columns**2 <= radius[i] ** 2)
            image[y0:y1, x0:x1][seen] = colours[i]
            window &= ~seen
    return image


def pink_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Noise with the amplitude spectrum 1 / f of photographs and random phases: their statistics of second order.

    The power spectrum of photographs falls about as 1 / f^2 (Field 1987; Baradad et al. 2021 pretrain on such noise).
    In each of three independent fields the amplitude of every frequency but 0 is exactly 1 / f, and its phase is that
    of white noise. The picture would repeat itself beyond its borders.

    The channels mix the fields along the axes in which colours of photographs vary independently
    (Ruderman et al. 1998): grey, yellow against blue, and red against green, with standard deviations as 1 : 0.3 : 0.1.
    Red and green then have the correlation 0.97, and both of them have 0.81 with blue. The mean is 0.5 and the
    standard deviation of all channels together 0.18; values beyond [0, 1] are cut off.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size))
    frequency[0, 0] = np.inf
    fields = []
    for spread in _SPREAD:
        spectrum = np.fft.rfft2(rng.standard_normal((size, size)))
        field = np.fft.irfft2(spectrum / (np.abs(spectrum) * frequency), s=(size, size))
        fields.append(
            (spread * field / field.std()).astype(np.float32)
        )  # a large one takes gigabytes as it is
    image = np.stack(fields, axis=-1) @ _OPPONENT.astype(np.float32)
    return _to_bytes(0.5 + _CONTRAST * image / image.std())


def white_noise(rng: np.random.Generator, size: int) -> np.ndarray:
    """Independent pixels: every channel of every pixel is uniform in 0 to 255. Nothing of a photograph is left."""
    return rng.integers(0, 256, (size, size, 3), np.uint8)


def fractal(rng: np.random.Generator, size: int) -> np.ndarray:
    """The attractor of random contractions: structure at every scale by one rule, as in FractalDB.

    FractalDB (Kataoka et al. 2020) draws affine maps at random, keeps those whose attractor fills enough of the
    picture, and plots points of it. Here maps are drawn by their singular values, as by Anderson and Farrell (2022). A
    point's colour tells by which maps it was reached. `attractors.render` has the law.
    """
    return _to_bytes(attractors.render(rng, size))


KINDS: dict[str, tuple[int, Callable[[np.random.Generator, int], np.ndarray]]] = {
    "dead_leaves": (1, dead_leaves),
    "pink_noise": (2, pink_noise),
    "white_noise": (3, white_noise),
    "fractal": (4, fractal),
}
"""Name -> the number by which its random stream differs from the others', and what draws the picture."""


def load(source: str) -> np.ndarray:
    """The pixels of `synthetic:NAME[,size=N]@SEED`, (N, N, 3) uint8.

    Raises:
      InputError: no such kind, a bad option, or no seed.
    """
    name, size, seed = parse(source)
    salt, draw = KINDS[name]
    return draw(np.random.default_rng([seed, salt]), size)


def parse(source: str) -> tuple[str, int, int]:
    """Kind, size and seed: "synthetic:fractal,size=512@3" -> ("fractal", 512, 3).

    Raises:
      InputError: no such kind, an unknown option, a size out of range, or no seed.
    """
    parts = _PARTS.fullmatch(source)
    name = parts["name"] if parts else ""
    if parts is None or name not in KINDS:
        raise InputError(f"{source}: no such kind of image; there are {', '.join(PREFIX + k for k in KINDS)}")
    size = SIZE
    for option in parts["options"].split(",")[1:]:
        key, _, value = option.partition("=")
        if key != "size":
            raise InputError(f"{source}: {option!r} is no option; expected {FORM}")
        if not re.fullmatch(r"[0-9]{1,9}", value) or not SMALLEST <= int(value) <= LARGEST:
            raise InputError(f"{source}: size must be a whole number in [{SMALLEST}, {LARGEST}]")
        size = int(value)
    seed = parts["seed"]
    if seed is None:
        raise InputError(f"{source}: has no seed; give one, as {source}@0")
    if not re.fullmatch(r"[0-9]{1,10}", seed) or int(seed) >= MOST_SEED:
        raise InputError(f"{source}: the seed after @ must be a whole number in [0, 2**32)")
    return name, size, int(seed)


def meaning(name: str) -> str:
    """What a kind is, in a sentence: the first of its docstring."""
    return (KINDS[name][1].__doc__ or "").partition("\n\n")[0]


def _free_within(free: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Whether a pixel is free in each of the boxes from `first` to `last`, both (n, 2)."""
    total = np.pad(
        np.cumsum(np.cumsum(free, axis=0, dtype=np.int32), axis=1, dtype=np.int32), ((1, 0), (1, 0))
    )
    (y0, x0), (y1, x1) = first.T, last.T
    count = total[y1, x1] - total[y0, x1] - total[y1, x0] + total[y0, x0]
    return (count > 0) & (y1 > y0) & (x1 > x0)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(255 * image.clip(0, 1)).astype(np.uint8)
