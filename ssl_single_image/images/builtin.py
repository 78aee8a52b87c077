"""Real photographs that come with scikit-image's wheel, so that everything runs without a download.

Files are read from the installed package; scikit-image's own loaders, which may fetch from the network,
are never called.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path

import numpy as np

from ssl_single_image.images.decode import read_image
from ssl_single_image.types import InputError

PREFIX = "builtin:"
STEREO = ("motorcycle_left", "motorcycle_right")
"""The photographs that show one scene from two places, side by side."""
_DISPARITY = "motorcycle_disp.npz"


@dataclasses.dataclass(frozen=True)
class Photograph:
    """One built-in photograph.

    Attributes:
      name: what follows `builtin:`.
      file: name in scikit-image's data folder.
      height: pixels.
      width: pixels.
      kind: "colour" (a natural colour photograph), "grey", or "science" (microscopy, medicine, astronomy).
      licence: as scikit-image's documentation of the image states it.
    """

    name: str
    file: str
    height: int
    width: int
    kind: str
    licence: str


@dataclasses.dataclass(frozen=True)
class StereoPair:
    """Two photographs of one scene and how far apart each of its points lies in them.

    Attributes:
      left: (H, W, 3) uint8.
      right: (H, W, 3) uint8.
      disparity: (H, W) float32, in pixels. What pixel (y, x) of the left shows, the right shows at (y, x - disparity).
        NaN where that is not known.
    """

    left: np.ndarray
    right: np.ndarray
    disparity: np.ndarray


_UNSTATED = "see scikit-image's documentation"
_TABLE = (
    Photograph("astronaut", "astronaut.png", 512, 512, "colour", "public domain (NASA)"),
    Photograph("brick", "brick.png", 512, 512, "grey", "CC0 (CC0Textures)"),
    Photograph("camera", "camera.png", 512, 512, "grey", "CC0 (Lav Varshney)"),
    Photograph("chelsea", "chelsea.png", 300, 451, "colour", "CC0 (Stefan van der Walt)"),
    Photograph("clock", "clock_motion.png", 300, 400, "grey", "public domain (Stefan van der Walt)"),
    Photograph("coffee", "coffee.png", 400, 600, "colour", "CC0 (Rachel Michetti)"),
    Photograph("coins", "coins.png", 303, 384, "grey", "no known restrictions (Brooklyn Museum)"),
    Photograph("grass", "grass.png", 512, 512, "grey", "CC0 (linolafett)"),
    Photograph("gravel", "gravel.png", 512, 512, "grey", "CC0 (CC0Textures)"),
    Photograph("hubble", "hubble_deep_field.jpg", 872, 1000, "science", "public domain (NASA)"),
    Photograph("ihc", "ihc.png", 512, 512, "science", "no known restrictions (CMMI)"),
    Photograph("moon", "moon.png", 512, 512, "science", _UNSTATED),
    Photograph("motorcycle_left", "motorcycle_left.png", 500, 741, "colour", _UNSTATED),
    Photograph("motorcycle_right", "motorcycle_right.png", 500, 741, "colour", _UNSTATED),
    Photograph("retina", "retina.jpg", 1411, 1411, "science", "CC0 (Mikael Häggström)"),
    Photograph("rocket", "rocket.jpg", 427, 640, "colour", "public domain (SpaceX)"),
)
PHOTOGRAPHS = {photograph.name: photograph for photograph in _TABLE}


def names_in(source: str) -> tuple[str, ...]:
    """The built-in photographs in a source: "builtin:coffee+rocket" -> ("coffee", "rocket"); others have none."""
    return tuple(source.removeprefix(PREFIX).split("+")) if source.startswith(PREFIX) else ()


def load(name: str) -> np.ndarray:
    """The pixels of a built-in photograph, (H, W, 3) uint8.

    Raises:
      InputError: no photograph has this name, or scikit-image's installation lacks the file.
    """
    if name not in PHOTOGRAPHS:
        raise InputError(f"{PREFIX}{name}: no such photograph; there are {', '.join(PHOTOGRAPHS)}")
    return read_image(_data_folder() / PHOTOGRAPHS[name].file)


def stereo() -> StereoPair:
    """The motorcycle of the Middlebury stereo benchmark with its measured disparity (Scharstein et al., GCPR 2014).

    scikit-image's wheel holds both photographs and the disparity, at a quarter of the published resolution.

    Raises:
      InputError: scikit-image's installation lacks a file.
    """
    path = _data_folder() / _DISPARITY
    try:
        with np.load(path) as data:
            disparity = data["arr_0"].astype(np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{path}: can't be read ({type(error).__name__}); install scikit-image again"
        ) from error
    left, right = map(load, STEREO)
    return StereoPair(left, right, np.where(np.isfinite(disparity), disparity, np.nan))


def colour_photographs() -> tuple[str, ...]:
    """Names of the natural colour photographs; the two motorcycles show one scene and count once."""
    return tuple(p.name for p in _TABLE if p.kind == "colour" and p.name != STEREO[1])


def _data_folder() -> Path:
    spec = importlib.util.find_spec("skimage")  # importing skimage itself takes a second
    if spec is None or spec.origin is None:
        raise InputError("built-in photographs need scikit-image: pip install scikit-image")
    return Path(spec.origin).parent / "data"
