"""Which features of a TFDS set are its labels, and how the label of an example is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ssl_single_image.datasets import labelling
from ssl_single_image.datasets.records import Label
from ssl_single_image.types import InputError

NO_DIFFICULT = "_no_difficult"
"""Ends the name of a feature that holds the classes of another one without those seen in difficult objects alone."""


@dataclasses.dataclass(frozen=True)
class OneClass:
    """A `ClassLabel`.

    Attributes:
      key: of the feature.
      classes: their names.
    """

    key: str
    classes: tuple[str, ...]

    @property
    def form(self) -> labelling.Form:
        """That of what `read` gives."""
        return labelling.ONE

    def read(self, example: Mapping[str, Any], where: str) -> Label:
        """The label of an example; `where` is for the error.

        Raises:
          InputError: it has none.
        """
        if example[self.key] < 0:
            raise InputError(f"{where}: has no label")
        return int(example[self.key])


@dataclasses.dataclass(frozen=True)
class ClassSet:
    """A `Sequence(ClassLabel)`, which may be empty.

    Attributes:
      key: of the feature.
      classes: their names.
      certain: key of the feature without difficult objects, as VOC has it; else that of the same feature.
    """

    key: str
    classes: tuple[str, ...]
    certain: str

    @property
    def form(self) -> labelling.Form:
        """That of what `read` gives."""
        return labelling.Form(len(self.classes))

    def read(self, example: Mapping[str, Any], where: str) -> Label:
        """The target of an example; `where` is for the error.

        Raises:
          InputError: one of its labels is of no class.
        """
        found = [[int(label) for label in example[key]] for key in (self.key, self.certain)]
        if any(not 0 <= label < len(self.classes) for labels in found for label in labels):
            raise InputError(f"{where}: has a label that is of no class")
        return labelling.targets(len(self.classes), *found)


Labels = OneClass | ClassSet
LABELS = {"smallnorb": "label_category", "coil100": "object_id"}
"""Set -> which of its labels is meant, where it has several and none is called `label`."""


def find(argument: str, features: Mapping[str, Any], multi_label: bool | None) -> Labels:
    """The labels of a set: `label` or `labels`, or that of LABELS, else the only feature of that form.

    Args:
      argument: name of the set, for errors.
      features: of the set.
      multi_label: whether an image has several classes; None: as the set has it, one class where it has both.

    Raises:
      InputError: there is no such feature, or several and none of that name.
    """
    from tensorflow_datasets import features as kinds  # takes a second

    one = [key for key, feature in features.items() if isinstance(feature, kinds.ClassLabel)]
    several = [
        key
        for key, feature in features.items()
        if isinstance(feature, kinds.Sequence) and isinstance(feature.feature, kinds.ClassLabel)
    ]
    several = [key for key in several if key.removesuffix(NO_DIFFICULT) not in set(several) - {key}]
    if multi_label and one and not several:
        raise InputError(f"data set {argument}: its images have one label each; a multi-label set is needed")
    if multi_label if multi_label is not None else several and not one:
        key = _only(argument, several, "labels")
        certain = key + NO_DIFFICULT
        return ClassSet(key, tuple(features[key].feature.names), certain if certain in features else key)
    if several and not one:
        raise InputError(
            f"data set {argument}: its images have several labels each; a set with one label an image is needed"
        )
    key = _only(argument, one, LABELS.get(argument.partition("/")[0], "label"))
    return OneClass(key, tuple(features[key].names))


def _only(argument: str, keys: list[str], wanted: str) -> str:
    if wanted in keys:
        return wanted
    if len(keys) != 1:
        what = "multi-label" if wanted == "labels" else "label"
        raise InputError(f"data set {argument}: {len(keys)} {what} features; one is needed")
    return keys[0]
