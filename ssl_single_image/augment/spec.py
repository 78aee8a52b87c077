"""CropSpec: how crops are made, validated when it is created."""

from __future__ import annotations

import dataclasses
import math
from typing import Annotated, Any

import jax.numpy as jnp

from ssl_single_image.schema import OneOf, Section, Within
from ssl_single_image.types import InputError

_UNIT = Within(0, 1)
_POSITIVE = Within(0, 1, "(]")
Fraction = Annotated[float, _UNIT]


@dataclasses.dataclass(frozen=True)
class CropSpec(Section):
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
        window of whole pixels is resized to floor(sqrt(2) S), and rotated and sheared there. Its central
        S x S is the crop; what falls outside the window is black.
      hflip: probability of mirroring left and right.
      vflip: probability of mirroring top and bottom.
      jitter_probability: probability of the four colour operations below, applied in random order.
      brightness: b; the factor is drawn from U(1 - b, 1 + b).
      contrast: c; the factor is drawn from U(1 - c, 1 + c).
      saturation: s; the factor is drawn from U(1 - s, 1 + s).
      hue: the shift is drawn from U(-hue, hue), in turns of the colour circle, at most 0.5.
      blur_probability: probability of a Gaussian blur.
      blur_sigma: (low, high), range of its standard deviation in pixels of the crop, drawn uniformly.
      noise: standard deviation of additive Gaussian noise, in units of the [0, 1] range; 0: off.
      interpolation: "bilinear" (four pixels of the mip level just finer than the crop) or "bicubic" (sixteen: sharper
        where crops are magnified).
      image_choice: of several sources, draw one with equal chances or in proportion to its area.
      dtype: type of the rendered pixels, "float32" or "bfloat16"; arithmetic is float32.

    Raises:
      InputError: a value of the wrong type or outside its range; names the field and the range.
    """

    TITLE = "crop"

    size: Annotated[int, Within(4, 4096)]
    min_area: Annotated[float, _POSITIVE] = 1.0
    max_area: Annotated[float, _POSITIVE] = 1.0
    area_law: Annotated[str, OneOf("uniform", "log")] = "uniform"
    aspect: Annotated[float, _POSITIVE] = 1.0
    initial_crop: Fraction = 0.0
    rotation: Annotated[float, Within(0, 180)] = 0.0
    shear: Annotated[float, Within(0, 75)] = 0.0
    border: Annotated[str, OneOf("inside", "window")] = "inside"
    hflip: Fraction = 0.0
    vflip: Fraction = 0.0
    jitter_probability: Fraction = 1.0
    brightness: Fraction = 0.0
    contrast: Fraction = 0.0
    saturation: Fraction = 0.0
    hue: Annotated[float, Within(0, 0.5)] = 0.0
    blur_probability: Fraction = 0.0
    blur_sigma: Annotated[tuple[float, float], Within(0, ends="(]")] = (0.1, 2.0)
    noise: Fraction = 0.0
    interpolation: Annotated[str, OneOf("bilinear", "bicubic")] = "bilinear"
    image_choice: Annotated[str, OneOf("uniform", "area")] = "uniform"
    dtype: Annotated[str, OneOf("float32", "bfloat16")] = "float32"

    def __post_init__(self) -> None:
        if self.initial_crop is None:  # as configs may write "off"
            object.__setattr__(self, "initial_crop", 0.0)
        super().__post_init__()

    def check(self) -> None:
        if self.max_area < self.min_area:
            raise InputError(
                f"crop.max_area = {self.max_area:g}: must be a number in [min_area, 1] = [{self.min_area:g}, 1]"
            )
        (low, high), highest = self.blur_sigma, self.size / 4
        if low > high or (self.blur_probability > 0 and high > highest):
            raise InputError(
                f"crop.blur_sigma = {self.blur_sigma}: must be two numbers (low, high) with"
                f" 0 < low <= high <= size / 4 = {highest:g}"
            )

    @classmethod
    def preset(cls, name: str, size: int) -> CropSpec:
        """A published recipe for crops of `size` pixels.

        "paper" is the specification in section 3 of the paper: crops of area fraction >= beta and aspect in
        [3/4, 4/3], rotation of up to 35 degrees with no fill visible, horizontal flips, colour jitter. The
        paper gives beta = 1e-4 and leaves open how the area is distributed. Here it is log-uniform, so that
        every scale gets its share. Here beta = 1e-3: such a window of a one-megapixel photograph still holds
        as many pixels as a 32-pixel crop. Colours are jittered in four crops of five, so that true colours
        stay part of what the network sees.

        "authors" follows the authors' published generator. It begins with an initial crop of half the shorter
        side. The area is drawn from U(1/500, 1). Rotation and shear reach 30 degrees, in a window sqrt(2) as
        large. Half of the crops are jittered. Flips are left to the objective.

        Raises:
          InputError: unknown name.
        """
        if name not in _PRESETS:
            raise InputError(f"crop preset {name!r}: must be one of {', '.join(_PRESETS)}")
        return cls(size=size, **_PRESETS[name])

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
