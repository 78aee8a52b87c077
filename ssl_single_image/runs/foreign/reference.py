"""Weights of other programs by reference, and exports of this one: `file:PATH[,layout=NAME][,OPTION=VALUE]`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ssl_single_image import models
from ssl_single_image.errors import InputError
from ssl_single_image.runs import forms
from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.foreign import convert, files, matching, own
from ssl_single_image.runs.foreign.layouts import LAYOUTS, OWN
from ssl_single_image.schema import pick


def load(reference: str, rest: str) -> LoadedEncoder:
    """The encoder in the file of `file:PATH[,layout=NAME][,OPTION=VALUE]`.

    Options are those of the backbone where the file leaves a choice, and `size`, `mean` and `std` of the input.

    Raises:
      InputError: no such file or layout, a file that is damaged or would run code, or one that fits no layout.
    """
    path, words = split(rest)
    given = forms.options(reference, words)
    contents = files.read(path)
    where = f"checkpoint {contents.path}"
    tensors = matching.plain_names(contents.tensors, where)
    name, backbone = given.pop("layout", ""), given.pop("backbone", "")
    inputs: dict[str, Any] = {key: given.pop(key) for key in ("size", "mean", "std") if key in given}
    note = own.read_note(contents, where) if name in ("", OWN) else None
    if note:
        if given or backbone:
            raise InputError(
                f"{where}: says itself what network it holds; leave out {', '.join([*given] or ['backbone'])}"
            )
        found = matching.chosen(tensors, own.layout(note.spec.backbone, note.spec.options), {}, where)
        spec = note.spec
    else:
        found = _foreign(tensors, name, backbone, given, where)
        layout = found.layout
        spec = models.encoder_spec(layout.backbone, found.options, 0, layout.mean, layout.std)
    spec = _with_inputs(spec, inputs, reference)
    encoder = convert.from_file(found, tensors, spec, where)
    if note:
        told = {"config": note.config, own.ORIGIN: note.origin, own.PUBLISHED: note.published}
        return LoadedEncoder(reference, note.step, encoder, {name: dict(part) for name, part in told.items()})
    origin = {"layout": found.layout.name, "batch_norm": found.normed}
    return LoadedEncoder(reference, 0, encoder, {"config": {}, own.ORIGIN: origin})


def split(rest: str) -> tuple[str, list[str]]:
    """What follows the colon as the file's name and its options; a name with commas in it is found."""
    path, words = rest, list[str]()
    while not Path(os.path.expanduser(path)).exists():
        before, comma, word = path.rpartition(",")
        if not comma or "=" not in word:
            break
        path, words = before, [word, *words]
    return path, words


def _foreign(
    tensors: dict[str, Any], name: str, backbone: str, given: dict[str, Any], where: str
) -> matching.Match:
    if name == OWN or (backbone and not name):
        if not backbone:
            raise InputError(f"{where}: has no note of the network; give backbone=NAME and its options")
        return matching.chosen(tensors, own.layout(backbone, given), {}, where)
    if name:
        layout = pick({**LAYOUTS, OWN: None}, name, "layout")
        assert layout is not None
        if backbone not in ("", layout.backbone):
            raise InputError(f"{where}: layout={name} is of the backbone {layout.backbone}, not {backbone}")
        return matching.chosen(tensors, layout, given, where)
    return matching.find(tensors, LAYOUTS, given, where)


def _with_inputs(spec: Any, inputs: dict[str, Any], reference: str) -> Any:
    """The spec with another size of the input or another normalisation."""
    channels = {key: _channels(inputs[key], key, reference) for key in ("mean", "std") if key in inputs}
    if min(channels.get("std", (1,))) <= 0:
        raise InputError(f"checkpoint {reference}: std must be above 0")
    size = inputs.get("size", spec.size)
    if type(size) is not int or size < 1:
        raise InputError(f"checkpoint {reference}: size = {size!r}: must be a whole number of pixels")
    return models.encoder_spec(
        spec.backbone, spec.options, size, channels.get("mean", spec.mean), channels.get("std", spec.std)
    )


def _channels(value: Any, key: str, reference: str) -> tuple[float, ...]:
    """One number for all channels, or three that "/" separates."""
    try:
        numbers = tuple(float(part) for part in str(value).split("/"))
        if len(numbers) in (1, 3) and all(abs(number) < 1e6 for number in numbers):
            return numbers * (3 // len(numbers))
    except ValueError:
        pass
    raise InputError(
        f"checkpoint {reference}: {key} = {value!r}: must be a number, or three as in 0.5/0.5/0.5"
    )


FORM = forms.Form(load, "file:PATH[,layout=NAME][,OPTION=VALUE]")
