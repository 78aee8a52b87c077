"""Files for `torch.load`, written without PyTorch: a zip archive with one pickle and the bytes of every tensor.

The pickle is put together from opcodes, because Python's pickler would import the functions of PyTorch that it names.
`torch.load(weights_only=True)` reads such a file.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np

STORAGES = {"float32": "FloatStorage", "float16": "HalfStorage"}
"""Type -> the class that PyTorch's pickles name for its data."""
ROOT = "archive"
"""Folder in the archive; any name does."""
ALIGNMENT = 64
"""Bytes to a multiple of which PyTorch puts data, so that they can be mapped into memory."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of all entries: the same weights give the same file."""


def write(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    """The bytes of a file that holds {"state_dict": tensors, **notes}.

    Args:
      tensors: float32 or float16, by name.
      notes: texts, by keys other than "state_dict".
    """
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        _add(archive, "data.pkl", _pickled(tensors, notes))
        _add(archive, "byteorder", b"little")
        for number, value in enumerate(tensors.values()):
            _add(archive, f"data/{number}", value.astype(value.dtype.newbyteorder("<")).tobytes())
        _add(archive, "version", b"3\n")
    return out.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(f"{ROOT}/{name}", EPOCH)
    assert archive.fp is not None
    start = (
        archive.fp.tell() + 30 + len(info.filename) + 4
    )  # a header of 30, then type and length of the padding
    padding = -start % ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(info, content)


def _pickled(tensors: Mapping[str, np.ndarray], notes: Mapping[str, str]) -> bytes:
    items = [_tensor(number, value) for number, value in enumerate(tensors.values())]
    state_dict = _called("collections", "OrderedDict") + _filled(dict(zip(tensors, items, strict=True)))
    content = {"state_dict": state_dict} | {name: _text(text) for name, text in notes.items()}
    return pickle.PROTO + b"\x02" + pickle.EMPTY_DICT + _filled(content) + pickle.STOP


def _filled(items: Mapping[str, bytes]) -> bytes:
    """Puts items into the mapping on the stack."""
    pairs = b"".join(_text(name) + value for name, value in items.items())
    return pickle.MARK + pairs + pickle.SETITEMS


def _tensor(number: int, value: np.ndarray) -> bytes:
    """`torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks)`."""
    strides = [math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim)]
    storage = _tuple(
        [
            _text("storage"),
            _name("torch", STORAGES[value.dtype.name]),
            _text(str(number)),
            _text("cpu"),
            _number(value.size),
        ]
    )
    arguments = [
        storage + pickle.BINPERSID,
        _number(0),
        _tuple([_number(size) for size in value.shape]),
        _tuple([_number(stride) for stride in strides]),
        pickle.NEWFALSE,
        _called("collections", "OrderedDict"),
    ]
    return _name("torch._utils", "_rebuild_tensor_v2") + _tuple(arguments) + pickle.REDUCE


def _called(module: str, name: str) -> bytes:
    return _name(module, name) + pickle.EMPTY_TUPLE + pickle.REDUCE


def _name(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode("ascii")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(encoded)) + encoded


def _number(value: int) -> bytes:
    return pickle.BININT + struct.pack("<i", value)


def _tuple(items: Sequence[bytes]) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE
