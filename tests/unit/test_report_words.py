"""Sentences about a table, and which run a checkpoint is of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from report_pages import with_gains
from test_tables import probe, result

from ssl_single_image.analysis import paper, tables
from ssl_single_image.analysis.report import origins, provenance, words
from ssl_single_image.analysis.report.context import Workdir

ABOVE, BELOW, LEVEL = (4.0, 3.0, 5.0), (-2.0, -3.0, -1.0), (0.4, -0.5, 1.3)


def first(*results: dict, **changes: object) -> str:
    return words.summary(probe(*results, **changes))[0]


@pytest.mark.parametrize(
    ("gains", "told"),
    [
        (
            {"conv1": LEVEL, "conv2": (3.2, 2.0, 4.4), "conv3": (6.0, 5.0, 7.0), "conv4": ABOVE},
            "conv2-conv4 lie above the untrained network by 3.2 to 6.0 points; conv1 does not differ measurably"
            " from it",
        ),
        (
            {"conv1": ABOVE, "conv2": BELOW, "conv3": ABOVE, "conv4": LEVEL, "conv5": LEVEL},
            "conv1 and conv3 lie above the untrained network by 4.0 points; conv2 lies below it by 2.0 points;"
            " conv4-conv5 do not differ measurably from it",
        ),
        ({"conv1": BELOW}, "conv1 lies below the untrained network by 2.0 points"),
        ({"conv1": LEVEL}, "conv1 does not differ measurably from the untrained network"),
        ({"conv1": (0.5, 0.0, 1.0)}, "conv1 does not differ measurably from the untrained network"),
        ({"conv10": ABOVE, "conv9": ABOVE}, "conv9-conv10 lie above the untrained network by 4.0 points"),
    ],
)
def test_a_layer_counts_where_its_interval_excludes_0(gains: dict, told: str) -> None:
    assert first(with_gains(result("runs/a", 50.0), **gains)) == f"runs/a: {told}."


def test_the_number_of_images_is_told_where_it_is_known() -> None:
    one = with_gains(result("runs/a", 50.0), conv1=ABOVE)
    for images, labelled, told in (
        (1, False, "one image"),
        (10, False, "10 images"),
        (50_000, True, "50,000 labelled images"),
    ):
        known = {"run": "a", "objective": "rotnet", "images": images, "labelled": labelled}
        text = first(one | {"origin": known})
        assert text == f"From {told}, conv1 of runs/a lies above the untrained network by 4.0 points."


def test_nothing_is_claimed_without_an_untrained_network_or_intervals() -> None:
    assert "what training added is not known" in first(result("runs/a", 50.0))
    assert "no paired interval" in first(result("runs/a", 50.0), result("random:alexnet32", 40.0))
    told = words.summary(probe(result("random:alexnet32", 40.0)))
    assert told == [words.NOTHING_TRAINED]
    assert words.METHOD not in words.summary(probe(result("runs/a", 50.0), result("random:b", 40.0)))


def test_many_results_without_intervals_share_a_sentence() -> None:
    found = [result(f"runs/{name}", 50.0) for name in "abcde"]
    assert first(*found) == (
        "runs/a, runs/b, runs/c and 2 more: no untrained network of their kind was probed, so what training added is"
        " not known."
    )
    assert first(*found, result("random:alexnet32", 40.0)).startswith(
        "runs/a, runs/b, runs/c and 2 more were not probed together with their untrained network: "
    )


def test_of_a_run_the_newest_checkpoint_is_told_and_encoders_apart() -> None:
    names = [("runs/a@300", 300), ("runs/a@1200", 1200), ("runs/a@300#d", 300), ("runs/b", 7)]
    results = [result(name, 50.0, step=step) for name, step in names]
    assert [one["checkpoint"] for one in words.newest(results)] == ["runs/a@1200", "runs/a@300#d", "runs/b"]


def test_the_highest_accuracy_brings_its_interval() -> None:
    two = result("a", 50.0, 64.04), result("random:b", 51.0, 40.0)
    two[0]["layers"]["conv2"]["interval"] = [63.1, 64.98]
    assert words.highest(probe(*two)) == (
        "The highest accuracy is 64.0 % (conv2 of a, 95 % interval 63.1 to 65.0); chance is 10.0 %."
    )
    assert words.highest(probe(result("a", 50.0))) == ""


def test_the_setting_of_gains_is_told() -> None:
    one = with_gains(result("runs/a", 50.0), conv1=ABOVE)
    one["layers"]["conv1"]["settings"] = {"1": {}, "10": {}}
    assert first(one, setting="labels a class").endswith("by 4.0 points (with 10 labels a class).")


@pytest.fixture
def runs(tmp_path: Path) -> list[Workdir]:
    made = []
    configs: dict[str, dict[str, Any]] = {
        "rotnet": {"objective": "rotnet", "inputs": [{"name": "a"}, {"name": "b"}]},
        "rot@net": {"objective": "rotnet"},
        "supervised": {"objective": "supervised", "inputs": [{"name": "cifar10", "images": 50_000}]},
    }
    for name, config in configs.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        made.append(Workdir(tmp_path / "runs" / name, name, config))
    return made


def test_checkpoints_find_their_runs_from_where_the_probe_was_made(
    tmp_path: Path, runs: list[Workdir]
) -> None:
    names = [
        "runs/rotnet",
        "runs/rotnet@best#d",
        "runs/rot@net",
        str(runs[2].path),
        "rotnet",
        "random:rotnet",
        "file:a.pth,layout=rotnet",
        "scattering",
        "kmeans:alexnet32,source=cat.jpg",
        "mmcf:alexnet32,source=cat.jpg",
    ]
    annotated = origins.annotate(
        probe(*(result(name, 50.0) for name in names)), tmp_path / "deep" / "probe", runs
    )
    found = [one.get("origin", {}) for one in annotated["results"]]
    assert [one.get("run") for one in found] == ["rotnet", "rotnet", "rot@net", "supervised", *[None] * 6]
    assert [one.get("images") for one in found[:4]] == [2, 2, None, 50_000]
    assert list(origins.grouped(annotated["results"]).items()) == list(
        {
            "untrained networks": [5],
            "other baselines": [7, 8, 9],
            "weights from files": [6],
            "rotnet": [2],
            "rotnet, 2 images": [0, 1],
            "supervised, 50,000 labelled images": [3],
            "runs that are not in this report": [4],
        }.items()
    )


def test_a_set_without_labels_is_counted_and_not_called_labelled() -> None:
    record = {"name": "unlabelled:cifar10", "images": 50_000, "sha256": "ab" * 32}
    run = Workdir(Path("r"), "r", {"objective": "rotnet", "inputs": [record]})
    assert origins.images({"origin": origins.origin(run)}) == "50,000 images"
    ((head, told),) = provenance.sources(run.config)
    assert head == "source image"
    assert told == f"unlabelled:cifar10, 50,000 images without labels, SHA-256 of its pixels {'ab' * 6}…"


def test_a_result_that_two_probes_share_is_kept_once_whatever_the_report_knows() -> None:
    one = result("runs/a", 50.0)
    (merged,) = tables.merge([probe(one | {"origin": {"run": "a"}}), probe(one)])
    assert len(merged["results"]) == 1


def test_the_paper_stands_beside_linear_probes_of_its_set_and_layers_alone() -> None:
    layers = [f"conv{number}" for number in range(1, 6)]
    assert paper.beside(probe(), layers) == paper.CIFAR10
    assert paper.beside(probe(dataset="imagenet"), layers) == paper.IMAGENET
    assert paper.beside(probe(dataset="imagenet"), layers[:4]) == ()
    assert paper.beside(probe(dataset="photos"), layers) == ()
    assert paper.beside(probe(kind="knn"), layers) == ()


@pytest.mark.parametrize("rows", [paper.IMAGENET, paper.CIFAR10, paper.CIFAR100])
def test_rows_of_the_paper_have_a_number_for_each_layer(rows: tuple[paper.Row, ...]) -> None:
    assert {len(row.top1) for row in rows} == {len(paper.names(rows))}
    assert len({(row.method, row.images) for row in rows}) == len(rows)
    assert {row.status for row in rows} <= {paper.TRANSCRIBED, paper.SEEN}
