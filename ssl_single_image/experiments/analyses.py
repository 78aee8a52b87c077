"""Analysing as a function. What can be analysed is an entry of KINDS, named by `what`."""

from __future__ import annotations

import dataclasses
import functools
import os
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
from absl import logging

from ssl_single_image.errors import InputError
from ssl_single_image.experiments import analysing, invariance, landmarks
from ssl_single_image.experiments.results import Analysis, Findings
from ssl_single_image.runs import places, workdir
from ssl_single_image.schema import Section, pick

COMMAND = "analyse"
"""What `config.json` of an analysis names as its command."""
DEFAULT = "layers"
FREE = ("data_dir",)
LEAVINGS = ("*.csv", "*.png")


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of analysis.

    Attributes:
      settings: its section.
      prepare: (references, settings) -> all that it needs, checked; its `encoders` are the encoders.
      measured: what was prepared -> the numbers and the pictures.
      files: of these, name -> content, that which marks the analysis as done last.
      result: the name of that file.
      images: of the settings, what is looked at in words, for `--dry_run`.
    """

    settings: type[Section]
    prepare: Callable[..., Any]
    measured: Callable[[Any], Any]
    files: Callable[[Any], Mapping[str, str | bytes]]
    result: str
    images: Callable[[Any], str]

    @property
    def leavings(self) -> tuple[str, ...]:
        """Patterns of what an attempt that was not finished leaves."""
        return (f"{Path(self.result).stem}.*", *LEAVINGS)


def _images_of(settings: Any) -> str:
    return f"{settings.images:,} of {settings.source or settings.data}"


KINDS: dict[str, Kind] = {
    DEFAULT: Kind(
        analysing.AnalysisSettings,
        analysing.prepare,
        analysing.measured,
        analysing.files,
        analysing.RESULT,
        lambda settings: f"{settings.images:,} of {settings.data}",
    ),
    "invariance": Kind(
        invariance.InvarianceSettings,
        invariance.prepare,
        invariance.measured,
        invariance.files,
        invariance.RESULT,
        _images_of,
    ),
    "landmarks": Kind(
        landmarks.LandmarkSettings,
        landmarks.prepare,
        landmarks.measured,
        landmarks.files,
        landmarks.RESULT,
        _images_of,
    ),
}
"""`what` -> the analysis."""


References = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@typing.overload
def analyse(
    references: References, folder: str | Path | None = ..., *, what: Literal["layers"] = ..., **fields: Any
) -> Analysis: ...


@typing.overload
def analyse(
    references: References, folder: str | Path | None = ..., *, what: str, **fields: Any
) -> Findings: ...


def analyse(
    references: References, folder: str | Path | None = None, *, what: str = DEFAULT, **fields: Any
) -> Findings:
    """Looks into encoders, layer by layer, on the same images.

    `what="layers"`: filters, nearest crops, similarity and ranks.

    - The filters of conv1, as a picture.
    - For a few crops of the source image, the nearest ones by the cosine of their features. Encoders share the crops,
      which are those that training began with. Without a source, images of the labelled set stand for them.
    - Debiased linear CKA between all layers of each pair of encoders, and of each with itself (Kornblith et al. 2019,
      Nguyen et al. 2021).
    - RankMe (Garrido et al. 2023) and the effective rank of the covariance (Roy and Vetterli 2007) of each layer.

    `what="invariance"`: what layers ignore, what they follow, and which places of two pictures they match.

    - The normalised variance of each layer under one augmentation at a time, with intervals.
    - Which share of the variance lies within an image, within a class, and between classes.
    - How far a layer's map moves along with a picture that is mirrored or turned.
    - Which places a layer matches between a photograph and a warp of it, and between two photographs of one scene.

    `what="landmarks"`: how well a small regressor finds landmarks by the frozen features (Cheng et al. 2021).

    Args:
      references: encoders as `load_encoder` takes them.
      folder: gets a file of results, tables and pictures; None: nothing is written.
      what: "layers", "invariance" or "landmarks".
      **fields: of `AnalysisSettings`, `InvarianceSettings` or `LandmarkSettings`, such as `data="cifar10"`,
        `images=1000`, `layers=("conv1", "conv5")`.

    Returns:
      The numbers, as a mapping, with the pictures.

    Raises:
      InputError: a bad field, a checkpoint or an image that can't be read, weights that are not finite, too few images,
        or a folder that holds something else.
    """
    kind, settings = read(what, fields)
    made = kind.prepare(references, settings)
    if folder is None:
        return kind.measured(made)
    record = recorded(what, settings, [loaded.name for loaded in made.encoders])
    with (
        places.working(folder) as place,
        workdir.held(free_of_others(place, what), lambda: _claim(place, what, record)),
    ):
        found = kind.measured(made)
        if jax.process_index() == 0:
            for name, content in kind.files(found).items():  # each whole or not at all, the result last
                workdir.write_whole(place / name, content)
            logging.info("complete: %s", f"{folder}/{Path(kind.result).stem}.md")
    return found


def read(what: str, fields: Mapping[str, Any]) -> tuple[Kind, Any]:
    """The kind of an analysis and its settings.

    Raises:
      InputError: no such kind, or a bad field.
    """
    kind = pick(KINDS, what, "what")
    return kind, kind.settings.from_config(fields)


def recorded(what: str, settings: Section, names: Sequence[str]) -> dict[str, Any]:
    """The config of an analysis, as its folder holds it."""
    return {"command": COMMAND, "what": what} | settings.to_config() | {"checkpoint": list(names)}


def completed(what: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored config with the fields that it lacks; those of older analyses name no kind."""
    return {"what": DEFAULT} | KINDS[what].settings.completed(stored)


def free_of_others(folder: Path, what: str) -> Path:
    """The folder.

    Raises:
      InputError: it holds something else than an analysis of this kind.
    """
    there = workdir.read(folder) if (folder / workdir.CONFIG).exists() else {"command": COMMAND, "what": what}
    if there.get("command") != COMMAND:
        raise InputError(f"workdir {folder}: holds another run; give the analysis a folder of its own")
    if (before := there.get("what", DEFAULT)) != what:
        raise InputError(
            f"workdir {folder}: holds an analysis of {before}; give that of {what} a folder of its own"
        )
    return folder


def _claim(folder: Path, what: str, record: dict[str, Any]) -> None:
    """Makes the folder that of this analysis; one without results is taken over."""
    kind = KINDS[what]
    complete = functools.partial(completed, what)
    done = (folder / kind.result).exists()
    workdir.claim(folder, record, FREE, results=done, leavings=kind.leavings, complete=complete)
