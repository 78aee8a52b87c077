"""Labelled image sets for probes: `load` and the registry. A new kind of set is a module and a line below."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence

from ssl_single_image.datasets import folder, photos, tfds
from ssl_single_image.datasets.base import LabelledSet, MemorySplit, Split
from ssl_single_image.types import InputError

Loader = Callable[..., LabelledSet]
"""(argument, *, data_dir, size, exclude) -> LabelledSet; `argument` is what follows `KIND:` in the name."""

KINDS: dict[str, Loader] = {"photos": photos.load, "folder": folder.load, "tfds": tfds.load}

ALIASES = {"cifar10": "tfds:cifar10", "cifar100": "tfds:cifar100", "imagenet": "tfds:imagenet2012"}

__all__ = ["ALIASES", "KINDS", "LabelledSet", "MemorySplit", "Split", "load"]


def load(name: str, *, data_dir: str | None = None, size: int, exclude: Sequence[str] = ()) -> LabelledSet:
    pass
