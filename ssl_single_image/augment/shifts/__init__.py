"""Shifted images: registry of the ways in which a labelled image can differ from those that a probe learns from.

A shift is a pure function of image, key and severity, computed on the device. Those of CIFAR-10-C have its formulas and
severities (Hendrycks & Dietterich, ICLR 2019). Occlusion, clutter and pose are our own. A new one is an entry of
the `SHIFTS` of a module here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int32, Key

from ssl_single_image.augment.shifts import blurs, colour, covers, jpeg, noise, pixelate, pose
from ssl_single_image.augment.shifts.base import SEVERITIES, Images, Pool, Shift, levels
from ssl_single_image.errors import InputError
from ssl_single_image.schema import pick

SHIFTS: dict[str, Shift] = {
    **noise.SHIFTS,
    **blurs.SHIFTS,
    **colour.SHIFTS,
    **pixelate.SHIFTS,
    **jpeg.SHIFTS,
    **covers.SHIFTS,
    **pose.SHIFTS,
}
"""Name -> shift, in the order of tables."""
FAMILIES: dict[str, tuple[str, ...]] = {
    "noise": tuple(noise.SHIFTS),
    "blur": tuple(blurs.SHIFTS),
    "colour": tuple(colour.SHIFTS),
    "resolution": (*pixelate.SHIFTS, *jpeg.SHIFTS),
    "occlusion": tuple(name for name in covers.SHIFTS if name != "clutter"),
    "clutter": ("clutter",),
    "pose": tuple(pose.SHIFTS),
}
"""Kinds of shifts, for short tables."""

__all__ = ["FAMILIES", "SEVERITIES", "SHIFTS", "Pool", "Shift", "apply", "check", "levels"]


def apply(
    names: Sequence[str],
    x: Images,
    keys: Key[Array, " B"],
    severity: Int32[Array, ""],
    *,
    number: Int32[Array, ""] | int = 0,
    label: Int32[Array, " B"] | None = None,
    pool: Pool | None = None,
) -> Images:
    """Images after one of a few shifts; a program compiled once serves all of these and every severity.

    Image b depends on x[b], keys[b], label[b], the shift, the severity and the pool alone, whatever else is in the
    batch.

    Args:
      names: of shifts; static under jit.
      x: (B, S, S, 3) float32 in [0, 1], at least as large as `check` demands.
      keys: (B,), one an image.
      severity: () int32 in [0, SEVERITIES]; 0 returns the images bit for bit.
      number: () int32, which of `names`.
      label: (B,) int32, for shifts with `pool`.
      pool: images to show parts of, for such shifts.

    Returns:
      (B, S, S, 3) float32 in [0, 1].
    """

    extra = (label, pool)

    def shifted(shift: Shift, x: Images) -> Images:
        return shift.apply(x, keys, severity, *(extra if shift.pool else ()))

    def same(x: Images) -> Images:
        return x

    branches: list[Callable[..., Images]] = [same]
    branches += [functools.partial(shifted, SHIFTS[name]) for name in names]
    chosen = jnp.where(severity > 0, jnp.asarray(number, jnp.int32) + 1, 0)
    return lax.switch(chosen, branches, x)


def check(name: str, severity: int, size: int | None = None, *, path: str = "shift") -> Shift:
    """The shift of a name.

    Args:
      name: a key of SHIFTS.
      severity: of the shift.
      size: side of the images in pixels, where it is known.
      path: of the field that names it, for messages.

    Raises:
      InputError: an unknown shift, a severity outside [0, SEVERITIES], or images too small for it.
    """
    shift = pick(SHIFTS, name, path)
    if not 0 <= severity <= SEVERITIES:
        raise InputError(f"severity = {severity}: must be a whole number in [0, {SEVERITIES}]")
    if size is not None and size < shift.smallest:
        raise InputError(
            f"{path} = {name!r}: needs images of {shift.smallest} pixels a side at least, not {size}"
        )
    return shift
