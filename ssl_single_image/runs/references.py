"""References: what a command takes wherever it takes an encoder.

A reference names a run's checkpoint by its folder, or it begins with a word and a colon. A new kind of reference is one
file with a `Form`, and one line in FORMS.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from ssl_single_image import keys, models
from ssl_single_image.errors import InputError
from ssl_single_image.runs import exemplars, fixed, initialised, places, untrained, zoo
from ssl_single_image.runs.checkpoint import (
    CHECKPOINTS,
    finished,
    goodness,
    read_meta,
    restore_item,
    variables_of,
)
from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.foreign import reference as foreign
from ssl_single_image.runs.forms import Form
from ssl_single_image.types import EncoderVariables

ALL = "all"
WORKDIR = "WORKDIR[@STEP or @best][#ENCODER]"
FORMS: dict[str, Form] = {
    "random": untrained.FORM,
    "kmeans": initialised.FORM,
    "esvm": exemplars.SVM,
    "mmcf": exemplars.CORRELATION,
    "patches": exemplars.PATCHES,
    "scattering": fixed.FORM,
    "file": foreign.FORM,
    "zoo": zoo.FORM,
}
"""Word before the colon -> what loads it."""


def looks() -> str:
    """What a reference may look like, for messages."""
    return " or ".join([WORKDIR, *(form.looks for form in FORMS.values())])


def expand(reference: str) -> list[str]:
    """`WORKDIR@all` as one reference to each of the run's checkpoints, the oldest first; others as they are.

    Raises:
      InputError: there is no finished checkpoint.
    """
    word = reference.partition(":")[0]
    if word in FORMS:
        return [reference]
    folder, wanted, name = _split(reference)
    if wanted != ALL:
        return [reference]
    before = reference.removesuffix(f"#{name}") if name else reference
    steps = _finished(folder, reference)
    return [f"{before.removesuffix(ALL)}{step}{'#' if name else ''}{name}" for step in steps]


def load_encoder(reference: str | os.PathLike[str]) -> LoadedEncoder:
    """Loads the encoder that `reference` names.

    Args:
      reference: a workdir of pretraining (its newest checkpoint), `WORKDIR@STEP`, `WORKDIR@best` (lowest evaluation
        loss, or what the objective goes by), any of them with `#NAME` for another encoder that the objective offers;
        `random:BACKBONE[,OPTION=VALUE][@SEED]`, an untrained network;
        `kmeans:BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]`, one whose filters are clusters of patches of an image;
        `esvm:`, `mmcf:` and `patches:` with the same after the colon, networks of two layers whose filters are made of
        patches of an image; `scattering[:OPTION=VALUE]`, the scattering transform;
        `file:PATH[,layout=NAME][,OPTION=VALUE]`, the weights in a file of PyTorch or safetensors; or `zoo:NAME`, a
        pretrained encoder that comes with the package.

    Raises:
      InputError: nothing there, no such step, a checkpoint that is truncated or of another architecture. A note of the
        error may hold a table of what differs.
    """
    reference = os.fspath(reference)
    word, colon, rest = reference.partition(":")
    if word in FORMS and (colon or not FORMS[word].needs_argument):
        return FORMS[word].load(reference, rest)
    folder, wanted, name = _split(reference)
    step = _pick(_finished(folder, reference), folder, wanted, reference)
    place = _checkpoints(folder) / str(step)
    meta = read_meta(place)
    encoder = _restore(place, meta, name, reference)
    return LoadedEncoder(reference, step, encoder, meta)


def _restore(place: Path, meta: dict[str, Any], name: str, reference: str) -> EncoderVariables:
    others = meta.get("encoders", {})
    if name and name not in others:
        raise InputError(
            f"checkpoint {reference}: no encoder {name!r}; its run offers {', '.join(others) or 'one only'}"
        )
    stored = others[name] if name else meta["encoder"]
    spec = models.encoder_spec(**{"name": stored["backbone"], **_without(stored, "backbone")})
    abstract = jax.eval_shape(lambda key: variables_of(models.untrained(spec, key)), keys.unused())
    item = f"encoder_{name}" if name else "encoder"
    return EncoderVariables(spec, **restore_item(place, item, abstract, meta))


def _split(reference: str) -> tuple[str, str, str]:
    """Folder, step and name of the encoder; a folder whose own name has @ or # in it is found.

    Of a folder in a store it is a copy on this machine.
    """
    if places.is_remote(reference):
        folder, _, name = reference.partition("#")
        folder, _, wanted = folder.partition("@")
        return str(places.brought(folder)), wanted, name
    reference = os.path.expanduser(reference)
    if Path(reference).is_dir():
        return reference, "", ""
    before, hash_sign, name = reference.rpartition("#")
    if hash_sign and Path(before).is_dir():
        return before, "", name
    folder, at, wanted = reference.rpartition("@")
    if at and folder:
        wanted, _, name = wanted.partition("#")
        return folder, wanted, name
    return (before, "", name) if hash_sign and before else (reference, "", "")


def _checkpoints(folder: str) -> Path:
    return Path(folder).absolute() / CHECKPOINTS


def _finished(folder: str, reference: str) -> list[int]:
    """Steps of the whole checkpoints of a run."""
    path = _checkpoints(folder)
    if not path.is_dir():
        raise InputError(
            f"checkpoint {folder}: no {CHECKPOINTS}/ folder there; expected a workdir of pretraining ({looks()})"
        )
    steps = finished(path)
    if not steps:
        raise InputError(f"checkpoint {reference}: no finished checkpoint in {path.name}/ yet")
    return steps


def _pick(steps: list[int], folder: str, wanted: str, reference: str) -> int:
    if wanted == "best":
        metas = {step: read_meta(_checkpoints(folder) / str(step)) for step in steps}
        known = {step: goodness(meta["metrics"], meta["best"]) for step, meta in metas.items()}
        if max(known.values()) == -math.inf:
            raise InputError(
                f"checkpoint {reference}: no checkpoint was saved with an evaluation; name a step"
            )
        return max(steps, key=lambda step: (known[step], step))
    if wanted and not (wanted.isdecimal() and int(wanted) in steps):
        raise InputError(f"checkpoint {reference}: no step {wanted}; there are {', '.join(map(str, steps))}")
    return int(wanted) if wanted else steps[-1]


def _without(mapping: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}
