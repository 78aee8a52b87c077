"""The layout of this package's own exports, and the note in them that says what network it is.

Names are those of this package's modules with PyTorch's endings, as "conv1.weight" and "bn1.running_mean", and shapes
are PyTorch's.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from ssl_single_image import models
from ssl_single_image.errors import InputError
from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.foreign import matching
from ssl_single_image.runs.foreign.layouts import OWN, Block, Layout
from ssl_single_image.runs.foreign.tensors import NOTES, Contents
from ssl_single_image.types import EncoderSpec

VERSION = 1
"""Of the note."""
ORIGIN = "file"
"""In an encoder's meta and in the note: the layout that it was read in, and whether it had batch norm."""
PUBLISHED = "published"
"""In an encoder's meta and in the note: the licence of its source, and what a probe measured."""


@dataclasses.dataclass(frozen=True)
class Note:
    """What an export says about itself.

    Attributes:
      spec: the encoder's.
      step: optimisation steps behind it.
      config: of the run that it comes from, {} where there was none.
      origin: of weights that came from another program's file: what `reference.load` says of it; else {}.
      published: what its exporter said of it, see `experiments.publishing.statement`; {} in older files.
    """

    spec: EncoderSpec
    step: int
    config: Mapping[str, Any]
    origin: Mapping[str, Any]
    published: Mapping[str, Any]


def layout(backbone: str, options: Mapping[str, Any]) -> Layout:
    """The layout of a network's own export.

    Raises:
      InputError: no such backbone or option.
    """
    whole = models.encoder_spec(backbone, options)
    modules = [name.rpartition(".") for name in matching.variables(whole.backbone, whole.options)]
    convs = [module for module, _, leaf in modules if leaf == "kernel"]
    norms = [module for module, _, leaf in modules if leaf == "mean"]
    blocks = [Block(name, "", name, "") for name in convs] + [Block("", name, "", name) for name in norms]
    return Layout(OWN, "an export of this package", whole.backbone, (whole.options,), tuple(blocks))


def write_note(loaded: LoadedEncoder) -> str:
    """The note of an export, JSON."""
    spec = dataclasses.asdict(loaded.encoder.spec)
    meta = {name: loaded.meta.get(name, {}) for name in ("config", ORIGIN, PUBLISHED)}
    return json.dumps({"version": VERSION, "encoder": spec, "step": loaded.step, **meta})


def read_note(contents: Contents, where: str) -> Note | None:
    """The note in a file; None where it has none.

    Raises:
      InputError: it is damaged, or of a newer version of this package.
    """
    if NOTES not in contents.notes:
        return None
    try:
        note = json.loads(contents.notes[NOTES])
        if note["version"] > VERSION:
            raise InputError(f"{where}: was exported by a newer version of this package; update the package")
        stored = dict(note["encoder"])
        mean, std = (tuple(map(float, stored[name])) for name in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3 or not min(std) > 0 or not all(map(math.isfinite, (*mean, *std))):
            raise ValueError("mean and std")
        spec = models.encoder_spec(
            str(stored["backbone"]), dict(stored["options"]), int(stored["size"]), mean, std
        )
        published = dict(note.get(PUBLISHED, {}))
        return Note(spec, int(note["step"]), dict(note["config"]), dict(note[ORIGIN]), published)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{where}: its note {NOTES} is damaged ({type(error).__name__}: {error})") from error
