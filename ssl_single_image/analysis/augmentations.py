"""The augmentations in words, and each of them alone: what the captions and the rows of sheets are made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ssl_single_image import augment
from ssl_single_image.images import Atlas

_CROPPING = (
    "size",
    "min_area",
    "max_area",
    "area_law",
    "aspect",
    "initial_crop",
    "border",
    "interpolation",
    "image_choice",
)
_JITTER = "jitter_probability"
_POSE = ("angle", "shear", "hflip", "vflip")
_FACTORS = ("brightness", "contrast", "saturation", "hue")


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """One augmentation.

    Attributes:
      field: of the spec; where it is 0 the augmentation is off.
      drawn: the part of `CropParams` that is drawn for it, "" if it is not to be told.
      neutral: its value in a crop that is not changed.
      title: what the spec makes it do, with its range.
      told: what it did to one crop, given the drawn value; "" where there is nothing to tell.
      chance: the field with the share of crops that it touches, "": all.
      others: further fields of the spec that it takes.
    """

    field: str
    drawn: str
    neutral: float | bool
    title: Callable[[augment.CropSpec], str]
    told: Callable[[float], str] = lambda value: ""
    chance: str = ""
    others: tuple[str, ...] = ()

    def on(self, spec: augment.CropSpec) -> bool:
        """Whether it touches any crop."""
        return bool(getattr(spec, self.field)) and (not self.chance or getattr(spec, self.chance) > 0)

    def heading(self, spec: augment.CropSpec) -> str:
        """Its title, and how many crops it touches if not all."""
        share = getattr(spec, self.chance) if self.chance else 1.0
        return self.title(spec) + (f", {100 * share:.3g} % of crops" if share < 1 else "")

    def alone(self, spec: augment.CropSpec) -> augment.CropSpec:
        """The spec with this and no other augmentation but cropping."""
        chance = (self.chance,) if self.chance else ()
        return cropping(spec).replace(**{f: getattr(spec, f) for f in (self.field, *chance, *self.others)})


def _factor(name: str) -> Augmentation:
    def title(spec: augment.CropSpec) -> str:
        reach = getattr(spec, name)
        return f"{name} times {1 - reach:.3g} to {1 + reach:.3g}"

    return Augmentation(name, name, 1.0, title, lambda v: f"{name} {v:.1f}", _JITTER)


AUGMENTATIONS = (
    Augmentation(
        "rotation",
        "angle",
        0.0,
        lambda spec: f"turned by up to {spec.rotation:.3g}° either way",
        lambda v: f"turned {v:.0f}°" if abs(v) >= 0.5 else "upright",
    ),
    Augmentation(
        "hflip",
        "hflip",
        False,
        lambda spec: "mirrored left to right",
        lambda v: "mirrored" if v else "",
        "hflip",
    ),
    Augmentation(
        "vflip",
        "vflip",
        False,
        lambda spec: "flipped top to bottom",
        lambda v: "flipped" if v else "",
        "vflip",
    ),
    Augmentation(
        "shear",
        "shear",
        0.0,
        lambda spec: f"sheared by up to {spec.shear:.3g}° either way",
        lambda v: f"sheared {v:.0f}°" if abs(v) >= 0.5 else "",
    ),
    _factor("brightness"),
    _factor("contrast"),
    _factor("saturation"),
    Augmentation(
        "hue",
        "hue",
        0.0,
        lambda spec: f"hue turned by up to {spec.hue:.3g} of the colour circle either way",
        lambda v: f"hue {v:+.2f}",
        _JITTER,
    ),
    Augmentation(
        "blur_probability",
        "blur_sigma",
        0.0,
        lambda spec: f"blurred over {spec.blur_sigma[0]:.3g} to {spec.blur_sigma[1]:.3g} pixels",
        lambda v: f"blur {v:.1f} px" if v else "",
        "blur_probability",
        ("blur_sigma",),
    ),
    Augmentation("noise", "", 0.0, lambda spec: f"noise of standard deviation {spec.noise:.3g}"),
)
"""In the order in which captions tell them: a new one gets a line here."""


def cropping(spec: augment.CropSpec) -> augment.CropSpec:
    """The spec with no augmentation but cropping."""
    return augment.CropSpec(**{field: getattr(spec, field) for field in _CROPPING})


def values(params: augment.CropParams) -> dict[str, Any]:
    """Everything drawn, by name."""
    others = {name: v for name, v in vars(params).items() if name not in ("geometry", "jitter", "noise_key")}
    return {**vars(params.geometry), **vars(params.jitter), **others}


def words(drawn: Mapping[str, Any], spec: augment.CropSpec, most: int | None = None) -> list[str]:
    """What was done to ONE crop, the most telling first: its area, how it lies, its colours, its shape.

    Args:
      drawn: as `values` gives, of one crop.
      spec: what it was drawn from; what this leaves alone is not told.
      most: how many words, the colours that changed most first; None: all, in an order that all crops share.
    """
    active = [one for one in AUGMENTATIONS if one.drawn and one.on(spec)]
    colours = [one for one in active if one.chance == _JITTER]
    changed = any(drawn[one.drawn] != one.neutral for one in colours)
    if most is not None:
        colours.sort(key=lambda one: -abs(drawn[one.drawn] - one.neutral) / getattr(spec, one.field))
    places = iter(colours)
    ordered = [next(places) if one in colours else one for one in active]
    told = [f"area {100 * float(drawn['area']):.2g} %"]
    told += [one.told(float(drawn[one.drawn])) for one in ordered if changed or one not in colours]
    if colours and not changed:
        told.append("true colours")
    if spec.aspect < 1:
        height, width = (float(side) for side in drawn["extent"])
        told.append(f"height/width {height / width:.2f}")
    return [text for text in told if text][:most]


def rows(spec: augment.CropSpec) -> dict[str, tuple[frozenset[str], augment.CropSpec]]:
    """Title -> what is kept of what was drawn, and the spec to render it with: cropping, each augmentation, and all."""
    active = [one for one in AUGMENTATIONS if one.on(spec)]
    found = {"cropped only": (frozenset[str](), cropping(spec))}
    found |= {one.heading(spec): (frozenset({one.drawn}), one.alone(spec)) for one in active}
    everything = frozenset(one.drawn for one in AUGMENTATIONS)
    return found | ({"all of these": (everything, spec)} if active else {})


def one_at_a_time(
    params: augment.CropParams, atlas: Atlas, spec: augment.CropSpec
) -> list[augment.CropParams]:
    """What to render in each of `rows`: the same crops, in the same windows, with the values drawn for them.

    A window is moved, and shrunk if that is not enough, where it would leave the source in one of its poses.

    Args:
      params: drawn from `spec`, with one leading axis.
      atlas: the images that they were drawn for.
      spec: whose augmentations are shown.
    """
    room = jax.vmap(lambda at: _room_for_all(at, atlas, spec))(params.geometry)
    roomy = dataclasses.replace(params, geometry=room)
    return [_keep(roomy, spec, kept) for kept, _ in rows(spec).values()]


def _keep(params: augment.CropParams, spec: augment.CropSpec, drawn: Collection[str]) -> augment.CropParams:
    """Many crops with what was drawn by these names, everything else neutral, in their windows."""
    found = values(params)
    kept = {
        one.drawn: found[one.drawn] if one.drawn in drawn else jnp.full_like(found[one.drawn], one.neutral)
        for one in AUGMENTATIONS
        if one.drawn
    }
    geometry = jax.vmap(lambda at, pose: augment.posed(at, spec, **pose))(
        params.geometry, {name: kept[name] for name in _POSE}
    )
    jitter = dataclasses.replace(params.jitter, **{name: kept[name] for name in _FACTORS})
    others = {name: value for name, value in kept.items() if name in vars(params)}
    return dataclasses.replace(params, geometry=geometry, jitter=jitter, **others)


def _room_for_all(at: augment.Geometry, atlas: Atlas, spec: augment.CropSpec) -> augment.Geometry:
    """ONE crop's window, where all poses that rows show it in lie in the source."""
    if spec.border != "inside":
        return at
    zero = jnp.zeros_like(at.angle)
    poses = [(angle, shear) for angle in (zero, at.angle) for shear in (zero, at.shear)]
    posed = [augment.posed(at, spec, angle, shear, at.hflip, at.vflip) for angle, shear in poses]
    reach = jnp.stack([jnp.abs(one.matrix).sum(axis=1) * (spec.size / 2) for one in posed]).max(axis=0)
    source = jnp.stack([atlas.height[at.image, 0], atlas.width[at.image, 0]]).astype(reach.dtype)
    shrink = jnp.minimum(1, (source / (2 * reach)).min())
    centre = jnp.clip(at.centre, reach * shrink, source - reach * shrink)
    extent = at.extent * shrink
    return dataclasses.replace(
        at, centre=centre, extent=extent, origin=centre - extent / 2, area=at.area * shrink**2
    )
