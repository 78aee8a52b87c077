"""CropSpec: everything that decides how a crop is made, validated where it is written down."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ssl_single_image.types import InputError

_CHOICES = {
    "area_law": ("uniform", "log"),
    "border": ("inside", "window"),
    "interpolation": ("bilinear", "bicubic"),
    "image_choice": ("uniform", "area"),
    "dtype": ("float32", "bfloat16"),
}
_UNIT = (0.0, 1.0)
_RANGES = {
    "rotation": (0.0, 180.0),
    "shear": (0.0, 75.0),
    "initial_crop": _UNIT,
    "hflip": _UNIT,
    "vflip": _UNIT,
    "jitter_probability": _UNIT,
    "brightness": _UNIT,
    "contrast": _UNIT,
    "saturation": _UNIT,
    "hue": (0.0, 0.5),
    "blur_probability": _UNIT,
    "noise": _UNIT,
}
_POSITIVE_UNIT = ("min_area", "max_area", "aspect")


@dataclasses.dataclass(frozen=True)
class CropSpec:
    """How crops are drawn and rendered. The defaults switch every augmentation off.

    Attributes:
      size: side S of the crop in pixels, in [4, 4096].
      min_area: smallest window, as a fraction of the source's area (of the initial crop's, where that is on).
        With 1 every window is the largest that fits, whatever the shape of the source.
      max_area: largest window, in [min_area, 1].
      area_law: the area fraction is drawn from U(min_area, max_area) ("uniform") or is log-uniform ("log").
      aspect: gamma in (0, 1]; height / width of the window is log-uniform in [gamma, 1 / gamma].
      initial_crop: first cut a random square of this fraction of min(H, W) and stay within it; 0: off.
      rotation: degrees; the angle is drawn from U(-rotation, rotation).
      shear: degrees; the horizontal shear is drawn from U(-shear, shear).
      border: "inside": the rotated and sheared window always lies within the source. "window": an upright
        window of whole pixels is resized to floor(sqrt(2) S), rotated and sheared there, and its central
        S x S cut out; what falls outside the window is black.
      hflip: probability of mirroring left and right.
      vflip: probability of mirroring top and bottom.
      jitter_probability: probability of the four colour operations below, applied in random order.
      brightness: b; the factor is drawn from U(1 - b, 1 + b); likewise contrast and saturation.
      contrast: see brightness.
      saturation: see brightness.
      hue: the shift is drawn from U(-hue, hue), in turns of the colour circle, at most 0.5.
      blur_probability: probability of a Gaussian blur.
      blur_sigma: (low, high), range of its standard deviation in pixels of the crop, drawn uniformly.
      noise: standard deviation of additive Gaussian noise, in units of the [0, 1] range; 0: off.
      interpolation: "bilinear" (four taps in the nearest of two mip levels an octave) or "bicubic" (sixteen:
        sharper where crops are magnified).
      image_choice: of several sources, draw one with equal chances or in proportion to its area.
      dtype: type of the rendered pixels, "float32" or "bfloat16"; arithmetic is float32.

    Raises:
      InputError: a value of the wrong type or outside its range; names the field and the range.
    """

    size: int
    min_area: float = 1.0
    max_area: float = 1.0
    area_law: str = "uniform"
    aspect: float = 1.0
    initial_crop: float = 0.0
    rotation: float = 0.0
    shear: float = 0.0
    border: str = "inside"
    hflip: float = 0.0
    vflip: float = 0.0
    jitter_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0
    blur_probability: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    noise: float = 0.0
    interpolation: str = "bilinear"
    image_choice: str = "uniform"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, (int, np.integer)):
            raise InputError(f"crop size = {self.size!r}: must be a whole number of pixels in [4, 4096]")
        if not 4 <= self.size <= 4096:
            raise InputError(f"crop size = {self.size}: must lie in [4, 4096]")
        object.__setattr__(self, "size", int(self.size))
        object.__setattr__(self, "initial_crop", self.initial_crop or 0.0)
        for field in _POSITIVE_UNIT:
            self._set_number(field, 0.0, 1.0, open_below=True)
        for field, (low, high) in _RANGES.items():
            self._set_number(field, low, high)
        if self.max_area < self.min_area:
            raise InputError(
                f"crop max_area = {self.max_area:g}: must lie in [min_area, 1] = [{self.min_area:g}, 1]"
            )
        for field, choices in _CHOICES.items():
            if getattr(self, field) not in choices:
                raise InputError(
                    f"crop {field} = {getattr(self, field)!r}: must be one of {', '.join(choices)}"
                )
        self._set_blur_sigma()

    @classmethod
    def preset(cls, name: str, size: int) -> CropSpec:
        """A published recipe for crops of `size` pixels.

        "paper": the specification in section 3 of the paper: crops of area fraction >= beta and aspect in
        [3/4, 4/3], rotation of up to 35 degrees with no fill visible, horizontal flips, colour jitter. The
        paper leaves open how the area is distributed, and gives beta = 1e-4. Here it is log-uniform, so that
        every scale gets its share, and beta = 1e-3, at which a window of a one-megapixel photograph still
        holds as many pixels as a 32-pixel crop. Colours are jittered in four crops of five, so that true
        colours stay part of what the network sees.

        "authors": the steps of the authors' published generator: an initial crop of half the shorter side,
        area ~ U(1/500, 1), rotation and shear of up to 30 degrees in a window sqrt(2) as large, jitter in
        half of the crops, no flips (these are left to the objective).

        Raises:
          InputError: unknown name.
        """
        if name not in _PRESETS:
            raise InputError(f"crop preset {name!r}: must be one of {', '.join(_PRESETS)}")
        return cls(size=size, **_PRESETS[name])

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> CropSpec:
        """From a mapping of fields (those left out keep their defaults).

        Raises:
          InputError: unknown or missing field, or a value that the constructor refuses.
        """
        values = dict(config)
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=3, cutoff=0.4) or known
                raise InputError(f"crop {key}: no such field; did you mean {' or '.join(near)}?")
        if "size" not in values:
            raise InputError("crop size: missing; give the side of the crop in pixels")
        return cls(**values)

    def to_config(self) -> dict[str, Any]:
        """All fields as JSON-able values; `from_config` gives the same spec back."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def replace(self, **changes: Any) -> CropSpec:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def jitters(self) -> bool:
        """Whether any crop can have its colours changed."""
        return (
            self.jitter_probability > 0 and max(self.brightness, self.contrast, self.saturation, self.hue) > 0
        )

    @property
    def output_dtype(self) -> Any:
        """`dtype` as a JAX type."""
        return jnp.dtype(self.dtype)

    @property
    def frame(self) -> int:
        """Side in pixels of what a window is resized to before its centre is cut out."""
        return math.floor(math.sqrt(2) * self.size) if self.border == "window" else self.size

    def _set_number(self, field: str, low: float, high: float, *, open_below: bool = False) -> None:
        value = getattr(self, field)
        legal = f"must be a number in {'(' if open_below else '['}{low:g}, {high:g}]"
        if not _is_number(value) or not low <= value <= high or (open_below and value == low):
            raise InputError(f"crop {field} = {value!r}: {legal}")
        object.__setattr__(self, field, float(value))

    def _set_blur_sigma(self) -> None:
        value, highest = self.blur_sigma, self.size / 4
        legal = f"must be two numbers (low, high) with 0 < low <= high <= size / 4 = {highest:g}"
        pair = tuple(value) if isinstance(value, (tuple, list)) else ()
        if len(pair) != 2 or not all(map(_is_number, pair)):
            raise InputError(f"crop blur_sigma = {value!r}: {legal}")
        low, high = pair
        if not 0 < low <= high or (self.blur_probability > 0 and high > highest):
            raise InputError(f"crop blur_sigma = {value!r}: {legal}")
        object.__setattr__(self, "blur_sigma", (float(low), float(high)))


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    return number and math.isfinite(value)


_COLOUR: dict[str, Any] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {
        "min_area": 1e-3,
        "area_law": "log",
        "aspect": 0.75,
        "rotation": 35.0,
        "hflip": 0.5,
        "jitter_probability": 0.8,
        **_COLOUR,
    },
    "authors": {
        "initial_crop": 0.5,
        "min_area": 1 / 500,
        "aspect": 0.75,
        "border": "window",
        "rotation": 30.0,
        "shear": 30.0,
        "jitter_probability": 0.5,
        **_COLOUR,
    },
}
