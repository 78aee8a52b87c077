"""Probes on shifted images: against images that Pillow shifted, against each other, and what they refuse."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from probe_fakes import SIDE, labelled, loaded, tiny_backbone  # noqa: F401
from reference import published_corruptions
from test_multi_label import in_memory

from ssl_single_image import parallel
from ssl_single_image.analysis import figures, probe_pages, robustness_figures, tables
from ssl_single_image.analysis import robustness as texts
from ssl_single_image.analysis.report import probes as report
from ssl_single_image.augment import shifts
from ssl_single_image.datasets import LabelledSet, MemorySplit
from ssl_single_image.experiments import configs
from ssl_single_image.parallel import replicas
from ssl_single_image.probes import (
    ProbeConfig,
    corruption_errors,
    make_plan,
    passes,
    precision,
    robustness,
    runner,
    shifted,
)
from ssl_single_image.types import InputError, State

SETS = {"train": 120, "test": 70}
NAMES = ("pixelate", "clutter")
OPTIONS: dict[str, Any] = {"shifts": NAMES, "severities": (2, 5), "retrain": True}


def plan(*encoders: Any, data: LabelledSet | None = None, **changes: Any) -> Any:
    config = ProbeConfig.from_config({"dataset": "stripes", "batch_size": 20, "max_features": 200} | changes)
    return make_plan(encoders or [loaded()], data or labelled(**SETS), config)


@functools.cache
def swept() -> dict[str, Any]:
    """Robustness probes of a network and of two untrained ones."""
    encoders = (loaded(), loaded("random:tiny@1", seed=1), loaded("random:tiny@2", seed=2))
    return runner.run(plan(*encoders, kind="robustness", options=OPTIONS))


def held(split: str) -> MemorySplit:
    """The training or the test images of `plan`'s set."""
    found = getattr(labelled(**SETS), split)
    assert isinstance(found, MemorySplit)
    return found


def pixelated(split: MemorySplit, severity: int) -> MemorySplit:
    image = [np.round(published_corruptions.pixelate(one, severity) * 255) for one in split.image]
    return MemorySplit(np.array(image, np.uint8), split.label, split.extent)


def top1(probe: dict[str, Any]) -> dict[str, float]:
    return {layer: values["top1"] for layer, values in probe["results"][0]["layers"].items()}


ONE = 100 / SETS["test"] + 1e-3
"""A test image in percent: what may fall on either side of two classes in float32."""


@pytest.mark.parametrize("kind", ["ridge", "knn", "linear", "fewshot"])
def test_every_kind_is_tested_on_images_as_pillow_shifts_them(kind: str) -> None:
    changes: dict[str, Any] = {"kind": kind, **({"epochs": 3} if kind == "linear" else {})}
    for retrain in (False, True):
        train = pixelated(held("train"), 5) if retrain else held("train")
        by_hand = LabelledSet("stripes", ("a", "b", "c"), train, pixelated(held("test"), 5))
        expected = top1(runner.run(plan(data=by_hand, **changes)))
        found = runner.run(plan(shift="pixelate", severity=5, retrain=retrain, **changes))
        assert top1(found) == pytest.approx(expected, abs=2 * ONE)
        assert {name: found["config"][name] for name in ("shift", "severity", "retrain")} == {
            "shift": "pixelate",
            "severity": 5,
            "retrain": retrain,
        }


def test_severity_0_is_no_shift() -> None:
    assert top1(runner.run(plan(kind="ridge", shift="clutter"))) == top1(runner.run(plan(kind="ridge")))


def views(size: int, devices: int, seeds: tuple[int, ...]) -> list[np.ndarray]:
    """For each seed, all test images after clutter, in batches of `size` over some devices."""
    made = plan(batch_size=size)

    def show(state: State, key: jax.Array, inputs: Any, *, axis_name: str | None) -> jax.Array:
        x = shifted.views(made.setups[0], state.extras["shifting"], inputs)
        return replicas.gather(x, axis_name)

    compiled = parallel.compile_evaluate(show, split_inputs=True, devices=jax.devices()[:devices])
    found = []
    for seed in seeds:
        drawn = dataclasses.replace(made, config=made.config.replace(seed=seed))
        shifting = shifted.Shifter(drawn, made.setups[0]).prepare(["clutter"], shifted.TEST).of("clutter", 3)
        state = State(jnp.int32(0), {}, {}, {}, {"shifting": shifting})
        batches = shifted.numbered(passes.one_pass(made.data.test, size, SETS["test"], 0), size)
        shown = [np.asarray(compiled(state, jax.random.key(0), inputs)) for inputs in batches]
        found.append(np.concatenate(shown)[: SETS["test"]])
    return found


