"""Sets with several labels an image: reading them from TFDS, probing them, and who refuses them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from label_sets import CLASSES, example, in_memory, write
from probe_fakes import loaded, tiny_backbone  # noqa: F401
from sklearn.linear_model import Ridge
from test_closed_probes import make_setup
from test_linear_probe import fit_cached
from test_linear_probe import make_setup as head_setup
from test_tables import probe as written

from ssl_single_image import datasets
from ssl_single_image.analysis import tables
from ssl_single_image.cli import common
from ssl_single_image.datasets import MemorySplit, labelling, records
from ssl_single_image.datasets.base import identity, padded
from ssl_single_image.probes import ProbeConfig, cached, linear, losses, make_plan, ridge, runner
from ssl_single_image.types import InputError

COUNTS = {"train": 30, "validation": 20, "test": 40}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VOC 2007 in small, a set of tags without difficult ones, one with both forms, and one with one label an image."""
    folder = tmp_path_factory.mktemp("tfds")
    write(folder, "voc", COUNTS, config="2007")
    write(folder, "tags", {"train": 12, "test": 9}, labels=("tags",))
    write(folder, "both", {"train": 12, "test": 9}, labels=("labels", "label"))
    write(folder, "single", {"train": 12, "test": 9}, labels=("label",))
    return folder


def load(name: str, folder: Path, **changes: Any) -> datasets.LabelledSet:
    return datasets.load(name, data_dir=str(folder), size=16, **changes)


def test_targets_are_absent_present_or_ignored():
    found = labelling.targets(5, present=[1, 2, 4], certain=[2])
    assert found.tolist() == [
        labelling.ABSENT,
        labelling.IGNORED,
        labelling.PRESENT,
        labelling.ABSENT,
        labelling.IGNORED,
    ]
    assert labelling.is_image(labelling.Form(5).blank(3)).tolist() == [False] * 3
    assert labelling.is_image(found[None]).tolist() == [True]


def test_voc_is_trained_on_two_splits_and_difficult_objects_are_ignored(data_dir):
    data = load("voc07", data_dir, multi_label=None)
    assert (data.name, data.classes, data.labels) == ("voc07", CLASSES, labelling.Form(4))
    assert (len(data.train), len(data.test)) == (50, 40)
    assert isinstance(data.test, MemorySplit)
    rng = np.random.default_rng(2)
    expected = [labelling.targets(4, *labels) for _, *labels in (example(rng) for _ in range(40))]
    np.testing.assert_array_equal(data.test.label, expected)
    assert data.test.label.dtype == np.int8
    assert set(np.unique(data.test.label)) == {labelling.ABSENT, labelling.PRESENT, labelling.IGNORED}


def test_a_set_of_tags_has_nothing_to_ignore(data_dir):
    data = load("tfds:tags", data_dir, multi_label=True)
    assert isinstance(data.train, MemorySplit)
    assert set(np.unique(data.train.label)) == {labelling.ABSENT, labelling.PRESENT}
    assert load("tfds:both", data_dir, multi_label=None).labels == labelling.ONE
    assert load("tfds:both", data_dir, multi_label=True).labels.several
    assert identity(data) != identity(load("voc07", data_dir, multi_label=None))


def test_streamed_and_padded_batches_hold_the_same_labels(data_dir, monkeypatch):
    held = load("voc07", data_dir, multi_label=None).train
    monkeypatch.setattr(records, "MEMORY_LIMIT", 0)
    streamed = load("voc07", data_dir, multi_label=None).train
    assert not isinstance(streamed, MemorySplit)
    for ours, theirs in zip(streamed.batches(20), held.batches(20), strict=True):
        np.testing.assert_array_equal(ours.label, theirs.label)
        np.testing.assert_array_equal(ours.image, theirs.image)
    *_, empty = streamed.batches(48, shard=(1, 2))  # of a last batch of two
    assert np.asarray(empty.label).shape == (0, 4)
    batch = padded(ours, 4, 8)
    assert labelling.is_image(batch.label).tolist() == [True] * 4 + [False] * 4
    np.testing.assert_array_equal(batch.label[:4], ours.label[:4])


