"""Every field of every config, given every kind of wrong value, is refused by one line that names it."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from ssl_single_image import augment, models, objectives, schema
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, pretrain_config, probe_config
from ssl_single_image.experiments.settings import PretrainConfig
from ssl_single_image.probes import KINDS, ProbeConfig
from ssl_single_image.training.optim import Optimizer

HOSTILE: dict[Any, tuple[Any, ...]] = {
    int: (None, "", "x", 1.5, math.nan, math.inf, True, [], {}, -(10**30), 10**30),
    float: (None, "", "x", math.nan, math.inf, -math.inf, True, [], {}, "nan"),
    bool: (None, "", "yes", 0, 1, 1.0, [], {}),
    str: (None, 0, 1.5, True, [], {}, b"x"),
}
"""Type of a field -> values that no field of this type takes, whatever its range."""
NO_TUPLES: tuple[Any, ...] = (None, 3, "abc", {}, (None,), ("x", "y"), (math.nan, 1.0))
"""Values that no field of several numbers takes."""
SECTIONS: dict[str, tuple[type[schema.Section], str]] = {
    "pretrain": (PretrainConfig, ""),
    "probe": (ProbeConfig, ""),
    "crop": (augment.CropSpec, "crop"),
    "optimizer": (Optimizer, "optimizer"),
    **{f"backbone {name}": (b.options, "backbone_options") for name, b in models.BACKBONES.items()},
    **{f"objective {name}": (o.options, "objective_options") for name, o in objectives.OBJECTIVES.items()},
    **{f"kind {name}": (kind.options, "options") for name, kind in KINDS.items()},
}


def bad_values(section: type[schema.Section]) -> Iterator[tuple[str, Any]]:
    """(field, value): hostile ones of another type, those just outside a range, unknown names."""
    hints = typing.get_type_hints(section, include_extras=True)
    for field in dataclasses.fields(section):
        kind: Any = hints[field.name]
        rules: list[schema.Rule] = []
        if typing.get_origin(kind) is typing.Annotated:
            kind, rules = (
                kind.__origin__,
                [rule for rule in kind.__metadata__ if isinstance(rule, schema.Rule)],
            )
        yield from ((field.name, value) for value in HOSTILE.get(kind, ()))
        several = typing.get_origin(kind) is tuple
        if several:
            yield from ((field.name, value) for value in NO_TUPLES)
        for value in (value for rule in rules for value in outside(rule)):
            yield field.name, (value,) * 2 if several else value


def outside(rule: schema.Rule) -> Iterator[Any]:
    if isinstance(rule, schema.OneOf):
        yield from ("nothing of the kind", f"{rule.values[0]} ")
    else:
        if rule.low > -math.inf:
            yield rule.low - 1
            if rule.ends[0] == "(":
                yield rule.low
        if rule.high < math.inf:
            yield rule.high + 1
            if rule.ends[1] == ")":
                yield rule.high


LEGAL = [("crop", "initial_crop", None), ("probe", "layers", ("x", "y"))]
"""None switches the initial crop off. Which layers there are, only the encoders know."""
CASES = [
    (name, *case)
    for name, (section, _) in SECTIONS.items()
    for case in bad_values(section)
    if (name, *case) not in LEGAL
]


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 400


@pytest.fixture(scope="module")
def whole() -> dict[str, dict[str, Any]]:
    """Configs that are right, to be spoilt in one field."""
    return {
        "pretrain": configs.read("pretrain", pretrain_config("rotnet", preset="demo")).to_config(),
        "probe": configs.read("probe", probe_config("photos")).to_config(),
    }


@pytest.mark.parametrize("name", SECTIONS)
def test_a_wrong_value_is_refused_by_one_line(name: str, whole: dict[str, dict[str, Any]]) -> None:
    _, place = SECTIONS[name]
    kind = "probe" if name.partition(" ")[0] in ("probe", "kind") else "pretrain"
    for _, field, value in (case for case in CASES if case[0] == name):
        config = dict(whole[kind])
        if name.startswith(("backbone ", "objective ")):
            what, chosen = name.split()
            config |= {what: chosen, f"{what}_options": {field: value}}
            config["crop"] = config["crop"] | {"size": 224}
            config |= {"dataset": "photos"} if chosen == "supervised" else {}
        elif name.startswith("kind "):
            config |= {"kind": name.split()[1], place: {field: value}}
        elif place:
            config[place] = config[place] | {field: value}
        else:
            config[field] = value
        with pytest.raises(InputError) as caught:
            configs.read(kind, config)
        message = str(caught.value)
        assert "\n" not in message
        assert field in message, (field, value, message)