def test_an_image_is_shifted_alike_in_batches_of_any_size_and_on_any_number_of_devices() -> None:
    whole, other = views(20, devices=1, seeds=(0, 1))
    (parts,) = views(28, devices=4, seeds=(0,))
    np.testing.assert_array_equal(parts, whole)
    assert (other != whole).any()


def test_splits_have_keys_of_their_own_and_one_pool() -> None:
    made = plan()
    shifter = shifted.Shifter(made, made.setups[0])
    train, test = (shifter.prepare(NAMES, split) for split in (shifted.TRAIN, shifted.TEST))
    assert (jax.random.key_data(train.key) != jax.random.key_data(test.key)).any()
    assert train.pool is not None
    assert test.pool is not None
    np.testing.assert_array_equal(train.pool.image, test.pool.image)
    images = {one.tobytes() for one in held("train").image}
    assert {one.tobytes() for one in np.asarray(train.pool.image)} == images
    assert shifter.prepare(["jpeg"], shifted.TEST).pool is None


@pytest.mark.parametrize(("name", "severity"), [("pixelate", 5), ("clutter", 2)])
def test_the_sweep_is_what_ridge_probes_say_of_each_shift(name: str, severity: int) -> None:
    layers = swept()["results"][0]["layers"]
    for field, retrain in (("shifts", False), ("retrained", True)):
        alone = runner.run(plan(kind="ridge", shift=name, severity=severity, retrain=retrain))
        for layer, values in alone["results"][0]["layers"].items():
            found = layers[layer][field][name][str(severity)]
            assert found["top1"] == pytest.approx(values["top1"], abs=ONE)
            assert found["interval"][0] <= found["top1"] <= found["interval"][1]
            assert layers[layer]["penalty"] in (1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)


def test_the_sweep_stands_for_clean_images_and_has_their_gains() -> None:
    clean = runner.run(
        plan(loaded(), loaded("random:tiny@1", seed=1), loaded("random:tiny@2", seed=2), kind="ridge")
    )
    assert top1(swept()) == pytest.approx(top1(clean), abs=ONE)
    for layer, gain in swept()["results"][0]["gains"].items():
        assert gain["points"] == pytest.approx(clean["results"][0]["gains"][layer]["points"], abs=2 * ONE)
    assert "settings" not in swept()["results"][0]["layers"]["conv1"]


def severities(given: tuple[int, ...]) -> str:
    by_severity = {str(severity): {"top1": 50.0} for severity in given}
    return texts.severities({"layers": {"conv1": {"shifts": {"jpeg": by_severity}}}})


def layer(clean: float, **shifted_to: tuple[float, float]) -> dict[str, Any]:
    by_shift = {name: {str(s): {"top1": v} for s, v in enumerate(two, 1)} for name, two in shifted_to.items()}
    return {"top1": clean, "shifts": by_shift}


def test_relative_errors_by_hand() -> None:
    """Errors of 10 after a and 40 after b, against 40 and 60 of the reference; 5 and 30 on clean images."""
    ours = layer(95, a=(92, 88), b=(70, 50))
    first, second = layer(65, a=(64, 56), b=(44, 36)), layer(75, a=(64, 56), b=(44, 36))
    found = corruption_errors.relative(ours, [first, second])
    assert found["CE"] == pytest.approx({"a": 25, "b": 100 * 40 / 60}, abs=1e-3)
    assert found["mCE"] == pytest.approx((25 + 100 * 40 / 60) / 2, abs=1e-3)
    assert found["relative_CE"] == pytest.approx({"a": 50, "b": 100 * 35 / 30}, abs=1e-3)
    assert found["relative_mCE"] == pytest.approx((50 + 100 * 35 / 30) / 2, abs=1e-3)


