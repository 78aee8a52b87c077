"""Fields of a config as a table that fits the terminal: what `--print_config` and `--help` show."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable

from tabulate import tabulate

from ssl_single_image.schema import Section, describe

GAP = 2
"""Blanks between two columns."""
NARROWEST = 16


def whole(config: Section) -> str:
    """Every field with its value, its meaning and its legal values."""
    rows = [(f.name, _shown(f.value), f"{f.meaning}\nLegal: {f.legal}") for f in describe(config)]
    return table(rows, ("field", "value", "meaning"))


def short(config: Section) -> str:
    """Every field with its value and the first sentence of its meaning."""
    rows = [(f.name, _shown(f.value), f.meaning.partition(". ")[0].rstrip(".")) for f in describe(config)]
    return table(rows, ("field", "value", "meaning"))


def table(rows: Iterable[tuple[str, str, str]], headers: tuple[str, str, str]) -> str:
    """Three columns; the second and third are wrapped so that lines fit the terminal (COLUMNS, if that is set)."""
    rows, width = list(rows), shutil.get_terminal_size().columns
    first, second = (max(len(row[i]) for row in [headers, *rows]) for i in (0, 1))
    second = min(second, max(NARROWEST, width // 5))
    third = max(NARROWEST, width - first - second - 2 * GAP)
    # Not by tabulate's `maxcolwidths`, which takes the text "False" for a boolean and shows True.
    wrapped = [(name, _wrapped(value, second), _wrapped(meaning, third)) for name, value, meaning in rows]
    return tabulate(wrapped, headers, disable_numparse=True)


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.fill(line, width) for line in text.splitlines())


def _shown(value: object) -> str:
    return str(value) if value != "" else "''"
