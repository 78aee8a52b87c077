"""`sample --export`: what is written, how an export is continued, and what is refused."""

from __future__ import annotations

import errno
import io
import os
import signal
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from PIL import Image
from precision import float64

from ssl_single_image import augment, images
from ssl_single_image.cli import common
from ssl_single_image.experiments import export, layouts
from ssl_single_image.objectives.common import crops_key

SPEC = augment.CropSpec.preset("paper", 8)
COUNT = 25


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layouts, "_FOLDER_SHARD", 10)
    monkeypatch.setattr(layouts, "_RECORD_SHARD", 10)
    monkeypatch.setattr(export, "_PIXELS_AT_ONCE", 4 * SPEC.size**2)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    """(COUNT, S, S, 3) uint8: the crops that training with seed 3 sees."""
    atlas = images.build_atlas([images.load_source("builtin:coffee")[0].pixels])
    draw = jax.jit(lambda a: augment.render_crops(a, crops_key(3), jnp.arange(COUNT), SPEC))
    with float64():
        return np.rint(np.asarray(draw(atlas)) * 255).astype(np.uint8)


def command(target: Path, *words: str) -> int:
    fixed = ["--image=builtin:coffee", f"--size={SPEC.size}", f"--count={COUNT}", "--seed=3"]
    # In float64: crops are then rounded alike in batches of any size, colour jitter and all.
    with pytest.raises(SystemExit) as caught, float64():
        common.run("sample", ["sample", f"--export={target}", *fixed, *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def read_folder(root: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(root.glob("[0-9]*/*"))])


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_folder_of_png_holds_the_crops_of_training(tmp_path: Path, expected: np.ndarray) -> None:
    assert command(tmp_path / "crops") == 0
    files = sorted(str(path.relative_to(tmp_path / "crops")) for path in (tmp_path / "crops").glob("*/*"))
    assert files[0] == "0000/00000000.png"
    assert files[-1] == "0002/00000024.png"
    np.testing.assert_array_equal(read_folder(tmp_path / "crops"), expected)


@pytest.mark.parametrize(("form", "error"), [("jpeg", 6.0), ("webp", 0.0)])
def test_other_formats(tmp_path: Path, expected: np.ndarray, form: str, error: float) -> None:
    assert command(tmp_path, f"--format={form}") == 0
    got = read_folder(tmp_path)
    assert got.shape == expected.shape
    assert np.abs(got.astype(float) - expected).mean() <= error


def test_jpg_is_jpeg(tmp_path: Path) -> None:
    assert command(tmp_path, "--format=jpg") == 0
    before = snapshot(tmp_path)
    assert any(name.endswith(".jpeg") for name in before)
    assert command(tmp_path, "--format=jpeg") == 0
    assert snapshot(tmp_path) == before


def test_array_record_is_a_tfds_data_set(tmp_path: Path, expected: np.ndarray) -> None:
    assert command(tmp_path, "--format=array_record") == 0
    source = tfds.builder_from_directory(str(tmp_path)).as_data_source("train")
    assert len(source) == COUNT
    for i in (0, 9, 10, 24):
        assert source[i]["index"] == i
        np.testing.assert_array_equal(source[i]["image"], expected[i])


def test_one_array_record_file(tmp_path: Path, expected: np.ndarray) -> None:
    file = tmp_path / "crops.array_record"
    assert command(file) == 0
    assert sorted(tmp_path.iterdir()) == [file, file.with_name("crops.array_record.json")]
    reader = array_record_module.ArrayRecordReader(str(file))
    assert reader.num_records() == COUNT
    got = [np.asarray(Image.open(io.BytesIO(reader.read([i])[0]))) for i in range(COUNT)]
    np.testing.assert_array_equal(got, expected)
    before = file.read_bytes()
    assert command(file) == 0  # it is complete
    assert file.read_bytes() == before


@pytest.mark.parametrize("form", ["png", "array_record"])
def test_a_stopped_export_goes_on_to_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    assert command(tmp_path / "whole", f"--format={form}") == 0
    write = layouts.Folder.write if form == "png" else layouts.Records.write
    layout = layouts.Folder if form == "png" else layouts.Records

    def stopped(self, number: int, first: int, encoded: list[bytes]) -> None:
        write(self, number, first, encoded)
        if number == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(layout, "write", stopped)
        assert command(tmp_path / "cut", f"--format={form}") == 128 + signal.SIGINT
    assert "the same command continues" in capsys.readouterr().err
    before = snapshot(tmp_path / "cut")
    assert 0 < len(before) < len(snapshot(tmp_path / "whole"))
    assert command(tmp_path / "cut", f"--format={form}") == 0
    assert snapshot(tmp_path / "cut") == snapshot(tmp_path / "whole")


@pytest.mark.parametrize("place", ["png", "array_record", "crops.array_record"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_raised_count_extends_an_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str, cut: bool
) -> None:
    words = [] if "." in place else [f"--format={place}"]
    (tmp_path / "whole").mkdir()
    (tmp_path / "grown").mkdir()
    assert command(tmp_path / "whole" / place, *words) == 0
    assert command(tmp_path / "grown" / place, *words, "--count=13") == 0
    if cut:  # an extension is continued as any export is

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(export, "_SHARDS_IN_FLIGHT", 1)
            patch.setattr(layouts.Folder, "write", full)
            patch.setattr(layouts, "_write_records", full)
            assert command(tmp_path / "grown" / place, *words) == 1
    assert command(tmp_path / "grown" / place, *words) == 0
    assert snapshot(tmp_path / "grown") == snapshot(tmp_path / "whole")
    assert command(tmp_path / "grown" / place, *words, "--count=13") == 2
    assert "is of an export of 25 crops already" in capsys.readouterr().err
    assert snapshot(tmp_path / "grown") == snapshot(tmp_path / "whole")


def test_an_attempt_that_wrote_nothing_does_not_keep_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: np.ndarray
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(layouts.Folder, "write", full)
        assert command(tmp_path / "crops", "--crop=hue=0") == 1
    assert command(tmp_path / "crops") == 0
    np.testing.assert_array_equal(read_folder(tmp_path / "crops"), expected)


def test_a_full_disk_leaves_whole_shards_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], expected: np.ndarray
) -> None:
    write_bytes = Path.write_bytes

    def full(self: Path, content: bytes) -> int:
        if self.name.startswith("00000013"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_bytes(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        assert command(tmp_path) == 1
    error = capsys.readouterr().err
    assert "the disk is full: 10 crops are written" in error
    assert "the same command continues" in error
    np.testing.assert_array_equal(read_folder(tmp_path), expected[:10])
    assert command(tmp_path) == 0
    np.testing.assert_array_equal(read_folder(tmp_path), expected)
    assert not list(tmp_path.glob(".*.tmp"))


def test_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    for target, words, message in (
        (tmp_path / "file", (), "is there already"),
        (tmp_path / "a", ("--format=gif",), "png, jpeg, webp, array_record"),
        (tmp_path / "a", ("--out=x.png",), "give one of them"),
        (tmp_path / "a", ("--count=0",), "count = 0"),
        (tmp_path / "a", ("--crop=rotation=200",), "rotation"),
        (tmp_path / "a", ("--crop=rotatoin=20",), "rotatoin"),
    ):
        assert command(target, *words) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_an_export_of_other_crops_is_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(tmp_path) == 0
    assert command(tmp_path, "--crop=rotation=10") == 2
    assert "crop.rotation was 35.0, is 10.0" in capsys.readouterr().err
