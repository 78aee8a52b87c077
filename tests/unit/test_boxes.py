"""Objects in given boxes: reading them from TFDS, pooling a layer over a box, and what a probe says of them."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from test_multi_label import command

from ssl_single_image import datasets
from ssl_single_image.datasets import labelling
from ssl_single_image.datasets.base import identity, padded
from ssl_single_image.probes import pooling
from ssl_single_image.types import InputError

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 220)}
POSES = ("Frontal", "Left", "Rear")
COUNTS = {"train": 24, "validation": 16, "test": 20}


def scene(rng: np.random.Generator) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """A grey image of 30 x 40 pixels with one or two rectangles, one on each side; no rear is ever seen."""
    pixels = rng.normal(120, 8, (30, 40, 3))
    found = []
    for left in (2, 22)[: rng.integers(1, 3)]:
        (top, height), width = rng.integers((0, 14), (6, 24)), int(rng.integers(10, 17))
        label = int(rng.integers(3))
        pixels[top : top + height, left : left + width] = list(COLOURS.values())[label]
        box = np.array([top / 30, left / 40, (top + height) / 30, (left + width) / 40], np.float32)
        found.append(
            {
                "bbox": tfds.features.BBox(*(float(end) for end in box)),
                "label": label,
                "pose": int(rng.integers(2)),
                "is_truncated": bool(rng.random() < 0.4),
                "is_difficult": bool(rng.random() < 0.15),
            }
        )
    return pixels.clip(0, 255).astype(np.uint8), found


def write(folder: Path, name: str, config: str, boxes: bool = True) -> None:
    """`scene`s as the TFDS set `name/config`."""

    class Made(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=config)] if config else []

        def _info(self) -> tfds.core.DatasetInfo:
            kinds = tfds.features
            inner: dict[str, Any] = {
                "label": kinds.ClassLabel(names=list(COLOURS)),
                "pose": kinds.ClassLabel(names=list(POSES)),
                "is_truncated": np.bool_,
                "is_difficult": np.bool_,
            }
            inner |= {"bbox": kinds.BBoxFeature()} if boxes else {}
            features = kinds.FeaturesDict({"image": kinds.Image(), "objects": kinds.Sequence(inner)})
            return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {
                split: self._generate_examples(n, count) for n, (split, count) in enumerate(COUNTS.items())
            }

        def _generate_examples(self, seed: int, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
            rng = np.random.default_rng(seed)
            for number in range(count):
                pixels, objects = scene(rng)
                out = io.BytesIO()
                Image.fromarray(pixels).save(out, "png")
                kept = [{key: one[key] for key in one if boxes or key != "bbox"} for one in objects]
                yield number, {"image": out.getvalue(), "objects": kept}

    Made.name = name
    Made(data_dir=folder, file_format="array_record", config=config).download_and_prepare(
        file_format="array_record"
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC 2007 in small, and the same without boxes."""
    folder = tmp_path_factory.mktemp("tfds")
    write(folder, "voc", "2007")
    write(folder, "plain", "2007", boxes=False)
    return folder


def load(folder: Path, name: str = "voc07_boxes") -> Any:
    return datasets.load(name, data_dir=str(folder), size=32, multi_label=None, boxed=True)


