"""PyTorch's files: the zip archives of `torch.save`, and the pickles with data behind that it wrote before 1.6.

The format is that of torch/serialization.py. A tensor's bytes are read when they are wanted: a head of 200 MB costs
nothing where the trunk alone is. The file is not mapped into memory, for one that another program cuts would then end
this process.
"""

from __future__ import annotations

import functools
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ssl_single_image.errors import InputError
from ssl_single_image.runs.foreign.tensors import Contents, Tensor, as_float32
from ssl_single_image.runs.foreign.torch_pickle import Storage, View, end, loads

MAGIC = 0x1950A86A20F9469CFC6C
"""First object of the older format."""
PROTOCOL = 1001
WRAPPERS = ("state_dict", "network", "model", "model_state_dict", "encoder", "net")
"""Where a state dict may lie in what was saved."""
LARGEST_PICKLE = 1 << 26
"""Bytes; that of a network is a few hundred kilobytes."""

Buffer = Callable[[Storage], np.ndarray]
"""The bytes of a storage, from its first."""


class _Archive:
    """The entries of a zip archive."""

    def __init__(self, path: Path, where: str):
        try:
            with zipfile.ZipFile(path) as archive:
                self._infos = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise InputError(f"{where}: is truncated or damaged, or is still being written") from error
        self._path, self._where = path, where
        self.entry = functools.lru_cache(maxsize=2)(self._entry)  # tensors may share one
        """Name -> bytes, see `_entry`."""

    def __contains__(self, name: str) -> bool:
        return name in self._infos

    def _entry(self, name: str) -> np.ndarray:
        """Its bytes. They follow its local header, whose two lengths may differ from those in the directory.

        Raises:
          InputError: it is missing, compressed or damaged.
        """
        info, where = self._infos.get(name), self._where
        if info is None or info.compress_type != zipfile.ZIP_STORED:
            raise InputError(
                f"{where}: its entry {name} is missing or compressed; save it by torch.save again"
            )
        header = _bytes(self._path, info.header_offset, 30).tobytes()
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        data = _bytes(self._path, info.header_offset + 30 + sum(lengths), info.file_size)
        if header[:4] != b"PK\x03\x04" or len(data) != info.file_size:
            raise InputError(f"{where}: is truncated or damaged ({name})")
        if (
            info.CRC and zlib.crc32(data.data) != info.CRC
        ):  # 0: written without a checksum, which PyTorch offers
            raise InputError(f"{where}: is damaged (the checksum of {name} does not agree)")
        return data


def read_zip(path: Path) -> Contents:
    """What a zip archive of `torch.save` holds.

    Raises:
      InputError: it is truncated, no checkpoint of PyTorch, or would run code.
    """
    where = f"checkpoint {path}"
    archive = _Archive(path, where)
    if "constants.pkl" in archive:
        raise InputError(f"{where}: is a TorchScript program; save the state_dict of its module instead")
    if "data.pkl" not in archive:
        raise InputError(f"{where}: is a zip archive, but no checkpoint of PyTorch (it has no data.pkl)")
    data = archive.entry("data.pkl").tobytes()
    if len(data) > LARGEST_PICKLE:
        raise InputError(
            f"{where}: its pickle has more than {LARGEST_PICKLE} bytes; save the state_dict alone"
        )
    if "byteorder" in archive and archive.entry("byteorder").tobytes() != b"little":
        raise InputError(f"{where}: was written on a big-endian machine; save it on another one")
    end(io.BytesIO(data), where)
    return _contents(path, loads(data, where), lambda storage: archive.entry(f"data/{storage.key}"))


