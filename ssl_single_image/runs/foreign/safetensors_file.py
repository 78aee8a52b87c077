"""Files in the safetensors format, which hold tensors and texts and nothing that could run."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from ssl_single_image.errors import InputError
from ssl_single_image.runs.foreign.tensors import Contents, Tensor, as_float32


def read(path: Path) -> Contents:
    """What a file holds; tensors are read when they are wanted.

    Raises:
      InputError: it is truncated, or is not in this format.
    """
    try:
        file = safetensors.safe_open(path, framework="numpy")
        tensors = {}
        for name in file.keys():  # noqa: SIM118 (it is no mapping)
            part = file.get_slice(name)
            value = functools.partial(_value, file, name, path)
            tensors[name] = Tensor(tuple(part.get_shape()), part.get_dtype(), value)
        return Contents(path, tensors, dict(file.metadata() or {}))
    except safetensors.SafetensorError as error:
        raise InputError(
            f"checkpoint {path}: is truncated, is still being written, or is no safetensors file"
        ) from error


def _value(file: safetensors.safe_open, name: str, path: Path) -> np.ndarray:
    try:
        return as_float32(file.get_tensor(name))
    except (safetensors.SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"checkpoint {path}: {name} can't be read ({error})") from error


def write(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """The bytes of a file.

    Args:
      tensors: by name.
      notes: texts, the file's metadata. "format" tells other programs that names and shapes are PyTorch's.
    """
    return safetensors_numpy.save(dict(tensors), metadata={"format": "pt", **notes})
