"""The probe's runner and its command: results, determinism, and what is refused before anything is computed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_fakes import SPEC, labelled, loaded, striped, tiny_backbone  # noqa: F401

from ssl_single_image.cli import common
from ssl_single_image.datasets import LabelledSet, MemorySplit
from ssl_single_image.datasets.base import padded
from ssl_single_image.experiments import probing as command
from ssl_single_image.probes import ProbeConfig, runner
from ssl_single_image.probes import plan as probe_plan
from ssl_single_image.types import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "probe" / "photos.py"


HEADS = {"learning_rate": 0.02, "boundaries": (0.75,), "factors": (0.1,)}


def config(optimizer=None, **changes):
    fields = {"dataset": "stripes", "epochs": 8, "batch_size": 8, "max_features": 200} | changes
    heads = HEADS | {"schedule": "step", "nesterov": False, "weight_decay": 0.01} | (optimizer or {})
    return ProbeConfig.from_config(fields | {"optimizer": heads})


def run(*encoders, data=None, **changes):
    return runner.run(probe_plan.make_plan(encoders or [loaded()], data or labelled(), config(**changes)))


def test_cached_probe_learns_and_says_what_it_measured():
    data = labelled(train=200)
    assert isinstance(data.test, MemorySplit)
    probe = run(loaded(), loaded("random:tiny", seed=1), data=data)
    counts = np.bincount(data.test.label)
    assert {
        key: probe[key]
        for key in ("dataset", "kind", "title", "protocol", "test_images", "train_images", "classes", "size")
    } == {
        "kind": "linear",
        "title": "linear probes",
        "dataset": "stripes",
        "protocol": "cached",
        "test_images": 22,
        "train_images": 200,
        "classes": 3,
        "size": 16,
    }
    assert probe["chance"] == pytest.approx(100 * counts.max() / 22)
    assert [(r["checkpoint"], r["step"], r["backbone"]) for r in probe["results"]] == [
        ("runs/tiny", 7, "tiny"),
        ("random:tiny", 7, "tiny"),
    ]
    for result in probe["results"]:
        assert {layer: v["features"] for layer, v in result["layers"].items()} == {"conv1": 200, "conv2": 192}
        for values in result["layers"].values():
            assert values["top1"] > probe["chance"] + 25
            assert values["top5"] == 100
            assert values["top1"] * 22 / 100 == pytest.approx(round(values["top1"] * 22 / 100), abs=1e-3)


def test_a_probe_is_the_same_again_and_another_seed_differs():
    short = {
        "epochs": 1,
        "optimizer": {"learning_rate": 1e-3},
        "data": labelled(train=16, test=300),
    }
    first = run(**short)
    assert run(**short) == first
    assert run(**short, seed=5) != first


def test_a_limit_draws_from_all_classes():
    """Folders are sorted by class: the first images alone would all be of one."""
    data = labelled(train=90, test=90)
    assert isinstance(data.test, MemorySplit)
    order = np.argsort(data.test.label, kind="stable")
    sorted_split = MemorySplit(data.test.image[order], data.test.label[order], data.test.extent[order])
    probe = run(
        data=dataclasses.replace(data, test=sorted_split),
        train_images=33,
        test_images=15,
        epochs=1,
    )
    assert (probe["train_images"], probe["test_images"]) == (33, 15)
    assert probe["chance"] < 80


def test_published_probe_learns():
    probe = run(
        data=labelled(train=120, test=21, side=20),
        protocol="published",
        test="ten_crop",
        augment={"min_area": 0.7, "hflip": 0.5},
        epochs=6,
    )

    assert probe["test_images"] == 21
    assert all(values["top1"] > probe["chance"] + 25 for values in probe["results"][0]["layers"].values())


def test_features_that_are_not_finite_are_refused():
    broken = loaded("runs/broken")
    broken.encoder.params["conv2"]["kernel"] = jnp.full_like(
        broken.encoder.params["conv2"]["kernel"], jnp.nan
    )
    with pytest.raises(InputError, match="runs/broken: its features at conv2 are not finite"):
        run(broken)


def test_divergence_is_named():
    with pytest.raises(
        InputError, match=r"probe of runs/tiny: the loss at conv\d .*lower optimizer.learning_rate"
    ):
        run(optimizer={"learning_rate": 1e30})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs = 0: must be a whole number, at least 1"),
        ({"batch_size": 64}, "batch_size = 64: there are only 60 training images"),
        ({"batch_size": 9}, "batch_size 9 can't be split evenly"),
        ({"train_images": -1}, "train_images = -1"),
        ({"optimizer": {"learning_rate": 0.0}}, "optimizer.learning_rate = 0.0"),
        ({"optimizer": {"momentum": 1.0}}, "optimizer.momentum = 1.0"),
        ({"optimizer": {"weight_decay": -1.0}}, "optimizer.weight_decay = -1.0"),
        ({"optimizer": {"boundaries": (0.6, 0.3), "factors": (1, 1)}}, "must be ascending"),
        ({"optimizer": {"boundaries": (6,)}}, r"optimizer.boundaries\[0\] = 6"),
        ({"protocol": "fast"}, "protocol = 'fast': must be one of cached, published"),
        ({"test": "five_crop"}, "test = 'five_crop'"),
        ({"feature_dtype": "float16"}, "feature_dtype = 'float16'"),
        ({"augment": {"hflip": 0.5}}, "features are computed once"),
        (
            {"test": "ten_crop", "protocol": "published"},
            "images of stripes are 16 x 16, no larger than the views",
        ),
        ({"augment": {"hflip": 2.0}, "protocol": "published"}, "hflip"),
        ({"augment": {"flip": 0.5}, "protocol": "published"}, "flip"),
        ({"size": -1}, "size = -1"),
        ({"augment": 3}, "augment = 3: must be a mapping"),
        ({"max_features": 7}, "max_features 7"),
    ],
)
def test_bad_config_is_refused(changes, message):
    if changes.get("batch_size") == 9 and jax.device_count() == 1:
        pytest.skip("one device takes any batch")
    with pytest.raises(InputError, match=message):
        probe_plan.make_plan([loaded()], labelled(), config(**changes))


def test_the_rate_falls_at_fractions_of_the_run():
    heads = {"boundaries": (0.5,), "momentum": 0.0, "weight_decay": 0.0, "learning_rate": 0.5}
    optimizer = probe_plan.make_plan([loaded()], labelled(), config(heads, epochs=2)).setups[0].optimizer
    params = {"w": jnp.zeros(1)}
    state, rates = optimizer.init(params), []
    for _ in range(2 * (60 // 8)):
        with jax.numpy_dtype_promotion("standard"):
            change, state = optimizer.update({"w": jnp.ones(1)}, state, params)
        rates.append(-float(change["w"][0]))
    np.testing.assert_allclose(rates, [0.5] * 7 + [0.05] * 7, rtol=1e-6)


def test_one_class_is_refused():
    one = dataclasses.replace(labelled(), classes=("only",))
    with pytest.raises(InputError, match="has 1 class"):
        probe_plan.make_plan([loaded()], one, config())


def test_input_sizes_must_agree_or_be_set():
    large = loaded("runs/large", spec=dataclasses.replace(SPEC, size=32))
    with pytest.raises(InputError, match="runs/tiny: 16, runs/large: 32"):
        probe_plan.input_size([loaded(), large], 0)
    assert probe_plan.input_size([loaded(), large], 24) == 24
    assert probe_plan.input_size([large], 0) == 32


def test_encoders_of_one_spec_share_what_is_compiled():
    plan = probe_plan.make_plan([loaded("a"), loaded("b", seed=1)], labelled(), config())
    assert plan.setups[0] is plan.setups[1]


def test_padding_repeats_no_image_and_labels_it_out():
    batch = padded(striped(5), 3, 8)
    np.testing.assert_array_equal(batch.label[:3], striped(5).label[:3])
    assert batch.label[3:].tolist() == [-1] * 5
    assert batch.image.shape[0] == batch.extent.shape[0] == 8


def test_photographs_pretrained_on_are_excluded():
    encoders = [
        loaded(source="builtin:coffee"),
        loaded(source="cat.jpg"),
        loaded(source="builtin:astronaut"),
        loaded(source="builtin:rocket+coffee+motorcycle_left"),
        loaded(source="synthetic:fractal@0"),
        loaded(
            source="unlabelled:photos"
        ),  # of which the test crops are kept apart, as from labelled training
        loaded(),
    ]
    assert command.pretrained_on(encoders) == ["astronaut", "coffee", "motorcycle_left", "rocket"]


@pytest.fixture
def fakes(monkeypatch):
    """The command with the tiny encoder and the striped images; gives the arguments the data set was asked with."""
    asked: dict[str, object] = {}

    def load(name: str, **arguments: object) -> LabelledSet:
        asked.update(arguments, name=name)
        return dataclasses.replace(labelled(), name=name)

    monkeypatch.setattr(command, "load_encoder", lambda name: loaded(name, source="builtin:coffee"))
    monkeypatch.setattr(command.datasets, "load", load)
    return asked


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        common.run("probe", ["probe", f"--config={CONFIG}", *words])
    return int(stopped.value.code or 0)


def test_command_writes_its_files(tmp_path, fakes, capsys):
    folder = tmp_path / "p"
    words = [
        f"--workdir={folder}",
        "--checkpoint=runs/a,random:tiny",
        "--data_dir=d",
        "--config.batch_size=8",
    ]
    words += ["--config.epochs=2", "--config.max_features=100"]
    assert call(*words) == 0
    given = {"name": "photos", "data_dir": "d", "size": 16, "exclude": ["coffee"]}
    assert fakes == given | {"multi_label": None, "boxed": True}
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "probe.json",
        "probe.md",
        "probe.png",
        "timings.jsonl",
    }
    probe = json.loads((folder / "probe.json").read_text())
    assert [result["checkpoint"] for result in probe["results"]] == ["runs/a", "random:tiny"]
    printed = capsys.readouterr().out
    assert printed.strip() in (folder / "probe.md").read_text()
    assert "22 test images, chance level" in printed
    before = (folder / "probe.json").read_bytes()
    assert call(*words, "--config.seed=1") == 2
    assert "seed was 0, is 1" in capsys.readouterr().err
    assert (folder / "probe.json").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--checkpoint=a,a"], "a is given twice"),
        (["--checkpoint="], "at least one workdir"),
        (["--checkpoint=a", "--config.epochz=1"], "did you mean epochs"),
        (["--checkpoint=a", "--config.epochs=0"], "epochs = 0"),
        (
            ["--checkpoint=a", "--config.kind=quadratic"],
            "kind = 'quadratic': unknown; there are fewshot, knn, linear, ridge, robustness",
        ),
        (["--checkpoint=a", "spare"], "'spare'"),
        ([], "--checkpoint"),
    ],
)
def test_command_refuses_with_one_line_and_writes_nothing(tmp_path, fakes, capsys, words, message):
    assert call(f"--workdir={tmp_path / 'p'}", *words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len([line for line in error.splitlines() if "error:" in line]) == 1
    assert not (tmp_path / "p").exists()
