"""CropSpec: what it refuses, how it travels, what the presets are."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ssl_single_image.augment import CropSpec
from ssl_single_image.types import InputError

BAD: list[tuple[dict[str, Any], str]] = [
    ({"size": 3}, r"crop.size = 3: must be a whole number in \[4, 4096\]"),
    ({"size": 32.0}, "size = 32.0: must be a whole number"),
    ({"size": True}, "size = True"),
    ({"min_area": 0}, r"min_area = 0: .*\(0, 1\]"),
    ({"min_area": 0.5, "max_area": 0.4}, r"max_area = 0.4: must be a number in \[min_area, 1\] = \[0.5, 1\]"),
    ({"max_area": 1.5}, r"max_area = 1.5: .*\(0, 1\]"),
    ({"aspect": 0.0}, r"aspect = 0.0: .*\(0, 1\]"),
    ({"aspect": 1.25}, "aspect = 1.25"),
    ({"aspect": "wide"}, "aspect = 'wide'"),
    ({"initial_crop": -0.1}, r"initial_crop = -0.1: .*\[0, 1\]"),
    ({"rotation": 181}, r"rotation = 181: .*\[0, 180\]"),
    ({"rotation": float("nan")}, "rotation = nan"),
    ({"shear": 80}, r"shear = 80: .*\[0, 75\]"),
    ({"hflip": 2}, "hflip = 2"),
    ({"vflip": True}, "vflip = True"),
    ({"hue": 0.6}, r"hue = 0.6: .*\[0, 0.5\]"),
    ({"brightness": -1}, "brightness = -1"),
    ({"noise": -0.1}, "noise = -0.1"),
    ({"blur_probability": 0.5, "blur_sigma": (-1, 2)}, r"blur_sigma\[0\] = -1: must be a number above 0"),
    ({"blur_probability": 0.5, "blur_sigma": (2, 1)}, "blur_sigma"),
    ({"blur_probability": 0.5, "blur_sigma": (1, 9)}, "size / 4 = 8"),
    ({"blur_sigma": 2.0}, "blur_sigma = 2.0: must be 2 values"),
    ({"area_law": "cubic"}, "area_law = 'cubic': must be one of uniform, log"),
    ({"border": "reflect"}, "inside, window"),
    ({"interpolation": "nearest"}, "bilinear, bicubic"),
    ({"image_choice": "first"}, "uniform, area"),
    ({"dtype": "float16"}, "float32, bfloat16"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_values_name_field_and_range(change: dict[str, Any], message: str) -> None:
    for build in (lambda values: CropSpec(**values), CropSpec.from_config):
        with pytest.raises(InputError, match=message) as caught:
            build({"size": 32, **change})
        assert "\n" not in str(caught.value)


def test_unknown_and_missing_fields() -> None:
    with pytest.raises(InputError, match="rotatoin: no such field; did you mean rotation"):
        CropSpec.from_config({"size": 32, "rotatoin": 3})
    with pytest.raises(InputError, match="size: missing"):
        CropSpec.from_config({"rotation": 3})
    with pytest.raises(InputError, match="paper, authors"):
        CropSpec.preset("papers", 32)


@pytest.mark.parametrize("name", ["paper", "authors"])
def test_config_round_trip_through_json(name: str) -> None:
    spec = CropSpec.preset(name, 32).replace(blur_sigma=(0.5, 1), blur_probability=0.25, rotation=7)
    assert CropSpec.from_config(json.loads(json.dumps(spec.to_config()))) == spec
    assert hash(spec) == hash(CropSpec.from_config(spec.to_config()))


def test_none_switches_the_initial_crop_off() -> None:
    assert CropSpec(size=32, initial_crop=None) == CropSpec(size=32)  # type: ignore[arg-type]


def test_presets_hold_the_published_figures() -> None:
    paper, authors = CropSpec.preset("paper", 32), CropSpec.preset("authors", 224)
    assert (paper.aspect, paper.rotation, paper.shear, paper.hflip, paper.border) == (
        0.75,
        35,
        0,
        0.5,
        "inside",
    )
    assert (authors.initial_crop, authors.min_area, authors.max_area) == (0.5, 0.002, 1)
    assert (authors.area_law, authors.aspect, authors.rotation, authors.shear) == ("uniform", 0.75, 30, 30)
    assert (authors.hflip, authors.jitter_probability, authors.border) == (0, 0.5, "window")
    assert authors.frame == 316
    for spec in (paper, authors):
        assert (spec.brightness, spec.contrast, spec.saturation, spec.hue) == (0.4, 0.4, 0.4, 0.1)


def test_defaults_are_off() -> None:
    spec = CropSpec(size=32)
    assert not spec.jitters
    off = ("rotation", "shear", "hflip", "vflip", "noise", "blur_probability", "initial_crop")
    assert all(getattr(spec, field) == 0 for field in off)
    assert (spec.min_area, spec.max_area, spec.aspect) == (1, 1, 1)
