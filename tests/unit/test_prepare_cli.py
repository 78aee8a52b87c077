"""The `prepare` command."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import datasets
from ssl_single_image.cli import common
from ssl_single_image.datasets.base import identity


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        common.run("prepare", ["prepare", *words])
    return int(caught.value.code or 0)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog", "owl"):
            folder = tmp_path / "source" / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                pixels = rng.integers(0, 256, (30, 40 + i, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return tmp_path / "source"


def test_folder_is_converted_and_checked(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "data")
    assert run("--folder", str(source), "--name", "pets", "--data_dir", data) == 0
    assert "tfds:pets" in capsys.readouterr().out
    assert run("--check", "--dataset", "tfds:pets", "--data_dir", data) == 0
    out = capsys.readouterr().out
    assert "6 training and 6 test images" in out
    assert "3 classes: cat, dog, owl" in out
    assert run("--folder", str(source), "--name", "pets", "--data_dir", data) == 2
    assert "is there already" in capsys.readouterr().err


def test_a_packed_folder_has_the_pixels_of_the_folder(tmp_path: Path) -> None:
    """Of images of one size, which are left alone, and of others, which are scaled."""
    rng = np.random.default_rng(0)
    for name, spread in (("alike", 1), ("mixed", 9)):
        for split in ("train", "test"):
            for kind in ("cat", "dog"):
                folder = tmp_path / name / split / kind
                folder.mkdir(parents=True)
                for i in range(2):
                    pixels = rng.integers(0, 256, (40, 40 + i % spread * 5, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{i}.png")
        assert (
            run("--folder", str(tmp_path / name), "--name", name, "--data_dir", str(tmp_path / "data")) == 0
        )
        loose = datasets.load(f"folder:{tmp_path / name}", size=32)
        packed = datasets.load(f"tfds:{name}", data_dir=str(tmp_path / "data"), size=32)
        assert identity(loose) == identity(packed)


def test_damaged_image_stops_the_conversion(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = source / "train/dog/1.jpg"
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) // 2])
    words = ("--folder", str(source), "--name", "pets", "--data_dir", str(tmp_path / "data"))
    assert run(*words) == 2
    assert "train/dog/1.jpg" in capsys.readouterr().err
    victim.write_bytes(data)
    assert run(*words) == 0  # nothing of the first attempt is in the way


def test_check_of_photos(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--check", "--dataset", "photos") == 0
    assert "32 x 32 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "either --dataset or --folder"),
        (("--dataset", "cifar10", "--folder", "x", "--name", "y"), "either --dataset or --folder"),
        (("--folder", "x"), "--folder and --name go together"),
        (("--dataset", "photos"), "nothing to prepare"),
        (("--dataset", "cifr10"), "unknown data set 'cifr10'; did you mean cifar10"),
        (("--check", "--folder", "x", "--name", "y"), "--check is for --dataset"),
        (("--folder", "x", "--name", "No Good"), "lower-case letters"),
        (("--folder", "missing", "--name", "y"), "no such folder"),
        (("cifar10",), "takes flags only"),
        (("--datset", "cifar10"), "datset"),
        (("--check", "--dataset", "photos", "--size", "0"), "size"),
    ],
)
def test_mistakes(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words) == 2
    err = capsys.readouterr().err.strip()
    assert err.startswith("prepare: error: ")
    assert message in err
    assert len(err.splitlines()) == 1


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed")
def test_tfds_recipe_without_tensorflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--dataset", "cifar10", "--data_dir", str(tmp_path)) == 2
    assert "ssl-single-image[prepare]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
