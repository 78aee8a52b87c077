"""Whether source images are large enough for the crops asked of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ssl_single_image.augment.spec import CropSpec
from ssl_single_image.types import InputError

_MIN_WINDOW = 4.0


def check_source(
    spec: CropSpec, shapes: Sequence[tuple[int, ...]], names: Sequence[str] | None = None
) -> None:
    """Refuses images that the spec's geometry can't be drawn from.

    An image must give its smallest window at least 4 pixels, and must hold that window at every aspect, angle
    and shear of the spec.

    Args:
      spec: how crops are made.
      shapes: (H, W) or (H, W, 3) of each image.
      names: what to call them in errors.

    Raises:
      InputError: names the image, its size, and what it lacks.
    """
    box = _largest_box(spec)
    for i, (height, width) in enumerate(shape[:2] for shape in shapes):
        region = _region(spec, height, width)
        area = spec.min_area * region[0] * region[1]
        what = f"{names[i] if names else f'image {i}'} ({height} x {width} pixels)"
        if area < _MIN_WINDOW:
            grow = math.sqrt(_MIN_WINDOW / max(area, 1e-9))
            enough = _rounded_up(_MIN_WINDOW / (region[0] * region[1])) if region[0] * region[1] else math.inf
            instead = f", or set min_area to {enough:g} or more" if enough <= 1 else ""
            raise InputError(
                f"{what}: too small for min_area = {spec.min_area:g}, whose smallest window would hold"
                f" {area:.2g} pixels, not {_MIN_WINDOW:g}; give an image of at least"
                f" {math.ceil(height * grow)} x {math.ceil(width * grow)}{instead}"
            )
        if spec.min_area < 1 and math.sqrt(area) * box > min(region):
            raise InputError(
                f"{what}: too narrow for windows of min_area = {spec.min_area:g}, aspect {spec.aspect:g},"
                f" rotation {spec.rotation:g} and shear {spec.shear:g}, which need"
                f" {math.ceil(math.sqrt(area) * box)} pixels a side; lower one of these"
            )


def _rounded_up(value: float) -> float:
    """To two digits."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit) * unit:.3g}")


def _region(spec: CropSpec, height: int, width: int) -> tuple[float, float]:
    """Size of the part of the image that windows are drawn from."""
    if not spec.initial_crop:
        return height, width
    side = spec.initial_crop * min(height, width)
    return (side, side) if spec.border == "inside" else (math.floor(side), math.floor(side))


def _largest_box(spec: CropSpec) -> float:
    """Longest side of the bounding box of a window of area 1, over all aspects, angles and shears."""
    stretch = 1 / math.sqrt(spec.aspect)
    if spec.border == "window":
        return stretch
    angles = [math.radians(spec.rotation * k / 64) for k in range(-64, 65)]
    shears = [math.tan(math.radians(shear)) for shear in (-spec.shear, 0, spec.shear)]
    longest = 0.0
    for angle, tan, h in itertools.product(angles, shears, (stretch, 1 / stretch)):
        cos, sin = math.cos(angle), math.sin(angle)
        vertical = abs(cos) * h + abs(sin) / h
        horizontal = abs(cos * tan + sin) * h + abs(cos - sin * tan) / h
        longest = max(longest, vertical, horizontal)
    return longest
