"""Rows of the paper's tables, by which studies are put together: methods, images, augmentations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from ssl_single_image.augment import CropSpec
from ssl_single_image.experiments.study_settings import RowSpec

Methods = Mapping[str, Mapping[str, Any]]
"""Name of a method -> what all its rows share."""
AT_32: Methods = {
    "rotnet": {"method": "RotNet", "pretrain": "rotnet", "untrained": ("random",)},
    "deepcluster": {"method": "DeepCluster", "pretrain": "deepcluster", "untrained": ("random",)},
    "bigan": {
        "method": "BiGAN",
        "pretrain": "bigan",
        "encoders": ("discriminator", ""),
        "untrained": ("random-leaky", "random-dcgan"),
        "frozen": "discriminator",
    },
}
AT_224: Methods = {
    name: {"method": method, "pretrain": f"{name}:preset=imagenet224", "untrained": (f"random-{name}",)}
    for name, method in {"rotnet": "RotNet", "deepcluster": "DeepCluster", "bigan": "BiGAN"}.items()
}
IMAGES = {
    "a": "image A",
    "b": "image B",
    "ten": "ten photographs",
    "thousand": "1,000 images",
    "all": "all training images, unlabelled",
    "astronaut": "a photograph of an astronaut",
}
"""Name of a source -> what tables call it."""
TEN = "builtin:astronaut+camera+chelsea+clock+coffee+coins+hubble+motorcycle_left+retina+rocket"
"""One picture of each scene, most of them of things."""
SYNTHETIC = {
    "leaves": ("dead leaves", "synthetic:dead_leaves@0"),
    "pink": ("1/f noise", "synthetic:pink_noise@0"),
    "white": ("white noise", "synthetic:white_noise@0"),
    "fractal": ("a fractal", "synthetic:fractal@0"),
}
"""Name -> what tables call an image that no camera took, and its source."""
PARTS: dict[str, dict[str, Any]] = {
    "scale": {"min_area": 1e-3, "area_law": "log", "aspect": 0.75},
    "rotation": {"rotation": 35.0},
    "jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "jitter_probability": 0.8},
}
"""The three augmentations of the paper's ablation, as fields of the crop."""
EXTRA: dict[str, dict[str, Any]] = {
    "blur": {"blur_probability": 0.5, "blur_sigma": (0.1, 2.0)},
    "shear": {"shear": 30.0},
    "noise": {"noise": 0.05},
}
"""What is added to all three."""
WHOLE = "-".join(PARTS)
SMALLEST = {"ten": 0.005, "thousand": 0.1, "all": 0.25}
"""Source of small images -> the smallest window as a fraction of their area; others would hold a few pixels only."""


Views = Mapping[str, int]
"""Method -> images that pass through the encoder, see `RowSpec.views`."""


def methods(of: Methods, source: str, views: Views, **more: Any) -> list[dict[str, Any]]:
    """A row for each method, trained on a source; `more` holds further fields of `RowSpec`."""
    fields = {"crop.min_area": SMALLEST[source]} if source in SMALLEST else {}
    images = IMAGES.get(source) or SYNTHETIC[source][0]
    shared: dict[str, Any] = {"images": images, "source": source, "fields": fields, **more}
    return [row(f"{name}-{source}", **of[name], views=views[name], **shared) for name in of]


def longer(of: Methods, source: str, views: Views) -> list[dict[str, Any]]:
    """The rows of `methods` once more, trained longer."""
    made = methods(of, source, views, tables=("long",))
    return [{**one, "name": f"{one['name']}-long"} for one in made]


def ablation(of: Methods, size: int, views: Views) -> list[dict[str, Any]]:
    """Rows of the augmentation table: image B with every subset of the three, and with one more beside them.

    Half of all crops are flipped in every row. Without scale, a crop shows all of the image that fits into a square.
    """
    subsets = [parts for count in range(4) for parts in itertools.combinations(PARTS, count)]
    named = [("-".join(parts) or "none", _joined(parts)) for parts in subsets]
    named += [(f"{WHOLE}-{name}", _joined(PARTS) | added) for name, added in EXTRA.items()]
    rows = []
    for (label, augmentations), name in itertools.product(named, of):
        crop = CropSpec(size, hflip=0.5, **augmentations).to_config()
        made = {
            **of[name],
            "tables": ("augmentation", "pixels", "synthetic") if label == WHOLE else ("augmentation",),
            "images": f"image B: {label.replace('-', ' + ')}",
            "source": "b",
            "views": views[name],
            "fields": {f"crop.{field}": value for field, value in crop.items()},
        }
        rows.append(row(f"{name}-b-{label}", **made))
    return rows


def pixels(of: Methods, views: Views) -> list[dict[str, Any]]:
    """Image B with its side divided by two, four and eight."""
    return [
        row(
            f"{name}-b-{part}",
            **of[name],
            tables=("pixels",),
            images=f"image B at 1/{shrink} of its side",
            source="b",
            views=views[name],
            fields={"shrink": shrink},
        )
        for part, shrink in {"half": 2, "quarter": 4, "eighth": 8}.items()
        for name in of
    ]


def untrained(names: Mapping[str, tuple[str, str]], **more: Any) -> list[dict[str, Any]]:
    """Rows of untrained networks: name -> what tables call it, and its backbone with options."""
    shared: dict[str, Any] = {"images": "none", **more}
    return [
        row(name, method=method, reference=f"random:{backbone}@{{seed}}", **shared)
        for name, (method, backbone) in names.items()
    ]


def baselines(backbone: str, **more: Any) -> list[dict[str, Any]]:
    """Rows of k-means initialisation from image B, and of the scattering transform."""
    clusters = f"kmeans:{backbone},source={{source}}@{{seed}}"
    of_b: dict[str, Any] = {"images": IMAGES["b"], "source": "b", "reference": clusters}
    return [
        row("kmeans-b", method="k-means initialisation", **of_b, **more),
        row("scattering", method="scattering", images="none", reference="scattering", **more),
    ]


def _joined(parts: Iterable[str]) -> dict[str, Any]:
    return {field: value for part in parts for field, value in PARTS[part].items()}


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A row, checked, as a mapping."""
    return RowSpec(name=name, **fields).to_config()
