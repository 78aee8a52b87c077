"""What a report needs of `probe.json`, and what it refuses in it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import measured
from ssl_single_image.errors import InputError

NUMBER = (int, float)
FIELDS: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "protocol": str,
    "chance": NUMBER,
    "test_images": int,
    "classes": int,
    "results": list,
}
OPTIONAL: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "measure": str,
    "title": str,
    "setting": str,
    "config": dict,
    "data": dict,
}
RESULT_FIELDS: dict[str, type | tuple[type, ...]] = {
    "checkpoint": str,
    "step": int,
    "backbone": str,
    "layers": dict,
}
"""What a report needs of `probe.json`, and of each of its results."""


def read_probe(path: Path) -> dict[str, Any]:
    """The results in a `probe.json`.

    Raises:
      InputError: it can't be read, lacks something, or holds what is no number that it could have measured.
    """
    try:
        probe = json.loads(path.read_text())
        _fields(probe, FIELDS)
        _fields(probe, OPTIONAL, needed=False)
        _classes(probe.get("data", {}).get("classes", []))
        for result in probe["results"]:
            _result(result, _measure(probe))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({type(error).__name__}: {error})") from error
    return probe


def _measure(probe: Mapping[str, Any]) -> measured.Measure:
    name = measured.name(probe)
    if name not in measured.MEASURES:
        raise ValueError(f"measure is {name!r}")
    return measured.of(probe)


def _result(result: Mapping[str, Any], measure: measured.Measure) -> None:
    _fields(result, RESULT_FIELDS)
    if "crops" in result:
        expect(result["crops"], int, "crops")
    for values in result["layers"].values():
        for field in (measure.main, measure.second, "features"):
            expect(values[field], NUMBER, field)
        _measured(values)
        for setting in values.get("settings", {}).values():
            for field in (measure.main, measure.second):
                expect(setting[field], NUMBER, field)
            _measured(setting)
    for gain in result.get("gains", {}).values():
        expect(gain["points"], NUMBER, "points")
        _interval(gain["interval"], "interval of a gain")


def _measured(values: Mapping[str, Any]) -> None:
    """What newer probes record of a layer, where it is there."""
    for field in ("interval", "over_repeats", "mCE_interval", "relative_mCE_interval"):
        if field in values:
            _interval(values[field], field)
    for field in ("shifts", "retrained"):
        for by_severity in values.get(field, {}).values():
            for one in by_severity.values():
                expect(one["top1"], NUMBER, f"{field}.top1")
    for field in ("mCE", "relative_mCE"):
        if values.get(field) is not None:
            expect(values[field], NUMBER, field)
    for value in values.get("per_class", []):
        if value is not None:
            expect(value, NUMBER, "per_class")


def _interval(ends: Any, field: str) -> None:
    if not isinstance(ends, list) or len(ends) != 2:
        raise ValueError(f"{field} is {ends!r}")
    for end in ends:
        expect(end, NUMBER, field)


def _classes(names: Any) -> None:
    expect(names, list, "data.classes")
    for name in names:
        expect(name, str, "data.classes")


def _fields(
    values: Mapping[str, Any], fields: Mapping[str, type | tuple[type, ...]], needed: bool = True
) -> None:
    for field, kind in fields.items():
        if needed or field in values:
            expect(values[field], kind, field)


def expect(value: Any, kind: type | tuple[type, ...], field: str) -> None:
    """Refuses a value of another kind, and numbers that are not finite.

    Raises:
      ValueError: names the field.
    """
    infinite = isinstance(value, float) and not math.isfinite(value)
    if not isinstance(value, kind) or isinstance(value, bool) or infinite:
        raise ValueError(f"{field} is {value!r}")
