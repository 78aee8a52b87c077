"""Sections on what `analyse --what invariance` and `--what landmarks` found: their tables, and how to read pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ssl_single_image.analysis.invariance import landmark_tables
from ssl_single_image.analysis.invariance import tables as invariance_tables
from ssl_single_image.analysis.report import folders
from ssl_single_image.analysis.report.context import Workdir
from ssl_single_image.errors import InputError

CAPTIONS = {
    "invariance": "How much each augmentation changes each layer, as a share of what another image changes. Dark rows"
    " and columns are ignored augmentations. A layer that grows darker than the pixels has learnt to ignore it.",
    "shares": "Where the variance of features lies when all augmentations are at work. The less of it lies within an"
    " image, the more the views of one image agree. The more lies between classes, the better classes are told apart.",
    "equivariance": "Whether a layer's map is mirrored or turned along with its picture. The upper rows move the places"
    " of the map alone. The lower ones also fit a map of channels, on other images. 0 is exact, and 1 is no better than"
    " a constant.",
    "correspondence": "Which share of places a layer finds again in a warped photograph, and in a photograph of the"
    " same scene from another place. Grey lines: answering with the same place, and chance.",
    "landmarks": "Mean error of landmarks that a small regressor finds by frozen features, with 95 % intervals: all"
    " layers stacked, and each layer alone. The dotted line always answers with the mean of the training landmarks.",
}
NUMBERED = {
    "warps": "Matches of {}, by its best layer: left a warp of the photograph on the right. Green lines end at the"
    " right place. Orange ones end where the layer looks instead.",
    "stereo": "Matches of {}, by its best layer, between two photographs of one scene. Green lines end at the right"
    " place. Orange ones end where the layer looks instead. Points that are hidden in one photograph are left out.",
    "landmarks": "Test pictures with landmarks found by the hypercolumns of {}: white is the truth, and a line leads to"
    " what was found.",
}


def read(one: Workdir, name: str) -> Any:
    """What the file of results holds.

    Raises:
      InputError: it can't be read, or lacks what its tables are made of.
    """
    value = folders.read_json(one, name)
    try:
        list(tables(value) if "levels" in value else landmarks(value))
    except (KeyError, TypeError, AttributeError, ValueError, StopIteration) as error:
        raise InputError(
            f"{one.path / name}: damaged ({type(error).__name__}: {error}); analyse again"
        ) from error
    return value


def tables(value: Mapping[str, Any]) -> Iterable[folders.Table]:
    """The tables of an analysis of invariance."""
    return map(_plain, invariance_tables.tables(value))


def landmarks(value: Mapping[str, Any]) -> Iterable[folders.Table]:
    """The tables of a regression of landmarks."""
    return map(_plain, landmark_tables.tables(value))


def caption(stem: str, value: Mapping[str, Any]) -> str:
    """What a picture shows and how it is read; `stem` is the name of its file without .png."""
    numbered = re.fullmatch(r"(\w+)-(\d+)", stem)
    if numbered and numbered[1] in NUMBERED and int(numbered[2]) <= len(value["encoders"]):
        return NUMBERED[numbered[1]].format(value["encoders"][int(numbered[2]) - 1]["checkpoint"])
    return CAPTIONS.get(stem) or folders.caption(stem)


def _plain(table: invariance_tables.Table) -> folders.Table:
    """Without the marks of Markdown; the page puts a colon behind titles."""
    rows = [[text.strip("`") for text in row] for row in table.rows]
    return {"title": table.title.replace("`", "").rstrip(":"), "header": table.header, "rows": rows}
