"""Training images of labelled sets as source images, shrunk sources, and runs on both."""

from __future__ import annotations

import json
import operator
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ssl_single_image as ssi
from ssl_single_image import augment, datasets, images
from ssl_single_image.datasets import MemorySplit, records, sources
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.experiments.pretraining import pretrain
from ssl_single_image.experiments.results import Run
from ssl_single_image.types import InputError

FIELDS = {"steps": 2, "batch_size": 4, "log_every": 1, "eval_every": 0, "crop.min_area": 0.2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled set of images of two sizes."""
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for part, count in (("train", 3), ("test", 1)):
        for name, shape in (("a", (32, 32, 3)), ("b", (20, 40, 3))):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, shape, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def test_training_images_are_those_that_labelled_training_decodes(folder: Path) -> None:
    source = f"unlabelled:folder:{folder}"
    found = sources.load_source(source, size=32)
    train = datasets.load(f"folder:{folder}", size=32).train
    assert isinstance(train, MemorySplit)
    assert [image.name for image in found] == [f"{source}, image {i}" for i in range(6)]
    for image, canvas, (height, width) in zip(found, train.image, train.extent, strict=True):
        np.testing.assert_array_equal(image.pixels, canvas[:height, :width])
    assert {image.pixels.shape for image in found} == {(37, 37, 3), (37, 55, 3)}
    assert sources.source_files(source) == []
    assert [image.pixels.shape[:2] for image in sources.load_source(source, shrink=4)][:1] == [(10, 10)]


def test_a_set_has_one_record_with_a_hash_of_all_its_pixels(folder: Path) -> None:
    source = f"unlabelled:folder:{folder}"
    found = sources.load_source(source)
    (record,) = sources.records(source, found)
    assert record | {"sha256": ""} == {"name": source, "images": 6, "sha256": ""}
    assert sources.records(source, sources.load_source(source)) == [record]
    found[5].pixels[-1, -1, -1] ^= 1
    assert sources.records(source, found) != [record]
    photographs = ssi.load_source("builtin:coffee+rocket")
    assert [one["name"] for one in sources.records("", photographs)] == ["builtin:coffee", "builtin:rocket"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("unlabelled:", "unknown data set ''"),
        ("unlabelled:nope", "unknown data set 'nope'"),
        ("unlabelled:cifar10", "data set cifar10 is not in"),
        ("unlabelled:folder:nowhere", "no such folder"),
    ],
)
def test_a_set_that_is_not_there(source: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as error:
        sources.load_source(source, data_dir=str(tmp_path))
    assert "\n" not in str(error.value)


def test_a_set_too_large_for_memory_is_refused_before_it_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "MEMORY_LIMIT", 3 * 55**2 * 6 - 1)
    with pytest.raises(InputError, match="6 images are more than the"):
        sources.load_source(f"unlabelled:folder:{folder}")


def test_windows_too_small_are_refused_in_a_line_that_says_what_to_set(folder: Path, tmp_path: Path) -> None:
    config = pretrain_config("rotnet", preset="demo", image=f"unlabelled:folder:{folder}", shrink=2)
    with pytest.raises(
        InputError, match=r"0 \(19 x 19 pixels\): too small .* set min_area to 0.012 or"
    ) as error:
        pretrain(config, tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_all_training_images_of_cifar(shared_data: Path) -> None:
    found = sources.load_source("unlabelled:cifar10", data_dir=str(shared_data / "tfds"))
    assert len(found) == 50_000
    (record,) = sources.records("unlabelled:cifar10", found)
    assert record["images"] == 50_000
    start = time.process_time()
    atlas = images.build_atlas([image.pixels for image in found])
    assert time.process_time() - start < 60
    assert atlas.texels.nbytes < 500e6
    names, shapes = [image.name for image in found], [image.pixels.shape for image in found]
    augment.check_source(augment.CropSpec.preset("paper", 32).replace(min_area=0.35), shapes, names)
    with pytest.raises(InputError, match=r"set min_area to 0\.004 or more") as error:
        augment.check_source(augment.CropSpec.preset("paper", 32), shapes, names)
    assert len(str(error.value)) < 250


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = pretrain_config(
        "rotnet",
        preset="demo",
        image=f"unlabelled:folder:{folder.name}",
        data_dir=str(folder.parent),
        **FIELDS,
    )
    return pretrain(config, tmp_path_factory.mktemp("runs") / "run")


def test_a_run_on_images_without_labels(run: Run, folder: Path) -> None:
    (record,) = run.config["inputs"]
    assert (record["name"], record["images"]) == (f"unlabelled:folder:{folder.name}", 6)
    assert (run.folder / "samples.png").exists()
    assert run.config["shrink"] == 1


def test_a_run_on_a_shrunk_photograph_is_another_run(run: Run, tmp_path: Path) -> None:
    fields = {**FIELDS, "steps": 1}
    config = pretrain_config("rotnet", preset="demo", image="builtin:coffee", shrink=4, **fields)
    (record,) = pretrain(config, tmp_path / "run").config["inputs"]
    assert record["shape"] == [100, 150, 3]
    with pytest.raises(InputError, match="shrink was 4, is 2"):
        pretrain(configs.update(config, {"shrink": 2}), tmp_path / "run")


def test_a_run_begun_before_a_field_existed_is_resumed(run: Run, tmp_path: Path) -> None:
    """Its record and its checkpoint lack fields of the config and of its sections; the defaults stand for them."""
    old = tmp_path / "run"
    shutil.copytree(run.folder, old)
    (metadata,) = old.glob("checkpoints/*/meta/metadata")
    for path, config_of in ((old / "config.json", dict), (metadata, operator.itemgetter("config"))):
        stored = json.loads(path.read_text())
        config = config_of(stored)
        del config["shrink"], config["crop"]["interpolation"], config["backbone_options"]["first_norm"]
        stored.get("sha256", {}).pop("meta", None)  # of the stored config
        path.write_text(json.dumps(config if config_of is dict else stored))
    config = {name: value for name, value in run.config.items() if name not in ("inputs", "environment")}
    assert pretrain(config, old).config["shrink"] == 1
    with pytest.raises(InputError, match="shrink was 1, is 2"):
        pretrain(config | {"shrink": 2}, old)


@pytest.mark.parametrize("kind", ["probe", "finetune"])
def test_other_configs_are_completed_too(kind: str) -> None:
    whole = configs.SCHEMAS[kind]().to_config() | {"checkpoint": ["runs/a"]}
    configs._complete(whole, configs.CHOICES[kind], {})
    old = {name: value for name, value in whole.items() if name != "seed"}
    old["optimizer"] = {name: value for name, value in whole["optimizer"].items() if name != "warmup"}
    assert configs.completed(kind, old) == whole
    assert configs.completed(kind, {"command": "analyse"}) == {"command": "analyse"}
