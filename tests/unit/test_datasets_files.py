"""Labelled sets on disk: folders of images, and TFDS array_record sets read without TensorFlow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import datasets
from ssl_single_image.datasets import convert, records, tfds
from ssl_single_image.datasets.base import MemorySplit
from ssl_single_image.datasets.records import StreamedSplit
from ssl_single_image.types import InputError


def colour(i: int, label: int) -> tuple[int, int, int]:
    return (20 * i, 100 * label, 250)


def make_folder(root: Path, *, sizes: list[tuple[int, int]], test: str = "test") -> Path:
    """PATH/{train,test}/{cat,dog}/N.png, one of each size, uniformly `colour(N, label)`."""
    for split in ("train", test):
        for label, name in enumerate(("cat", "dog")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i, size in enumerate(sizes):
                Image.new("RGB", size[::-1], colour(i, label)).save(folder / f"{i}.png")
    return root


def check_colours(split: MemorySplit, shapes: list[tuple[int, int]]) -> None:
    """Images in order of class, then of number; filled as far as the extent says."""
    assert len(split) == 2 * len(shapes)
    for k in range(len(split)):
        label, i = divmod(k, len(shapes))
        height, width = shapes[i]
        assert split.label[k] == label
        assert tuple(split.extent[k]) == (height, width)
        np.testing.assert_array_equal(
            split.image[k, :height, :width], np.broadcast_to(colour(i, label), (height, width, 3))
        )


def test_folder_of_one_size_is_left_alone(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", sizes=[(24, 30)] * 3)
    (tmp_path / "set/train/cat/notes.txt").write_text("not an image")
    (tmp_path / "set/train/cat/.hidden.png").write_text("not an image")
    labelled = datasets.load(f"folder:{tmp_path}/set", size=32)
    assert labelled.classes == ("cat", "dog")
    for split in (labelled.train, labelled.test):
        assert isinstance(split, MemorySplit)
        assert split.image.shape[1:] == (30, 30, 3)
        check_colours(split, [(24, 30)] * 3)


def test_folder_of_varying_sizes(tmp_path: Path) -> None:
    make_folder(tmp_path / "set", sizes=[(60, 90), (90, 60), (20, 20), (30, 300)], test="val")
    labelled = datasets.load("folder:set", size=32, data_dir=str(tmp_path))
    assert isinstance(labelled.test, MemorySplit)
    assert labelled.test.image.shape[1:] == (55, 55, 3)
    check_colours(labelled.test, [(37, 55), (55, 37), (37, 37), (37, 55)])


def test_large_folder_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "set", sizes=[(60, 90), (90, 60)])
    in_memory = datasets.load(f"folder:{tmp_path}/set", size=32).train
    monkeypatch.setattr(records, "MEMORY_LIMIT", 0)
    streamed = datasets.load(f"folder:{tmp_path}/set", size=32).train
    assert isinstance(streamed, StreamedSplit)
    for ours, theirs in zip(streamed.batches(3), in_memory.batches(3), strict=True):
        np.testing.assert_array_equal(ours.image, theirs.image)
        np.testing.assert_array_equal(ours.label, theirs.label)
        np.testing.assert_array_equal(ours.extent, theirs.extent)


def test_folder_mistakes(tmp_path: Path) -> None:
    def refuses(message: str, name: str = f"folder:{tmp_path}/set") -> None:
        with pytest.raises(InputError, match=message) as caught:
            datasets.load(name, size=32)
        assert "\n" not in str(caught.value)

    refuses("no such folder")
    root = tmp_path / "set"
    root.mkdir()
    refuses("no folder train in it")
    make_folder(root, sizes=[(40, 30)])
    (root / "test/dog").rename(root / "test/wolf")
    refuses("classes in train and in test differ: dog, wolf")
    (root / "test/wolf").rename(root / "test/dog")
    (root / "train/dog/0.png").rename(root / "train/dog/0.txt")
    refuses("train/dog: the folder has no images in it")
    (root / "train/dog/0.txt").rename(root / "train/dog/0.png")
    data = (root / "train/dog/0.png").read_bytes()
    (root / "train/dog/0.png").write_bytes(b"nonsense")
    refuses(r"train/dog/0\.png")
    (root / "train/dog/0.png").write_bytes(data[:-30])
    refuses(r"train/dog/0\.png: truncated")
    for split in ("train", "test"):
        (root / split / "dog").rename(tmp_path / f"dog_{split}")
    refuses("one class")
    (root / "test/cat").rename(root / "cat")
    refuses("test: no class folders in it")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_dir with the TFDS set `pets` (varying sizes), made without TensorFlow."""
    root = tmp_path_factory.mktemp("tfds")
    make_folder(root / "source", sizes=[(60, 90), (90, 60), (20, 20)])
    convert.prepare_folder(str(root / "source"), "pets", str(root / "data"))
    return root / "data"


