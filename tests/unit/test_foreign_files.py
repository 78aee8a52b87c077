"""Files of weights in PyTorch's formats and in safetensors: read without PyTorch, and nothing in them runs."""

from __future__ import annotations

import collections
import contextlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import pickled_weights as torch_like
from safetensors.numpy import save as save_safetensors
from test_damaged_files import bounded, damage

from ssl_single_image.errors import InputError
from ssl_single_image.runs.foreign import files, torch_writer

RNG = np.random.default_rng(0)
ARRAYS: dict[str, np.ndarray] = {
    "a.weight": RNG.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "a.bias": RNG.normal(size=4).astype(np.float16),
    "b.weight": RNG.normal(size=(2, 3)),
    "b.count": np.array(7),
}


def write(tmp_path: Path, content: bytes, name: str = "net.pth") -> str:
    (tmp_path / name).write_bytes(content)
    return str(tmp_path / name)


def check(found: Any, expected: dict[str, np.ndarray]) -> None:
    assert set(found.tensors) == set(expected)
    for name, value in expected.items():
        tensor = found.tensors[name]
        assert tensor.shape == value.shape
        read = tensor.read()
        assert read.dtype == (np.float32 if value.dtype.kind == "f" else value.dtype)
        np.testing.assert_array_equal(read, value.astype(read.dtype))


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapper", ["state_dict", "network", "model", ""])
def test_what_pytorch_saves_is_read(tmp_path: Path, legacy: bool, wrapper: str) -> None:
    state = torch_like.state_dict(ARRAYS)
    other = {"epoch": 3, "arch": "alexnet", "optimizer": {"momentum": [torch_like.tensor(np.ones(5))]}}
    content = {**other, wrapper: state} if wrapper else state
    found = files.read(write(tmp_path, torch_like.saved(content, legacy=legacy)))
    check(found, ARRAYS)
    assert found.notes == ({"epoch": 3, "arch": "alexnet"} if wrapper else {})


def test_files_of_python_2_are_read(tmp_path: Path) -> None:
    """As DeepCluster's: texts are bytes, and tensors are made by the function of PyTorch before 0.4."""
    text = lambda value: b"U" + bytes([len(value)]) + value  # noqa: E731 (SHORT_BINSTRING)
    storage = b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"7") + text(b"cuda:0") + b"K\x06NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x00K\x02K\x03\x86K\x03K\x01\x86tR"
    state = b"\x80\x02}" + text(b"state_dict") + b"}" + text(b"a.weight") + tensor + b"ss."
    head = b"".join(pickle.dumps(part, 2) for part in (torch_like.MAGIC, 1001, {"little_endian": True}))
    values = np.arange(6, dtype=np.float32)
    content = head + state + b"\x80\x02]" + text(b"7") + b"a." + (6).to_bytes(8, "little") + values.tobytes()
    check(files.read(write(tmp_path, content)), {"a.weight": values.reshape(2, 3)})


def test_the_mapping_with_most_tensors_is_the_state_dict(tmp_path: Path) -> None:
    """Training scripts save a metric as a tensor beside it."""
    content = {"best_acc1": torch_like.tensor(np.array(61.5)), "state_dict": torch_like.state_dict(ARRAYS)}
    check(files.read(write(tmp_path, torch_like.saved(content))), ARRAYS)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_share_a_storage_and_may_be_transposed(tmp_path: Path, legacy: bool) -> None:
    storage = torch_like.Storage(np.arange(10, dtype=np.float32))
    state = {
        "whole": torch_like.TensorOf(storage, 0, (2, 5), (5, 1)),
        "turned": torch_like.TensorOf(storage, 0, (5, 2), (1, 5)),
        "part": torch_like.TensorOf(storage, 3, (2,), (2,)),
        "none": torch_like.TensorOf(storage, 0, (0, 3), (3, 1)),
    }
    found = files.read(write(tmp_path, torch_like.saved(state, legacy=legacy)))
    whole = np.arange(10, dtype=np.float32).reshape(2, 5)
    check(found, {"whole": whole, "turned": whole.T, "part": whole.flat[[3, 5]], "none": np.zeros((0, 3))})


@pytest.mark.parametrize("legacy", [False, True])
def test_bfloat16_becomes_float32(tmp_path: Path, legacy: bool) -> None:
    values = RNG.normal(size=(3, 4)).astype(ml_dtypes.bfloat16)
    content = torch_like.saved(torch_like.state_dict({"a": values.view(np.uint16)}), legacy=legacy)
    np.testing.assert_array_equal(
        files.read(write(tmp_path, content)).tensors["a"].read(), values.astype(np.float32)
    )


def test_safetensors_are_read(tmp_path: Path) -> None:
    values = RNG.normal(size=(3, 4)).astype(ml_dtypes.bfloat16)
    content = save_safetensors({**ARRAYS, "c": values}, metadata={"made": "here"})
    found = files.read(write(tmp_path, content, "net.anything"))
    check(found, ARRAYS | {"c": values.astype(np.float32)})
    assert found.notes == {"made": "here"}


def test_what_is_written_for_pytorch_is_a_sound_archive_with_aligned_data(tmp_path: Path) -> None:
    arrays: dict[str, np.ndarray] = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "b": np.ones(3, np.float16),
        "c": np.array([2], np.float32),
    }
    content = torch_writer.write(arrays, {"note": "ü"})
    assert content == torch_writer.write(arrays, {"note": "ü"})  # no clock in it
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            place = info.header_offset + 30 + len(info.filename) + len(info.extra)
            assert place % 64 == 0
            assert content[place : place + info.file_size] == archive.read(info)
    found = files.read(write(tmp_path, content))
    check(found, arrays)
    assert found.notes == {"note": "ü"}


class Call:
    """A pickle of it calls a function when it is loaded."""

    def __init__(self, function: Callable[..., Any], *arguments: Any):
        self.parts = function, arguments

    def __reduce__(self) -> Any:
        return self.parts


def forms(pickled: bytes) -> dict[str, bytes]:
    """A pickle as every file that a user may be given holds it."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("net/data.pkl", pickled)
    head = b"".join(pickle.dumps(part, 2) for part in (torch_like.MAGIC, 1001, {"little_endian": True}))
    return {"zip": archive.getvalue(), "legacy": head + pickled, "bare": pickled}


@pytest.mark.parametrize("form", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_no_code_of_a_file_runs(tmp_path: Path, form: str, protocol: int) -> None:
    proof = tmp_path / "it-ran"
    for call in (
        Call(open, str(proof), "w"),
        Call(eval, f"open({str(proof)!r}, 'w')"),
        Call(os.system, f"touch {proof}"),
    ):
        pickled = pickle.dumps({"state_dict": {"a": call}}, protocol)
        with pytest.raises(
            InputError,
            match=r"its pickle names (posix\.system|(builtins|__builtin__)\.eval|(_?io|__builtin__)\.open), which",
        ):
            files.read(write(tmp_path, forms(pickled)[form]))
        assert not proof.exists()
    pickle.loads(pickled)  # the proof can be given
    assert proof.exists()


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02cposix\nsystem\n(X\x04\x00\x00\x00true" + b"tR.",
        b"\x80\x02(X\x04\x00\x00\x00trueiposix\nsystem\n.",  # INST
        b"\x80\x02(cposix\nsystem\nX\x04\x00\x00\x00trueo.",  # OBJ
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x05torch\x8c\x18_utils._rebuild_tensor\x93.",  # a dotted name
        b"\x80\x02ctorch._utils\n_rebuild_tensor\n}X\x01\x00\x00\x00aK\x01sb.",  # BUILD on a function
        b"\x80\x02ctorch._utils\n_rebuild_tensor\nN}X\x05\x00\x00\x00_callK\x01s\x86b.",  # with slots
        b"\x80\x02ccollections\nOrderedDict\nN}X\x07\x00\x00\x00popitemK\x01s\x86b.",
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of two thousand million entries
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",  # a text longer than any file
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a persistent id of another kind
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01K\x01tR.",
    ],
)
def test_crafted_pickles_are_refused(tmp_path: Path, opcodes: bytes) -> None:
    for content in forms(opcodes).values():
        with pytest.raises(InputError) as caught:
            files.read(write(tmp_path, content))
        assert "\n" not in str(caught.value)
    good = torch_like.saved(torch_like.state_dict(ARRAYS))  # nothing that a pickle says outlives it
    check(files.read(write(tmp_path, good)), ARRAYS)
    assert collections.OrderedDict(a=1).popitem() == ("a", 1)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((0, (2, 6), (6, 1)), "a has fewer values"),
        ((8, (3,), (1,)), "a has fewer values"),
        ((0, (10**6, 10**6), (0, 0)), "a has fewer values"),
        ((0, (-1, 2), (1, 1)), "a has no valid shape"),
        ((-1, (2,), (1,)), "a has no valid shape"),
        ((0, (2, 2), (1,)), "a has no valid shape"),
        ((0, (2.0,), (1,)), "a has no valid shape"),
    ],
)
@pytest.mark.parametrize("legacy", [False, True])
def test_shapes_beyond_the_data_are_refused(tmp_path: Path, parts: Any, message: str, legacy: bool) -> None:
    storage = torch_like.Storage(np.arange(10, dtype=np.float32))
    content = torch_like.saved({"a": torch_like.TensorOf(storage, *parts)}, legacy=legacy)
    found = files.read(write(tmp_path, content))
    with pytest.raises(InputError, match=message):
        found.tensors["a"].read()


SOUND = {
    "zip": torch_like.saved({"state_dict": torch_like.state_dict(ARRAYS)}),
    "legacy": torch_like.saved({"state_dict": torch_like.state_dict(ARRAYS)}, legacy=True),
    "safetensors": save_safetensors(ARRAYS),
}


@pytest.mark.parametrize("form", SOUND)
def test_a_file_that_is_cut_anywhere_is_refused(tmp_path: Path, form: str) -> None:
    """As a download that broke off leaves it, or a program that is still writing."""
    whole = SOUND[form]
    for length in sorted({0, 1, 7, 8, 9, 30, *range(0, len(whole), 61), len(whole) - 1}):
        with pytest.raises(InputError) as caught:
            files.read(write(tmp_path, whole[:length]))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("form", SOUND)
@bounded
@given(harm=damage())
def test_a_damaged_file_is_refused_or_read(form: str, tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    with contextlib.suppress(InputError):
        for tensor in files.read(write(tmp_path, harm(SOUND[form]))).tensors.values():
            tensor.read()


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path, form: str) -> None:
    found = files.read(write(tmp_path, SOUND[form]))
    os.truncate(found.path, 200)
    with pytest.raises(InputError, match="truncated"):
        found.tensors["b.count"].read()


def test_changed_data_do_not_pass_the_checksum(tmp_path: Path) -> None:
    whole, data = SOUND["zip"], ARRAYS["a.weight"].tobytes()
    at = whole.index(data)
    found = files.read(write(tmp_path, whole[: at + 3] + b"\x00" + whole[at + 4 :]))
    with pytest.raises(InputError, match=r"the checksum of data/0 does not agree"):
        found.tensors["a.weight"].read()


def archived(**entries: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in entries.items():
            archive.writestr(f"net/{name.replace('_', '.')}", text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty, or is still being written"),
        (b"<html>not found</html>", "neither a checkpoint of PyTorch nor a safetensors file"),
        (archived(a_txt="x"), "no checkpoint of PyTorch"),
        (archived(constants_pkl="x", data_pkl="x"), "is a TorchScript program"),
        (archived(data_pkl="x" * 100), "data.pkl is missing or compressed"),
        (bytes(257) + b"ustar" + bytes(250), "is a tar archive, which PyTorch wrote before"),
        (pickle.dumps([1, 2], 2), "is a pickle, but no checkpoint of PyTorch"),
        (torch_like.saved([1, 2]), "holds a list instead of a state_dict"),
        (torch_like.saved({"epoch": 3}), "no state_dict found; it holds epoch"),
        (torch_like.saved({"epoch": 3}, legacy=True), "no state_dict found; it holds epoch"),
        (torch_like.saved(torch_like.state_dict(ARRAYS), order="big"), "big-endian"),
        (torch_like.saved(torch_like.state_dict(ARRAYS), order="big", legacy=True), "big-endian"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        files.read(write(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "net.pth") in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        files.read(str(tmp_path / "none.pth"))
    with pytest.raises(InputError, match="is a folder"):
        files.read(str(tmp_path))


@given(st.binary(max_size=64))
def test_no_bytes_raise_anything_else(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    place = tmp_path_factory.mktemp("bytes")
    with pytest.raises(InputError):
        files.read(write(place, b"\x80" + content))