def test_a_shift_that_costs_the_reference_nothing_has_no_relative_error() -> None:
    found = corruption_errors.relative(layer(90, a=(80, 80)), [layer(60, a=(60, 59))])
    assert found["CE"] == pytest.approx({"a": 100 * 20 / 40.5}, abs=1e-3)
    assert found["relative_CE"] == {}
    assert found["relative_mCE"] is None
    perfect = corruption_errors.relative(layer(90, a=(80, 80)), [layer(100, a=(100, 100))])
    assert perfect["mCE"] is None


def test_intervals_of_corruption_errors_resample_images_of_both_networks() -> None:
    """Reference: one resample after the other, by indices."""
    rng = np.random.default_rng(0)

    def wrong(share: float) -> corruption_errors.Wrong:
        drawn = {
            name: rng.binomial(2, share + more, 300).astype(np.float32)
            for name, more in (("a", 0.1), ("b", 0.3))
        }
        return corruption_errors.Wrong(rng.binomial(1, share, 300).astype(np.float32), drawn, 2)

    own, reference = wrong(0.3), wrong(0.5)
    values: dict[str, Any] = {
        "mCE": 80.0,
        "CE": {"a": 0, "b": 0},
        "relative_mCE": 70.0,
        "relative_CE": {"b": 0},
    }
    samples: dict[str, list[float]] = {"mCE": [], "relative_mCE": []}
    for times in precision.weights(300):
        for column in times.T:
            rows = np.repeat(np.arange(300), column.astype(int))
            (one, clean), (base, base_clean) = (
                ({name: x[rows].sum() for name, x in each.shifted.items()}, 2 * each.clean[rows].sum())
                for each in (own, reference)
            )
            samples["mCE"].append(100 * np.mean([one[name] / base[name] for name in "ab"]))
            samples["relative_mCE"].append(100 * (one["b"] - clean) / (base["b"] - base_clean))
    found = corruption_errors.intervals_of(values, own, [reference])
    for field, drawn in samples.items():
        low, high = np.quantile(drawn, [0.025, 0.975])
        assert found[f"{field}_interval"] == pytest.approx(
            [2 * values[field] - high, 2 * values[field] - low], abs=1e-2
        )
    same = corruption_errors.intervals_of(values | {"mCE": 100.0}, own, [own])
    assert same["mCE_interval"] == [100, 100]


def test_errors_that_no_resample_can_compare_have_no_interval() -> None:
    none = np.zeros(20, np.float32)
    right = corruption_errors.Wrong(none, {"a": none}, 2)
    values = {"mCE": 100.0, "CE": {"a": 100.0}, "relative_mCE": None, "relative_CE": {}}
    assert corruption_errors.intervals_of(values, right, [right]) == {}


def test_untrained_networks_have_100_on_average() -> None:
    _, *untrained = swept()["results"]
    for name in ("conv1", "conv2"):
        found = [result["layers"][name]["CE"] for result in untrained]
        assert "clutter" in found[0]
        for shift in found[0]:
            assert np.mean([one[shift] for one in found]) == pytest.approx(100, abs=0.01)


def test_tables_figures_and_reports_say_what_was_shifted(tmp_path: Any) -> None:
    probe = swept()
    text = probe_pages.full_markdown(probe)
    low, high = probe["results"][0]["layers"]["conv1"]["mCE_interval"]
    assert f"±{(high - low) / 2:.1f} |" in text
    assert "mCE, %: 100 is the untrained network of the same encoder spec" in text
    assert "runs/tiny: top-1 accuracy, % (mean over severities 2, 5)\n" in text
    assert "classifiers trained on images of the same shift and severity" in text
    assert severities((1, 2, 3)) == "mean over severities 1 to 3"
    assert severities((4,)) == "severity 4"
    row = next(line for line in text.splitlines() if line.startswith("| `clutter`"))
    values = probe["results"][0]["layers"]["conv1"]["shifts"]["clutter"]
    assert row.split("|")[2].strip() == f"{np.mean([one['top1'] for one in values.values()]):.1f}"
    drawn = robustness_figures.picture(probe)
    assert drawn is not None
    (tmp_path / "map.png").write_bytes(drawn)
    with Image.open(tmp_path / "map.png") as picture:
        assert picture.width > 600
    alone = runner.run(plan(kind="ridge", shift="clutter", severity=4))
    assert robustness_figures.picture(alone) is None
    assert tables.setting(alone).startswith("stripes, test images after clutter 4: ridge probes")
    assert "after clutter 4" in figures.accuracy_figure(alone).axes[0].get_title(loc="left")
    retrained = runner.run(plan(kind="ridge", shift="clutter", severity=4, retrain=True))
    assert "stripes, images after clutter 4" in tables.setting(retrained)
    merged = tables.merge([alone, retrained, probe])
    assert len(merged) == 3
    assert "retrain is True instead of False" in tables.apart(merged)[0]
    assert report._name(merged[0], merged) == "stripes, test images after clutter 4, ridge probes"


