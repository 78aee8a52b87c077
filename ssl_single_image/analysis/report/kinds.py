"""The kinds of workdirs that a report shows, and how one is told from another: by the file that marks it.

A new kind is a module with `read` and `show`, an entry of KINDS, and a template where no other fits.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis.report import folders, invariance, pretraining, probes, study
from ssl_single_image.analysis.report.context import Context, Workdir
from ssl_single_image.errors import InputError
from ssl_single_image.runs import workdir

ANALYSIS, FINETUNED = "analysis.json", "finetune.json"
INVARIANCE, LANDMARKS = "invariance.json", "landmarks.json"
Found = Sequence[tuple[Workdir, Any]]
"""Workdirs of one kind, each with what was read of it."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of workdir.

    Attributes:
      is_one: whether a folder is of this kind, by the files in it and its config.
      read: what is shown of a workdir; raises InputError where that is not there yet, or damaged.
      show: the content of the chapter on all workdirs of the kind, for the template.
      template: a file of `templates/`.
    """

    is_one: Callable[[Workdir], bool]
    read: Callable[[Workdir], Any]
    show: Callable[[Context, Found], dict[str, Any]]
    template: str = "folders.html"


def _marked(name: str) -> Callable[[Workdir], bool]:
    return lambda one: (one.path / name).exists()


def _json(name: str, heading: str) -> Kind:
    """A kind that is known by a JSON file, and shown by its tables and pictures."""
    return Kind(
        _marked(name),
        lambda one: folders.read_json(one, name),
        functools.partial(folders.show, heading=heading),
    )


def _is_pictures(one: Workdir) -> bool:
    """Pictures with a record of the same name beside each, as style transfer leaves them."""
    return not one.config and any(path.with_suffix(".json").exists() for path in one.path.glob("*.png"))


KINDS: dict[str, Kind] = {
    "study": Kind(_marked(study.STUDY), study.read, study.show, study.TEMPLATE),
    "probe": Kind(_marked(probes.PROBE), probes.read, probes.show, probes.TEMPLATE),
    "pretrain": Kind(lambda one: bool(one.objective), pretraining.read, pretraining.show, "runs.html"),
    "analyse": _json(ANALYSIS, "Analyses"),
    "invariance": Kind(
        _marked(INVARIANCE),
        lambda one: invariance.read(one, INVARIANCE),
        functools.partial(
            folders.show, heading="Invariance", tables=invariance.tables, captions=invariance.caption
        ),
    ),
    "landmarks": Kind(
        _marked(LANDMARKS),
        lambda one: invariance.read(one, LANDMARKS),
        functools.partial(
            folders.show, heading="Landmarks", tables=invariance.landmarks, captions=invariance.caption
        ),
    ),
    "finetune": _json(FINETUNED, "Fine-tuning"),
    "stylize": Kind(_is_pictures, lambda one: {}, functools.partial(folders.show, heading="Pictures")),
}
"""Name -> kind, in the order of the page. The first of RECOGNISED that fits is taken."""
RECOGNISED = ("study", "probe", "analyse", "invariance", "landmarks", "finetune", "pretrain", "stylize")
"""The order in which a folder is asked what it is: by a file of results first."""


def recognise(one: Workdir) -> str:
    """The name of a workdir's kind.

    Raises:
      InputError: it is none of them, or not complete.
    """
    for name in RECOGNISED:
        if KINDS[name].is_one(one):
            return name
    if not (one.path / workdir.CONFIG).exists():
        raise InputError(
            f"{one.path}: neither a workdir of pretrain nor of probe (no {workdir.CONFIG} in it), nor of"
            f" {', '.join(name for name in KINDS if name not in ('pretrain', 'probe'))}"
        )
    raise InputError(f"{one.path}: a probe that is not complete (no {probes.PROBE}); run it again")


def open_workdir(path: Path, name: str) -> Workdir:
    """A folder with its config.

    Raises:
      InputError: there is no such folder, or its config.json can't be read.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; report takes workdirs of {', '.join(KINDS)}")
    config = workdir.read(path) if (path / workdir.CONFIG).exists() else {}
    return Workdir(path, name, config)