@pytest.mark.parametrize(
    ("name", "multi_label", "message"),
    [
        ("voc07", False, "voc/2007: its images have several labels each; a set with one label an image"),
        ("tfds:single", True, "single: its images have one label each; a multi-label set is needed"),
        ("photos", True, "photos: its images have one label each; a multi-label set is needed"),
    ],
)
def test_labels_of_the_other_form_are_refused(data_dir, name, multi_label, message):
    with pytest.raises(InputError, match=message):
        load(name, data_dir, multi_label=multi_label)


def run(*encoders: Any, data: Any = None, **changes: Any) -> dict[str, Any]:
    config = ProbeConfig.from_config({"dataset": "tints", "batch_size": 20, "max_features": 200} | changes)
    return runner.run(make_plan(encoders or [loaded()], data or in_memory(), config))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("ridge", {"options": {"held_out": 0.3}}),
        ("linear", {"epochs": 10, "seeds": 2}),
        ("linear", {"epochs": 10, "protocol": "published"}),
    ],
)
def test_kinds_learn_several_classes_and_say_how_well_they_know(kind, changes):
    probe = run(loaded(), loaded("random:tiny", seed=1), kind=kind, **changes)
    assert probe["measure"] == "mAP"
    test = in_memory().test
    assert isinstance(test, MemorySplit)
    label = test.label
    known = label != labelling.IGNORED
    shares = [(label[known[:, i], i] == labelling.PRESENT).mean() for i in range(3)]
    assert probe["chance"] == pytest.approx(100 * np.mean(shares))
    trained, untrained = probe["results"]
    for layer, values in trained["layers"].items():
        assert values["mAP"] > probe["chance"] + 20
        assert values["mAP11"] > probe["chance"] + 20
        assert values["interval"][0] < values["mAP"] < values["interval"][1]
        assert values["per_class"][3] is None
        assert np.mean(values["per_class"][:3]) == pytest.approx(values["mAP"], abs=1e-3)
        assert not {"top1", "top5", "held_out_top1"} & set(values)
        gain = trained["gains"][layer]
        assert gain["points"] == pytest.approx(values["mAP"] - untrained["layers"][layer]["mAP"], abs=1e-3)
        assert gain["interval"][0] <= gain["points"] <= gain["interval"][1]
    assert ("held_out_mAP" in trained["layers"]["conv1"]) == (kind == "ridge")
    json.dumps(probe, allow_nan=False)


