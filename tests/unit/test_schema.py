"""Sections: what a field accepts, what its refusal says, and how a section travels."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any

import numpy as np
import pytest

from ssl_single_image.errors import InputError
from ssl_single_image.schema import OneOf, Section, Within, suggestion


@dataclasses.dataclass(frozen=True)
class Inner(Section):
    TITLE = "inner"
    RENAMED = {"width": "variant"}  # noqa: RUF012 (annotated by the base class)

    variant: Annotated[str, OneOf("small", "large")] = "small"
    on: bool = False


@dataclasses.dataclass(frozen=True)
class Outer(Section):
    steps: Annotated[int, Within(1, 10)]
    rate: Annotated[float, Within(0, 1, "(]")] = 0.5
    least: Annotated[float, Within(0)] = 0.0
    pair: Annotated[tuple[float, float], Within(0, 1)] = (0.0, 1.0)
    many: Annotated[tuple[int, ...], Within(0, 5)] = ()
    name: str = "a"
    inner: Inner = Inner()

    def check(self) -> None:
        if self.rate > self.steps:
            raise InputError("rate: above steps")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps = 0: must be a whole number in [1, 10]"),
        ({"steps": 2.0}, "steps = 2.0: must be a whole number in [1, 10]"),
        ({"steps": True}, "steps = True: must be a whole number in [1, 10]"),
        ({"steps": None}, "steps = None: must be a whole number in [1, 10]"),
        ({"rate": 0}, "rate = 0: must be a number in (0, 1]"),
        ({"rate": float("nan")}, "rate = nan: must be a number in (0, 1]"),
        ({"rate": "1"}, "rate = '1': must be a number in (0, 1]"),
        ({"least": -1}, "least = -1: must be a number, at least 0"),
        ({"pair": (0.5,)}, "pair = (0.5,): must be 2 values, each a number in [0, 1]"),
        ({"pair": (0.5, 2)}, "pair[1] = 2: must be a number in [0, 1]"),
        ({"many": 3}, "many = 3: must be a tuple, each a whole number in [0, 5]"),
        ({"many": (1, 6)}, "many[1] = 6: must be a whole number in [0, 5]"),
        ({"name": 3}, "name = 3: must be a text"),
        ({"inner": 3}, "inner = 3: must be a mapping of fields"),
        ({"inner": {"variant": "wide"}}, "inner.variant = 'wide': must be one of small, large"),
        ({"inner": {"on": 1}}, "inner.on = 1: must be True or False"),
        ({"inner": {"variants": "small"}}, "inner.variants: no such field; did you mean variant?"),
        ({"step": 3}, "step: no such field; did you mean steps?"),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_what_is_legal(fields, message):
    with pytest.raises(InputError) as caught:
        Outer.from_config({"steps": 3} | fields)
    assert str(caught.value) == message


def test_a_field_without_a_default_must_be_given():
    with pytest.raises(InputError, match="steps: missing"):
        Outer.from_config({})


def test_values_take_the_types_of_their_fields():
    values: dict[str, Any] = {
        "steps": np.int32(3),
        "pair": [0, np.float32(1)],
        "many": [1, 2],
        "inner": {"width": "large"},
    }
    outer = Outer(rate=1, **values)
    assert (outer.steps, type(outer.steps)) == (3, int)
    assert (outer.rate, type(outer.rate)) == (1.0, float)
    assert outer.pair == (0.0, 1.0)
    assert outer.many == (1, 2)
    assert outer.inner == Inner(variant="large")


def test_a_section_travels_through_json_and_can_be_hashed():
    outer = Outer(steps=3, pair=(0.25, 0.5), inner=Inner(on=True))
    again = Outer.from_config(json.loads(json.dumps(outer.to_config())))
    assert again == outer
    assert hash(again) == hash(outer)


def test_changes_are_checked_too():
    with pytest.raises(InputError, match="steps = 11"):
        Outer(steps=3).replace(steps=11)
    assert Outer(steps=3).replace(rate=0.25).rate == 0.25


def test_suggestions_find_what_was_meant_or_list_what_there_is():
    known = ["crop.aspect", "crop.size", "steps"]
    assert suggestion("aspect", known) == "; did you mean crop.aspect?"
    assert suggestion("stepz", known) == "; did you mean steps?"
    assert suggestion("zzz", known) == "; there are crop.aspect, crop.size, steps"
    assert suggestion("zzz", []) == "; there are none"
