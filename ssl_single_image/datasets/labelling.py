"""The two forms of labels: one class an image, or several of which each is absent, present or ignored.

Both are arrays whose first axis is that of the images, so batches, caches and steps treat them alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Int8

ABSENT, PRESENT, IGNORED = 0, 1, 2
"""What a multi-label target says of an image and a class. An ignored image counts neither for nor against the class."""
PADDING = -1
"""In every place of the label of a row that is no image."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A form of labels.

    Attributes:
      classes: 0: an image has one class, and labels are (N,) int32. Otherwise an image can have several of so many
        classes, and labels are (N, classes) int8.
    """

    classes: int = 0

    @property
    def several(self) -> bool:
        """Whether an image can have several classes."""
        return self.classes > 0

    def blank(self, count: int) -> np.ndarray:
        """Labels of `count` rows of padding."""
        if self.several:
            return np.full((count, self.classes), PADDING, np.int8)
        return np.full(count, PADDING, np.int32)


ONE = Form()
"""One class an image."""


def targets(classes: int, present: Iterable[int], certain: Iterable[int]) -> Int8[np.ndarray, " classes"]:
    """The multi-label target of one image.

    Args:
      classes: how many there are.
      present: those of which there is any object.
      certain: those of them of which there is one that is not difficult. The others of `present` are ignored.
    """
    target = np.full(classes, ABSENT, np.int8)
    target[list(present)] = IGNORED
    target[list(certain)] = PRESENT
    return target


def is_image(label: Any) -> Any:
    """(N,) booleans: which rows of labels of either form are images and no padding; of NumPy or of JAX."""
    return (label if label.ndim == 1 else label[:, 0]) >= 0