@pytest.mark.usefixtures("float64")
def test_ridge_is_that_of_scikit_learn_class_by_class():
    """An ignored image has its class's share as target, and the penalty is the best by mAP on images held out."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 12))
    label = rng.choice(3, (120, 3), p=[0.6, 0.3, 0.1]).astype(np.int8)
    form = labelling.Form(3)
    setup = make_setup().__class__(**{**vars(make_setup()), "labels": form})
    train = linear.Labelled(jnp.asarray(x), jnp.asarray(label))
    moments = linear.Moments(jnp.asarray(x.mean(0)), jnp.asarray(x.var(0)))
    weights, _, _ = ridge.fit(setup, ridge.Options((0.3,)), 120, train, jax.random.key(0), moments)
    z = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    for number, one in enumerate(label.T):
        share = (one == labelling.PRESENT).sum() / (one != labelling.IGNORED).sum()
        target = np.where(one == labelling.IGNORED, share, one == labelling.PRESENT)
        reference = Ridge(alpha=0.3 * 120, fit_intercept=False).fit(z, target - share)
        np.testing.assert_allclose(weights.kernel[:, number], reference.coef_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(weights.bias[number], share, rtol=1e-12)


def test_the_loss_leaves_out_what_is_ignored_and_padding():
    scores = jnp.asarray([[2.0, -1.0, 50.0], [0.5, 9.0, 9.0], [7.0, 7.0, 7.0]])
    label = jnp.asarray([[1, 0, 2], [0, 2, 2], [-1, -1, -1]], jnp.int8)
    (total, count) = losses.metrics({"a": scores}, label)["a/loss"]
    expected = np.log1p(np.exp(-2.0)) + np.log1p(np.exp(-1.0)) + np.log1p(np.exp(0.5))
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert float(count) == 2
    changed = losses.metrics({"a": scores.at[0, 2].set(-3.0)}, label)["a/loss"][0]
    assert float(changed) == float(total)


@pytest.mark.parametrize("kind", ["knn", "fewshot"])
def test_kinds_that_know_one_class_an_image_refuse(kind):
    with pytest.raises(
        InputError, match=f"kind = '{kind}': images of tints have several labels each, which only"
    ):
        run(kind=kind)


def test_a_test_set_without_any_class_is_refused():
    data = in_memory()
    assert isinstance(data.test, MemorySplit)
    ignored = np.where(data.test.label == labelling.PRESENT, labelling.IGNORED, data.test.label)
    empty = MemorySplit(data.test.image, ignored, data.test.extent)
    with pytest.raises(InputError, match="none of the 100 test images has any class"):
        run(data=datasets.LabelledSet("tints", CLASSES, data.train, empty, data.labels), kind="ridge")


@pytest.mark.usefixtures("float64")
def test_heads_for_several_classes_are_the_same_on_four_devices():
    """Images that padding fills up and classes that are ignored count on no device."""
    rng = np.random.default_rng(0)
    label = rng.choice(3, (24, 3), p=[0.5, 0.3, 0.2]).astype(np.int8)
    label[20:] = labelling.PADDING
    cache = cached.Cache({"a": jnp.asarray(rng.normal(size=(24, 6)))}, jnp.asarray(label))
    setup = head_setup(features={"a": 6}, labels=labelling.Form(3), dtype="float64")
    (_, one, a), (_, four, b) = (fit_cached(setup, cache, 20, 3, count) for count in (1, 4))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), one.params, four.params
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), a, b)
    assert np.abs(one.params["a"]["bias"]).min() > 0


def command(name: str, *words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        common.run(name, [name, *words])
    return int(caught.value.code or 0)


def test_the_command_names_the_measure_and_refuses_in_one_line(data_dir, tmp_path, capsys):
    words = ["--checkpoint=random:alexnet32", f"--data_dir={data_dir}", "--config=voc07"]
    words += ["--config.max_features=70", "--config.batch_size=20", "--layers=conv1"]
    assert command("probe", *words, f"--workdir={tmp_path / 'p'}") == 0
    text = (tmp_path / "p/probe.md").read_text()
    assert "; mAP, % ± half of the 95 % interval" in text
    assert "; 11-point mAP, %" in text
    assert "accuracy" not in text
    assert "without classes that no test image has (none)" in text
    capsys.readouterr()
    assert command("probe", *words, "--config.kind=knn", f"--workdir={tmp_path / 'q'}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert "kind = 'knn'" in line
    assert command("report", f"--workdir={tmp_path / 'r'}", "--nointeractive", str(tmp_path / "p")) == 0
    page = (tmp_path / "r/index.html").read_text()
    assert "Average precision by class and layer" in page
    assert "11-point mAP, %" in page
    assert "ccuracy" not in page.partition("<main>")[2]
    assert command("prepare", "--check", "--dataset=voc07", f"--data_dir={data_dir}") == 0
    assert "4 classes: red, green, blue, none" in capsys.readouterr().out
    assert (
        command(
            "finetune", "--config=photos", "--config.dataset=voc07", *words[:2], f"--workdir={tmp_path}/f"
        )
        == 2
    )
    assert "several labels each" in capsys.readouterr().err


def test_measures_never_share_a_table_or_a_column():
    first = written({"checkpoint": "a", "step": 0, "backbone": "b", "layers": {"conv1": {"mAP": 50.0}}})
    merged = tables.merge([first | {"measure": "mAP"}, written()])
    assert len(merged) == 2
    assert "measure is accuracy instead of mAP" in tables.apart(merged)[0]