def test_stored_probes_without_the_fields_are_of_clean_images() -> None:
    now = runner.run(plan(kind="ridge"))
    old = {
        **now,
        "config": {k: v for k, v in now["config"].items() if k not in ("shift", "severity", "retrain")},
    }
    assert tables.key(old) == tables.key(now)
    assert configs.completed("probe", old["config"])["shift"] == ""


def test_the_argument_of_a_config_names_the_shift() -> None:
    config = configs.load("probe", "cifar10:shift=occlusion,severity=3,retrain=true")
    assert (config.dataset, config.shift, config.severity, config.retrain) == (
        "cifar10",
        "occlusion",
        3,
        True,
    )
    assert configs.load("probe", "photos").batch_size == 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": "oclusion", "severity": 1}, r"^shift = 'oclusion': unknown; did you mean occlusion"),
        ({"shift": "jpeg", "severity": 6}, r"^severity = 6: must be a whole number in \[0, 5\]"),
        ({"severity": 1}, r"^severity = 1: needs a shift; there are gaussian_noise,"),
        ({"retrain": True}, r"^retrain = True: needs a shift"),
        (
            {"shift": "jpeg", "protocol": "published"},
            r"^shift = 'jpeg': images are shifted in the cached protocol only",
        ),
        (
            {"kind": "robustness", "shift": "jpeg"},
            r"^shift = 'jpeg': kind robustness tests on shifts by itself",
        ),
        (
            {"kind": "robustness", "options": {"shifts": ("jpg",)}},
            r"^options.shifts = 'jpg': unknown; did you mean jpeg",
        ),
        ({"kind": "robustness", "options": {"shifts": ("jpeg", "jpeg")}}, r"one is given twice$"),
        ({"kind": "robustness", "options": {"severities": (2, 1)}}, r"must be ascending numbers"),
        ({"kind": "robustness", "options": {"severities": (0,)}}, r"^options.severities\[0\] = 0: must be"),
        (
            {"kind": "robustness", "size": 3, "layers": ("conv1",)},
            r"^options.shifts = 'jpeg': needs images of 5 pixels",
        ),
        (
            {"shift": "clutter", "size": 3, "layers": ("conv1",)},
            r"^shift = 'clutter': needs images of 4 pixels a side",
        ),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(**changes)


def test_parts_of_other_classes_need_classes() -> None:
    several = plan(data=in_memory(), kind="ridge", shift="jpeg", severity=5)
    assert runner.run(several)["measure"] == "mAP"
    with pytest.raises(
        InputError, match=r"^shift = 'clutter': shows parts of images with another label, and images of"
    ):
        plan(data=in_memory(), kind="ridge", shift="clutter")
    train = held("train")
    alone = MemorySplit(train.image, np.zeros_like(train.label), train.extent)
    made = plan(
        data=LabelledSet("stripes", ("a", "b", "c"), alone, held("test")), kind="ridge", shift="clutter"
    )
    with pytest.raises(InputError, match=r"drawn for shifts are of one class; use another seed$"):
        runner.run(made)


def test_shifted_images_take_more_memory() -> None:
    clean = runner.memory(plan(kind="ridge"))
    assert runner.memory(plan(kind="ridge", shift="clutter", severity=1, retrain=True)) >= clean


def test_names_of_shifts_are_those_of_the_help() -> None:
    assert set(robustness.Options().names) == set(shifts.SHIFTS)
    assert max(shift.smallest for shift in shifts.SHIFTS.values()) <= SIDE
