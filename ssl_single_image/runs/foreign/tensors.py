"""What a file of weights holds, whatever its format: tensors that are read when they are wanted, and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NOTES = "ssl_single_image"
"""The note that this package's exports have: JSON, see `own`."""


class Tensor(NamedTuple):
    """A tensor in a file.

    Attributes:
      shape: its sizes.
      dtype: its type as the file names it, such as "float16" or "F16".
      read: gives its values as float32, or as integers. It raises InputError where the file is damaged.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a file holds.

    Attributes:
      path: of the file.
      tensors: by name, as the file has them.
      notes: texts and numbers that stand beside the tensors, such as DeepCluster's "arch".
    """

    path: Path
    tensors: Mapping[str, Tensor]
    notes: Mapping[str, Any]


def as_float32(values: np.ndarray) -> np.ndarray:
    """A copy in float32 where the values are floats of any width; integers and truth values stay as they are."""
    if values.dtype.kind in "iub":
        return np.array(values)
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused by name later
        return np.array(values, np.float32, order="C")
