"""Files as `torch.save` writes them, made by Python's own pickler and stand-ins for PyTorch's names."""

from __future__ import annotations

import collections
import io
import math
import pickle
import sys
import types
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

MAGIC = 0x1950A86A20F9469CFC6C
STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "uint16": "BFloat16Storage",  # NumPy has no bfloat16; its bits are given
    "int64": "LongStorage",
}


class Storage:
    """Data that several tensors may share."""

    def __init__(self, values: np.ndarray):
        self.values = values


class TensorOf:
    """A tensor in a storage."""

    def __init__(self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]):
        self.parts: Any = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self) -> Any:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.parts


def tensor(value: np.ndarray) -> TensorOf:
    strides = tuple(math.prod(value.shape[axis + 1 :]) for axis in range(value.ndim))
    return TensorOf(Storage(np.ravel(value)), 0, value.shape, strides)


def _stand_in(module: str, name: str, kind: Any) -> Any:
    kind.__module__, kind.__name__, kind.__qualname__ = module, name, name
    return kind


def _modules() -> dict[str, types.ModuleType]:
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, _stand_in("torch", name, type(name, (), {})))
    utils._rebuild_tensor_v2 = _stand_in("torch._utils", "_rebuild_tensor_v2", lambda *parts: None)  # type: ignore[attr-defined]
    torch._utils = utils  # type: ignore[attr-defined]
    return {"torch": torch, "torch._utils": utils}


class _Pickler(pickle.Pickler):
    def __init__(self, file: Any, legacy: bool, storages: list[Storage]):
        super().__init__(file, 2)
        self.legacy, self.storages = legacy, storages

    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, Storage):
            return None
        if value not in self.storages:
            self.storages.append(value)
        kind = getattr(sys.modules["torch"], STORAGES[value.values.dtype.name])
        found = ("storage", kind, str(self.storages.index(value)), "cpu", len(value.values))
        return (*found, None) if self.legacy else found


def saved(content: Any, *, legacy: bool = False, order: str = "little") -> bytes:
    """The bytes of a file; tensors are `TensorOf`."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in _modules().items():
            patch.setitem(sys.modules, name, module)
        out, storages = io.BytesIO(), list[Storage]()
        _Pickler(out, legacy, storages).dump(content)
    if not legacy:
        return _zipped(out.getvalue(), storages, order)
    system = {"protocol_version": 1001, "little_endian": order == "little", "type_sizes": {"long": 4}}
    head = b"".join(pickle.dumps(part, 2) for part in (MAGIC, 1001, system))
    names = pickle.dumps([str(number) for number in range(len(storages))], 2)
    data = b"".join(len(s.values).to_bytes(8, "little") + s.values.tobytes() for s in storages)
    return head + out.getvalue() + names + data


def _zipped(pickled: bytes, storages: list[Storage], order: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("net/data.pkl", pickled)
        archive.writestr("net/byteorder", order)
        for number, storage in enumerate(storages):
            archive.writestr(f"net/data/{number}", storage.values.tobytes())
        archive.writestr("net/version", "3\n")
    return out.getvalue()


def state_dict(arrays: Mapping[str, np.ndarray]) -> collections.OrderedDict[str, TensorOf]:
    found = collections.OrderedDict((name, tensor(np.asarray(value))) for name, value in arrays.items())
    found._metadata = collections.OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return found
