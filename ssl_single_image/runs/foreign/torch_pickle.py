"""PyTorch's pickles, read without PyTorch, and without running anything that stands in them.

A pickle is a program: it may call whatever it can import. Here it can import the names of ALLOWED alone, which are what
`torch.load(weights_only=True)` allows and a file of weights needs. Tensors become `View`s, which hold no data yet.
"""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

from ssl_single_image.errors import InputError

DTYPES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
"""First part of a storage's class, as in FloatStorage -> type of its elements."""


class Storage(NamedTuple):
    """A stretch of data that tensors look into.

    Attributes:
      key: names its data in the file.
      dtype: type of its elements.
      length: how many elements the whole stretch has.
      start: the first of them that belongs to the storage.
    """

    key: str
    dtype: str
    length: int
    start: int = 0


class View(NamedTuple):
    """A tensor without its data: where its elements lie in a storage. Nothing in it is checked yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Function:
    """A function that a pickle may call. Unlike functions it can't be changed, which a pickle could do as well."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[..., Any]):
        object.__setattr__(self, "_call", call)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)  # type: ignore[attr-defined]


def _tensor(storage: Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> View:
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return View(storage, offset, tuple(shape), tuple(strides))


def _parameter(data: Any, *rest: Any) -> Any:
    return data


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("torch._utils", "_rebuild_tensor"): _Function(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(_parameter),
    ("torch", "Size"): _Function(tuple),
    ("torch", "device"): _Function(lambda *args: str(args)),
    **{
        (where, f"{name}Storage"): dtype
        for where in ("torch", "torch.cuda")
        for name, dtype in DTYPES.items()
    },
    **{("torch", dtype): dtype for dtype in DTYPES.values()},
}
"""(module, name) -> what it is here. Nothing else can be imported by a pickle."""


class _RefusedError(Exception):
    """A name that is not allowed."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _RefusedError(f"{module}.{name}")
        return ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        """("storage", type, key, device, length), and in the older format a view: (key, start, length) or None."""
        kind, dtype, key, _, length, *view = pid
        if kind != "storage" or dtype not in DTYPES.values() or type(length) is not int:
            raise pickle.UnpicklingError("no storage")
        start = view[0][1] if view and view[0] is not None else 0
        return Storage(str(key), dtype, length, start)


def loads(data: bytes, where: str) -> Any:
    """The object of one pickle: mappings, sequences, texts, numbers and `View`s.

    Args:
      data: from the pickle's first byte to its last.
      where: what the error begins with, "checkpoint PATH".

    Raises:
      InputError: it is damaged, or imports a name that is not allowed; nothing of it has run.
    """
    try:
        # Python 2 wrote some of these files; its texts are bytes, in latin1.
        return _Unpickler(io.BytesIO(data), encoding="latin1").load()
    except _RefusedError as error:
        raise InputError(
            f"{where}: its pickle names {error}, which is not loaded from a file because that could run code; save the"
            f" state_dict alone"
        ) from error
    except Exception as error:  # damaged pickles raise nearly every type, MemoryError among them
        raise InputError(f"{where}: its pickle is damaged ({type(error).__name__})") from error


def end(stream: Any, where: str) -> int:
    """Where the pickle ends that begins at the stream's position.

    It also refuses what would take memory beyond the file's size: a number in the memo far beyond its entries.

    Args:
      stream: seekable, with bytes.
      where: as for `loads`.

    Raises:
      InputError: no pickle, or one that is cut off.
    """
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name.startswith("EXT") or ("PUT" in opcode.name and int(argument) > count):  # type: ignore[arg-type]
                raise ValueError(opcode.name)
        return stream.tell()
    except Exception as error:  # ValueError mostly; damaged texts and numbers raise others
        raise InputError(f"{where}: is no checkpoint, or is truncated, or is still being written") from error