def test_tfds_set_holds_what_the_folder_held(prepared: Path) -> None:
    labelled = datasets.load("tfds:pets", data_dir=str(prepared), size=32)
    assert labelled.classes == ("cat", "dog")
    folder = datasets.load(f"folder:{prepared.parent}/source", size=32)
    for ours, theirs in ((labelled.train, folder.train), (labelled.test, folder.test)):
        assert isinstance(ours, MemorySplit)
        assert isinstance(theirs, MemorySplit)
        a, b = (  # TFDS stores in an order of its own
            sorted(
                (int(split.label[i]), split.image[i].tobytes(), *split.extent[i]) for i in range(len(split))
            )
            for split in (ours, theirs)
        )
        assert a == b


def test_a_validation_set_is_a_part_of_the_training_images(prepared: Path) -> None:
    whole = datasets.load("tfds:pets", data_dir=str(prepared), size=32).train
    labelled = datasets.load("validation:tfds:pets", data_dir=str(prepared), size=32)
    assert labelled.name == "validation:tfds:pets"
    assert (len(labelled.train), len(labelled.test)) == (5, 1)
    assert isinstance(whole, MemorySplit)
    assert isinstance(labelled.train, MemorySplit)
    assert isinstance(labelled.test, MemorySplit)
    np.testing.assert_array_equal(np.concatenate([labelled.train.image, labelled.test.image]), whole.image)
    np.testing.assert_array_equal(np.concatenate([labelled.train.label, labelled.test.label]), whole.label)


def test_tfds_is_read_without_tensorflow_or_its_own_recipes(prepared: Path) -> None:
    code = (
        "import sys; from ssl_single_image import datasets;"
        f"datasets.load('tfds:pets', data_dir={str(prepared)!r}, size=32);"
        "assert 'tensorflow' not in sys.modules;"
        "assert not any(name.startswith('tensorflow_datasets.image_classification.') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_missing_tfds_sets(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cifar10 is not in .*prepare --dataset tfds:cifar10 --data_dir"):
        datasets.load("cifar10", data_dir=str(prepared), size=32)
    with pytest.raises(InputError, match="TFDS knows no such set; did you mean pets"):
        datasets.load("tfds:pet", data_dir=str(prepared), size=32)
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared / "elsewhere"))
    with pytest.raises(InputError, match=r"cifar100 is not in .*elsewhere"):
        datasets.load("cifar100", size=32)


def test_newest_version_and_named_config(tmp_path: Path) -> None:
    for place in ("a/1.9.0", "a/1.10.0", "a/incomplete.XY_2.0.0", "b/x/1.0.0", "b/y/1.0.0"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "features.json").touch()
    assert tfds.find("a", str(tmp_path)) == tmp_path / "a/1.10.0"
    assert tfds.find("b/y", str(tmp_path)) == tmp_path / "b/y/1.0.0"
    with pytest.raises(InputError, match=r"several configs .*: b/x, b/y"):
        tfds.find("b", str(tmp_path))
    (tmp_path / "c/incomplete.XY_1.0.0").mkdir(parents=True)
    (tmp_path / "c/incomplete.XY_1.0.0/features.json").touch()
    with pytest.raises(InputError, match="c is not in"):
        tfds.find("c", str(tmp_path))


def test_cifar10(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MEMORY_LIMIT", 0)  # decoding all of it takes half a minute
    labelled = datasets.load("cifar10", data_dir=str(shared_data / "tfds"), size=32)
    assert (len(labelled.train), len(labelled.test), len(labelled.classes)) == (50_000, 10_000, 10)
    batch = next(labelled.train.batches(500, seed=0))
    image = np.asarray(batch.image)
    assert image.shape == (500, 32, 32, 3)
    np.testing.assert_allclose(np.bincount(batch.label), [50] * 10, atol=30)
    # Channel means of the training images, as published with many CIFAR-10 recipes.
    np.testing.assert_allclose(image.mean((0, 1, 2)) / 255, (0.4914, 0.4822, 0.4465), atol=0.03)
