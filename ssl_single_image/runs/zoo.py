"""The zoo: pretrained encoders that come with the package, by reference `zoo:NAME`.

An encoder of the zoo is an export in FOLDER: NAME.safetensors, with its model card NAME.md. The files are the index.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ssl_single_image.errors import InputError
from ssl_single_image.runs import forms
from ssl_single_image.runs.encoders import LoadedEncoder
from ssl_single_image.runs.foreign import files, own
from ssl_single_image.runs.foreign import reference as foreign
from ssl_single_image.schema import suggestion

PREFIX = "zoo:"
LIST = f"{PREFIX}list"
"""Takes the place of a reference where a command prints what there is."""
FOLDER = Path(__file__).parents[1] / "zoo"
SUFFIX = ".safetensors"


def names() -> list[str]:
    """Names of the encoders that there are."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def file(name: str) -> Path:
    """The weights of an encoder; its card lies beside them.

    Raises:
      InputError: the zoo has none of this name, or none at all.
    """
    there = names()
    if not there:
        raise InputError(f"checkpoint {PREFIX}{name}: the zoo of this installation is empty")
    if name not in there:
        near = suggestion(name, there)
        also = near if near.startswith("; did") else ""  # what there is stands in the message anyway
        raise InputError(f"checkpoint {PREFIX}{name}: the zoo has {', '.join(there)}{also}")
    return FOLDER / f"{name}{SUFFIX}"


def note(name: str) -> own.Note:
    """What an encoder's file says of it, without its weights.

    Raises:
      InputError: the zoo has none of this name, or its file is damaged.
    """
    where = f"checkpoint {PREFIX}{name}"
    found = own.read_note(files.read(str(file(name))), where)
    if found is None:
        raise InputError(f"{where}: is no export of this package; export it again")
    return found


def load(reference: str, rest: str) -> LoadedEncoder:
    """The encoder of `zoo:NAME`, with the step and the config of the run that trained it.

    Raises:
      InputError: the zoo has none of this name, or its file is damaged.
    """
    path = file(rest)
    return dataclasses.replace(foreign.load(f"file:{path}", str(path)), name=reference)


FORM = forms.Form(load, f"{PREFIX}NAME")
