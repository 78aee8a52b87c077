"""Labelled image sets for probes: `load` and the registry. A new kind of set is a module and a line below."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Sequence
from typing import Any

from ssl_single_image.datasets import boxes, folder, photos, tfds
from ssl_single_image.datasets.base import LabelledSet, MemorySplit, Split
from ssl_single_image.types import InputError

Loader = Callable[..., LabelledSet]
"""(argument, *, data_dir, size, exclude) -> LabelledSet; `argument` is what follows `KIND:` in the name.

Those in MULTI_LABEL also take `multi_label`, as `load` does.
"""


def _validation(argument: str, **options: Any) -> LabelledSet:
    kind, inner = parse(argument)
    if kind != "tfds":
        raise InputError(
            f"data set validation:{argument}: only sets of TFDS can be divided, such as validation:cifar10"
        )
    return tfds.load(inner, validation=True, **options)


KINDS: dict[str, Loader] = {
    "photos": photos.load,
    "folder": folder.load,
    "tfds": tfds.load,
    "validation": _validation,
    "boxes": boxes.load,
}

MULTI_LABEL = ("tfds", "validation")
"""Kinds of which some sets have several labels an image."""

ALIASES = {
    "cifar10": "tfds:cifar10",
    "cifar100": "tfds:cifar100",
    "imagenet": "tfds:imagenet2012",
    "voc07": "tfds:voc/2007",
    "voc07_boxes": "boxes:voc/2007",
}

_TAKES_ARGUMENT = {
    "folder": "folder:PATH",
    "tfds": "tfds:NAME",
    "validation": "validation:NAME",
    "boxes": "boxes:NAME",
}

_KNOWN = [*(kind for kind in KINDS if kind not in _TAKES_ARGUMENT), *ALIASES]
FORMS = ", ".join([*_KNOWN, *_TAKES_ARGUMENT.values()])
"""What the name of a set may look like."""

__all__ = ["ALIASES", "FORMS", "KINDS", "LabelledSet", "MemorySplit", "Split", "load", "parse"]


def load(
    name: str,
    *,
    data_dir: str | None = None,
    size: int,
    exclude: Sequence[str] = (),
    multi_label: bool | None = False,
    boxed: bool = False,
) -> LabelledSet:
    """Opens a labelled set by name.

    Args:
      name: `photos`, `cifar10`, `cifar100`, `imagenet`, `voc07`, `folder:PATH`, or `tfds:NAME` for any other image set
        that was prepared with TFDS. `validation:NAME`, of a set of TFDS, has nine tenths of its training images to
        learn from and the last tenth to measure on: settings are chosen there, and never on test images.
      data_dir: where prepared sets lie, and relative folders; None: TFDS's own folder.
      size: the encoder's input side in pixels, see `records.Layout.choose`.
      exclude: source images of the pretraining that must not be measured on; only `photos` has any.
      multi_label: False: one label an image is needed. True: sets of labels are needed. None: as the set has them.
      boxed: whether a set of objects in boxes will do, `boxes:NAME`.

    Raises:
      InputError: unknown or missing set, an unreadable image, labels of the other form, only one class, no images.
    """
    kind, argument = parse(name)
    if kind == "boxes" and not boxed:
        raise InputError(f"data set {name}: its examples are objects in boxes, which only `probe` can take")
    several = {"multi_label": multi_label} if kind in MULTI_LABEL else {}
    if multi_label and not several:
        raise InputError(f"data set {name}: its images have one label each; a multi-label set is needed")
    labelled = KINDS[kind](argument, data_dir=data_dir, size=size, exclude=exclude, **several)
    if len(labelled.classes) < 2:
        raise InputError(f"data set {name} has one class ({labelled.classes[0]}); a probe needs two or more")
    for split, images in (("training", labelled.train), ("test", labelled.test)):
        if not len(images):
            raise InputError(f"data set {name} has no {split} images")
    return dataclasses.replace(labelled, name=name)


def parse(name: str) -> tuple[str, str]:
    """The kind and the argument in a set's name: `cifar10` -> ("tfds", "cifar10").

    Raises:
      InputError: there is no such kind.
    """
    kind, _, argument = ALIASES.get(name, name).partition(":")
    if kind not in KINDS:
        raise InputError(_unknown(name))
    return kind, argument


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _KNOWN, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"unknown data set {name!r}{hint} (there are {FORMS})"