def read_legacy(path: Path) -> Contents:
    """What a file of the older format holds: five pickles, the last a list of storages, and their bytes in its order.

    Raises:
      InputError: it is truncated, no checkpoint of PyTorch, or would run code.
    """
    where = f"checkpoint {path}"
    size = path.stat().st_size
    with path.open("rb") as stream:

        def following() -> Any:
            start = stream.tell()
            stop = end(stream, where)
            stream.seek(start)
            return loads(stream.read(stop - start), where)

        if following() != MAGIC or following() != PROTOCOL:
            raise InputError(f"{where}: is a pickle, but no checkpoint of PyTorch")
        system, content, keys = following(), following(), following()
        at = stream.tell()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError(f"{where}: was written on a big-endian machine; save it on another one")
    places, sizes = {}, _sizes(content)
    for key in map(str, keys if isinstance(keys, list) else []):
        if key not in sizes:
            raise InputError(f"{where}: is damaged (data of an unknown type)")
        length = int.from_bytes(_bytes(path, at, 8).tobytes(), "little")
        places[key] = (at + 8, at + 8 + length * sizes[key])
        at = places[key][1]
        if at > size:
            raise InputError(f"{where}: is truncated, or is still being written")

    def buffer(storage: Storage) -> np.ndarray:
        if storage.key not in places:
            raise InputError(f"{where}: is damaged (the data of a tensor are missing)")
        start, stop = places[storage.key]
        return _bytes(path, start, stop - start)

    return _contents(path, content, buffer)


def _sizes(content: Any) -> dict[str, int]:
    """Storage -> bytes of an element, of all storages in what was saved, an optimiser's among them."""
    found: dict[str, int] = {}
    seen: set[int] = set()
    left = [content]
    while left:
        value = left.pop()
        if isinstance(value, View):
            found[value.storage.key] = _numpy(value.storage.dtype).itemsize
        elif isinstance(value, dict | list | tuple) and id(value) not in seen:
            seen.add(id(value))  # containers may hold one another
            left += value.values() if isinstance(value, dict) else value
    return found


def _contents(path: Path, content: Any, buffer: Buffer) -> Contents:
    where = f"checkpoint {path}"
    found = _views(_state_dict(content, where))
    tensors = {
        name: Tensor(view.shape, view.storage.dtype, functools.partial(_read, name, view, buffer, where))
        for name, view in found.items()
    }
    notes = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, str | int | float)
    }
    return Contents(path, tensors, notes)


def _state_dict(content: Any, where: str) -> Mapping[Any, Any]:
    """The mapping from names to tensors in what was saved."""
    if not isinstance(content, dict):
        raise InputError(f"{where}: holds a {type(content).__name__} instead of a state_dict")
    inner = [content[name] for name in WRAPPERS if isinstance(content.get(name), dict)]
    largest = max((content, *inner), key=lambda mapping: len(_views(mapping)))  # a metric may be a tensor too
    if _views(largest):
        return largest
    keys = ", ".join(map(str, list(content)[:10])) or "nothing"
    raise InputError(
        f"{where}: no state_dict found; it holds {keys}, and one may lie under {', '.join(WRAPPERS)}"
    )


def _views(mapping: Mapping[Any, Any]) -> dict[str, View]:
    return {name: view for name, view in mapping.items() if isinstance(name, str) and isinstance(view, View)}


def _read(name: str, view: View, buffer: Buffer, where: str) -> np.ndarray:
    """The values of a tensor; every number that the file gives is checked against the bytes that there are."""
    storage, offset, shape, strides = view
    numbers = (storage.start, storage.length, offset, *shape, *strides)
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) != len(strides):
        raise InputError(f"{where}: is damaged ({name} has no valid shape)")
    dtype = _numpy(storage.dtype)
    data = buffer(storage)
    available = len(data) // dtype.itemsize
    first, count = storage.start + offset, math.prod(shape)
    last = first + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if count > available or (count and last >= available):
        raise InputError(f"{where}: is truncated or damaged ({name} has fewer values than its shape)")
    values = data[: available * dtype.itemsize].view(dtype)[first:] if count else np.zeros(0, dtype)
    steps = tuple(stride * dtype.itemsize for stride in strides)
    tensor = np.lib.stride_tricks.as_strided(values, shape, steps, writeable=False)
    if storage.dtype == "bfloat16":  # the upper half of a float32
        return (tensor.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return as_float32(tensor)


def _numpy(dtype: str) -> np.dtype[Any]:
    """The type of the elements as they lie in the file; NumPy has no bfloat16."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def _bytes(path: Path, start: int, count: int) -> np.ndarray:
    """So many bytes of a file, or fewer where it ends before."""
    return np.fromfile(path, np.uint8, count, offset=start)
