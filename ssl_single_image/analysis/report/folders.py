"""Sections on workdirs that the report knows by their files alone: their pictures, and the tables in their JSON.

Of the JSON, two forms are tables: a list of mappings, one row each, and a mapping of mappings, one row each by its
key. Whatever else it holds is left to the file.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ssl_single_image.analysis.report import provenance
from ssl_single_image.analysis.report.context import Context, Workdir
from ssl_single_image.errors import InputError

PASSED_OVER = ("cka", "config", "data", "encoder", "environment", "filters", "inputs", "nearest")
"""Keys that say how something was measured, or hold what a picture shows better."""
NAMES = ("checkpoint", "name", "row", "layer")
"""Keys that name an entry; the first that is there."""
MOST_TABLES = 24
MOST_ROWS = 200
MOST_PICTURES = 60
DEPTH = 4
Table = dict[str, Any]


def read_json(one: Workdir, name: str) -> Any:
    """What a file of a workdir holds.

    Raises:
      InputError: it can't be read as JSON, or holds no fields.
    """
    path = one.path / name
    try:
        value = json.loads(path.read_text())
        if not isinstance(value, dict):
            raise ValueError(f"it holds a {type(value).__name__}")
        return value
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: can't be read ({type(error).__name__}: {error})") from error


def show(
    context: Context,
    found: Sequence[tuple[Workdir, Any]],
    heading: str,
    tables: Callable[[Any], Iterable[Table]] | None = None,
    captions: Callable[[str, Any], str] | None = None,
) -> dict[str, Any]:
    """A chapter with a section for each folder.

    Args:
      context: of the report.
      found: folders, each with what its JSON holds.
      heading: of the chapter.
      tables: of what the JSON holds; None: `tables_in`.
      captions: (name of a picture's file without .png, what the JSON holds) -> its caption; None: `caption`.
    """
    tables = tables or tables_in
    captions = captions or (lambda stem, value: caption(stem))
    return {"heading": heading, "sections": [_section(context, *pair, tables, captions) for pair in found]}


def _section(
    context: Context,
    one: Workdir,
    value: Any,
    tables: Callable[[Any], Iterable[Table]],
    captions: Callable[[str, Any], str],
) -> dict[str, Any]:
    told = provenance.describe(context, one, again=False)
    paths = sorted(path for path in one.path.glob("*.png") if not path.name.startswith("."))
    return {
        "name": one.name,
        "facts": [*_facts(value), *told.pop("facts")],
        "tables": [table for table, _ in zip(tables(value), range(MOST_TABLES), strict=False)],
        "pictures": [
            context.picture(f"{one.name}-{path.name}", path.read_bytes(), captions(path.stem, value))
            for path in paths[:MOST_PICTURES]
        ],
        "left_out": max(0, len(paths) - MOST_PICTURES),
        "provenance": [told | {"facts": []}],
    }


def caption(stem: str) -> str:
    """A picture's caption, from the name of its file: `filters-conv1` -> `Filters conv1.`"""
    if pair := re.fullmatch(r"cka-(\d+)-(\d+)", stem):
        return f"CKA between the layers of encoders {pair[1]} and {pair[2]}."
    words = stem.replace("_", " ").replace("-", " ").strip()
    return f"{words[:1].upper()}{words[1:]}."


def _facts(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Numbers and words at the top of the JSON."""
    return [
        (name.replace("_", " "), text(each)) for name, each in value.items() if _flat(each) and each != ""
    ]


def tables_in(value: Any, title: str = "", depth: int = 0) -> Iterator[Table]:
    """Every table in a JSON value, see the top of this module.

    Yields:
      "title", "header" (names of columns) and "rows" (texts); the first column names the row.
    """
    if depth > DEPTH:
        return
    entries = _entries(value)
    if entries is not None:
        table = _table(entries, title)
        if table is not None:
            yield table
    for name, each in entries or (value.items() if isinstance(value, Mapping) else ()):
        if name not in PASSED_OVER and isinstance(each, Mapping | list):
            yield from tables_in(each, f"{title}: {name}" if title else str(name), depth + 1)


def _entries(value: Any) -> list[tuple[str, Any]] | None:
    """The rows of a table with their names; None where a value has not the form of one."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        return [(_name(each, number), each) for number, each in enumerate(value, 1)]
    if isinstance(value, Mapping) and value and all(isinstance(each, Mapping) for each in value.values()):
        return [(str(name), each) for name, each in value.items()]
    return None


def _name(entry: Mapping[str, Any], number: int) -> str:
    return next((str(entry[name]) for name in NAMES if _flat(entry.get(name))), str(number))


def _table(entries: Sequence[tuple[str, Mapping[str, Any]]], title: str) -> Table | None:
    columns = list(
        dict.fromkeys(
            name
            for row, entry in entries
            for name, each in entry.items()
            if (_flat(each) or _pair(each)) and str(each) != row and name not in PASSED_OVER
        )
    )
    if not columns:
        return None
    rows = [[row, *(text(entry.get(name)) for name in columns)] for row, entry in entries[:MOST_ROWS]]
    return {
        "title": title.replace("_", " "),
        "header": ["", *(name.replace("_", " ") for name in columns)],
        "rows": rows,
    }


def _flat(value: Any) -> bool:
    return isinstance(value, str | int | float) and len(str(value)) < 200


def _pair(value: Any) -> bool:
    """The two ends of an interval."""
    return (
        isinstance(value, list) and len(value) == 2 and all(isinstance(each, int | float) for each in value)
    )


def text(value: Any) -> str:
    """A value in a cell; numbers with four significant digits, intervals as `1.2 to 3.4`, "" for what has no place."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else ""
    if isinstance(value, int):
        return f"{value:,}"
    if _pair(value):
        return f"{text(value[0])} to {text(value[1])}"
    return value if isinstance(value, str) else ""
