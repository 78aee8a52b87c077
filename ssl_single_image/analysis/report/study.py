"""The chapter on a study: the paper's conclusions, judged, its tables, and how each row was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssl_single_image.analysis.report import folders
from ssl_single_image.analysis.report.context import Context, Workdir
from ssl_single_image.errors import InputError

STUDY = "study.json"
FIGURE = "headline.png"
TEMPLATE = "study.html"
KEYS = ("title", "claims", "tables", "rows", "setting")


def read(one: Workdir) -> dict[str, Any]:
    """What a study found.

    Raises:
      InputError: `study.json` can't be read, or is of another version.
    """
    value: dict[str, Any] = folders.read_json(one, STUDY)
    missing = [key for key in KEYS if key not in value]
    if missing:
        raise InputError(f"{one.path / STUDY}: lacks {', '.join(missing)}; run the study's command again")
    return value


def show(context: Context, found: Sequence[tuple[Workdir, Mapping[str, Any]]]) -> dict[str, Any]:
    """A chapter with a section for each study."""
    heading = found[0][1]["title"] if len(found) == 1 else "Studies"
    return {"heading": heading, "sections": [_section(context, *pair) for pair in found]}


def _section(context: Context, one: Workdir, value: Mapping[str, Any]) -> dict[str, Any]:
    pictures = []
    path = one.path / FIGURE
    if path.exists():
        caption = "Accuracy of every layer by method; bars are the intervals of the table."
        pictures.append(context.picture(f"{one.name}-{FIGURE}", path.read_bytes(), caption))
    return {**value, "name": value["title"], "pictures": pictures}