def expected(seed: int, count: int) -> list[tuple[int, dict[str, Any], int]]:
    """(image, object, how many objects of that image count) of a split, without difficult ones."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        kept = [one for one in scene(rng)[1] if not one["is_difficult"]]
        found += [(number, one, len(kept)) for one in kept]
    return found


def test_examples_are_objects_that_are_not_difficult(data_dir):
    data = load(data_dir)
    known = expected(2, COUNTS["test"])
    assert (data.classes, data.labels, data.boxed) == (tuple(COLOURS), labelling.Form(3), True)
    assert len(data.train) == len(expected(0, COUNTS["train"])) + len(expected(1, COUNTS["validation"]))
    (batch,) = data.test.batches(len(known))
    np.testing.assert_allclose(batch.box, [[*one["bbox"]] for _, one, _ in known], rtol=1e-6)
    np.testing.assert_array_equal(batch.label.argmax(1), [one["label"] for _, one, _ in known])
    np.testing.assert_array_equal(np.sort(batch.label, 1), [[0, 0, 1]] * len(known))
    assert batch.image.shape == (len(known), 32, 32, 3)
    for image, (top, left, bottom, right), (_, one, _) in zip(batch.image, batch.box, known, strict=True):
        middle = image[
            int(16 * (top + bottom)), int(16 * (left + right))
        ]  # squeezed to 32 x 32, as the box is
        np.testing.assert_allclose(middle, list(COLOURS.values())[one["label"]], atol=12)
    groups = {
        "alone in its image": [count == 1 for *_, count in known],
        "beside others": [count > 1 for *_, count in known],
        "whole": [not one["is_truncated"] for _, one, _ in known],
        "truncated": [one["is_truncated"] for _, one, _ in known],
        "pose: Frontal": [one["pose"] == 0 for _, one, _ in known],
        "pose: Left": [one["pose"] == 1 for _, one, _ in known],
    }
    assert {name: rows.tolist() for name, rows in data.groups.items()} == groups


def test_boxes_stay_with_their_images_in_any_order(data_dir):
    data = load(data_dir)
    (whole,) = data.train.batches(len(data.train))
    known = {image.tobytes() + box.tobytes() for image, box in zip(whole.image, whole.box, strict=True)}
    batches = data.train.batches(8, seed=3, start=1, shard=(1, 2))
    for _, batch in zip(range(9), batches, strict=False):
        assert {
            image.tobytes() + box.tobytes() for image, box in zip(batch.image, batch.box, strict=True)
        } <= known
    first: Any = next(data.test.batches(5))
    filled: Any = padded(first, 2, 8)
    np.testing.assert_array_equal(filled.box[:2], first.box[:2])
    np.testing.assert_array_equal(filled.box[2:], [[0, 0, 1, 1]] * 6)


def test_other_boxes_are_another_set(data_dir):
    data = load(data_dir)
    smaller = dataclasses.replace(data.test, box=data.test.box * np.float32(0.9))
    assert identity(dataclasses.replace(data, test=smaller)) != identity(data)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_a_region_is_the_integral_of_the_map_over_its_bins(side):
    """Reference: the map on a grid that is so fine that every edge of a bin lies on it."""
    rng = np.random.default_rng(0)
    fine, x = 36, rng.normal(size=(4, 5, 4, 2)).astype(np.float32)  # cells of 36 x 36 points
    ends = np.array([[0, 0, 180, 144], [18, 6, 24, 12], [90, 30, 150, 138], [174, 138, 180, 144]])
    box = (ends / [180, 144, 180, 144]).astype(np.float32)
    dense = x.repeat(fine, 1).repeat(fine, 2)
    for row, (top, left, bottom, right) in enumerate(ends):
        height, width = (bottom - top) // side, (right - left) // side
        inside = dense[row, top:bottom, left:right].reshape(side, height, side, width, 2)
        ours = pooling.Region(side)(jnp.asarray(x), jnp.asarray(box))[row]
        np.testing.assert_allclose(ours, inside.mean((1, 3)), rtol=1e-4, atol=1e-5)


def test_regions_have_as_many_bins_as_there_is_room_for():
    found = pooling.regions({"a": (8, 8, 100), "b": (2, 2, 10), "c": (8, 8, 10)}, 400)
    assert {layer: pool.side for layer, pool in found.items()} == {"a": 2, "b": 2, "c": 3}


def test_a_probe_tells_neighbours_apart_and_says_how_groups_do(data_dir, tmp_path, capsys):
    words = ["--checkpoint=random:alexnet32", f"--data_dir={data_dir}", "--config=voc07_boxes"]
    words += ["--config.batch_size=20", "--layers=conv1,conv2", "--config.max_features=600"]
    assert command("probe", *words, f"--workdir={tmp_path / 'p'}") == 0
    result = json.loads((tmp_path / "p/probe.json").read_text())
    assert (result["measure"], result["examples"]) == ("mAP", "objects")
    first = result["results"][0]["layers"]["conv1"]
    assert first["mAP"] > 95  # two colours in an image, and the box says which one is meant
    assert set(first["groups"]) == set(load(data_dir).groups)
    assert first["groups"]["truncated"]["examples"] == int(load(data_dir).groups["truncated"].sum())
    text = (tmp_path / "p/probe.md").read_text()
    assert "test objects, chance level" in text
    assert "`random:alexnet32`: mAP by group of test objects, %" in text
    assert "| pose: Left" in text
    assert command("report", f"--workdir={tmp_path / 'r'}", "--nointeractive", str(tmp_path / "p")) == 0
    assert command("prepare", "--check", "--dataset=voc07_boxes", f"--data_dir={data_dir}") == 0
    assert "test objects, decoded onto 32 x 32 pixels" in capsys.readouterr().out
    for more in (["--config.kind=knn"], ["--config.pooling=adaptive", "--config.protocol=published"]):
        assert command("probe", *words, *more, f"--workdir={tmp_path / 'q'}") == 2
    analysing = ["--checkpoint=random:alexnet32", f"--data_dir={data_dir}", "--data=voc07_boxes"]
    assert command("analyse", *analysing, f"--workdir={tmp_path / 'a'}") == 2
    assert "its examples are objects in boxes, which only `probe` can take" in capsys.readouterr().err


def test_a_set_without_boxes_is_refused(data_dir):
    with pytest.raises(
        InputError, match="boxes:plain/2007: 0 features with a box and a label for each object"
    ):
        load(data_dir, "boxes:plain/2007")
    with pytest.raises(InputError, match="data set nothing is not in"):
        load(data_dir, "boxes:nothing")
