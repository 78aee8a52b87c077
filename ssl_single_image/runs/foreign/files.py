"""Files of weights, whatever their format: which one it is shows in the first bytes, not in the name."""

from __future__ import annotations

import os
from pathlib import Path

from ssl_single_image.errors import InputError
from ssl_single_image.runs.foreign import safetensors_file, torch_file
from ssl_single_image.runs.foreign.tensors import Contents

TAR_MAGIC = (257, b"ustar")
"""Where a tar archive has which bytes."""


def read(name: str) -> Contents:
    """What a file of weights holds: PyTorch's .pth and .pt, also as .pth.tar, or safetensors.

    Args:
      name: its path; "~" is the home folder.

    Raises:
      InputError: there is no such file, or it is none of these, truncated, or would run code.
    """
    path = Path(os.path.expanduser(name))
    try:
        if path.is_dir():
            raise InputError(f"checkpoint {path}: is a folder; file: takes a file of weights")
        with path.open("rb") as file:
            head = file.read(512)
        if not head:
            raise InputError(f"checkpoint {path}: is empty, or is still being written")
        if head.startswith(b"PK"):
            return torch_file.read_zip(path)
        if head[8:9] == b"{":  # after the length of the header
            return safetensors_file.read(path)
        if head[TAR_MAGIC[0] :].startswith(TAR_MAGIC[1]):
            raise InputError(
                f"checkpoint {path}: is a tar archive, which PyTorch wrote before 0.1.2; load and save it there again"
            )
        if head[:1] == b"\x80":
            return torch_file.read_legacy(path)
    except OSError as error:
        raise InputError(f"checkpoint {path}: can't be read: {error.strerror or error}") from error
    raise InputError(f"checkpoint {path}: is neither a checkpoint of PyTorch nor a safetensors file")
