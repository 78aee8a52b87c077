"""Tables of probe results."""

from __future__ import annotations

import csv
import io
from typing import Any

from ssl_single_image.analysis import probe_pages, spreadsheet, tables


def result(checkpoint: str, *top1: float, step: int = 0, backbone: str = "cifar32") -> dict:
    layers = {
        f"conv{i}": {"top1": v, "top5": min(100.0, v + 30), "features": 100 * i}
        for i, v in enumerate(top1, 1)
    }
    return {"checkpoint": checkpoint, "step": step, "backbone": backbone, "layers": layers}


def probe(*results: dict, **changes) -> dict:
    return {
        "dataset": "cifar10",
        "protocol": "cached",
        "classes": 10,
        "chance": 10.0,
        "test_images": 10_000,
        "train_images": 50_000,
        "size": 32,
        "test": "centre",
        "results": list(results),
    } | changes


def test_markdown_is_the_expected_text():
    text = tables.markdown(
        probe(result("runs/rot|net", 61.44, 63.5, step=2400), result("random:alexnet32", 61.41, 59.4))
    )
    assert text.splitlines() == [
        "cifar10: linear probes, cached protocol, 10,000 test images, chance level 10.0 %; top-1 accuracy, %",
        "",
        "| checkpoint         |   step |    conv1 |    conv2 |",
        "|:-------------------|-------:|---------:|---------:|",
        "| `runs/rot\\|net`    |  2,400 | **61.4** | **63.5** |",
        "| `random:alexnet32` |      0 | **61.4** |     59.4 |",
        "| chance             |        |     10.0 |     10.0 |",
    ]


def test_a_single_result_has_no_best_and_missing_layers_stay_empty():
    assert "**" not in tables.markdown(probe(result("a", 50.0)))
    lines = tables.markdown(probe(result("a", 50.0, 40.0), result("b", 45.0))).splitlines()
    assert lines[4].split("|")[3:5] == [" **50.0** ", "    40.0 "]
    assert lines[5].split("|")[4].strip() == ""


def test_top5_table_only_where_it_says_something():
    assert "top-5" in probe_pages.full_markdown(probe(result("a", 50.0)))
    assert "top-5" not in probe_pages.full_markdown(probe(result("a", 50.0), classes=5))


def test_layers_come_in_order_of_depth():
    deep: dict[str, Any] = {"results": [{"layers": {"conv10": {}, "conv2": {}}}, {"layers": {"conv1": {}}}]}
    assert tables.layers(deep) == ["conv1", "conv2", "conv10"]


def test_csv_has_a_line_a_layer():
    rows = list(
        csv.DictReader(io.StringIO(spreadsheet.to_csv([probe(result("a,b", 50.0, 40.0), result("c", 45.0))])))
    )
    assert [(row["checkpoint"], row["layer"], float(row["top1"])) for row in rows] == [
        ("a,b", "conv1", 50.0),
        ("a,b", "conv2", 40.0),
        ("c", "conv1", 45.0),
    ]
    assert {row["chance"] for row in rows} == {"10.0"}
    assert rows[1]["features"] == "200"
    assert {row["kind"] for row in rows} == {"linear"}  # what it was before kinds were recorded


def test_tables_name_the_kind_of_probe():
    nearest = probe(result("a", 50.0), kind="nearest", title="nearest-neighbour probes")
    assert tables.title(nearest) == "Nearest-neighbour probes"
    assert tables.setting(nearest).startswith("cifar10: nearest-neighbour probes, cached protocol, ")
    assert tables.title(probe(kind="two_layer")) == "Two layer probes"  # of a kind that left no title
    assert tables.title(probe()) == "Linear probes"
    (row,) = csv.DictReader(io.StringIO(spreadsheet.to_csv([nearest])))
    assert row["kind"] == "nearest"


def test_merge_joins_only_what_can_be_compared():
    first, again = probe(result("a", 50.0)), probe(result("b", 40.0), result("a", 50.0))
    other = probe(result("a", 20.0), dataset="cifar100", chance=1.0)
    fewer = probe(result("a", 45.0), train_images=1000)
    merged = tables.merge([first, other, again, fewer])
    assert [[r["checkpoint"] for r in m["results"]] for m in merged] == [["a", "b"], ["a"], ["a"]]
    assert len(first["results"]) == 1  # the input is left alone


def recorded(*results: dict, config: dict | None = None, data: str = "a") -> dict:
    """A probe as it is written today, with its config and the identity of its images."""
    whole = {"epochs": 20, "max_features": 3072, "optimizer": {"learning_rate": 0.01}} | (config or {})
    return probe(*results, kind="linear", config=whole, data={"test": {"sha256": data}})


def test_probes_of_different_recipes_never_share_a_table():
    first = recorded(result("runs/a", 60.0))
    for change in ({"epochs": 2}, {"max_features": 100}, {"seed": 1}, {"optimizer": {"learning_rate": 0.1}}):
        merged = tables.merge([first, recorded(result("random:alexnet32", 20.0), config=change)])
        assert len(merged) == 2
        assert all(tables.gains(one) is None for one in merged)
        (line,) = tables.apart(merged)
        assert line.startswith("Table 2 stands apart from table 1: ")
        assert next(iter(change)) in line
    assert tables.apart(tables.merge([first, recorded(data="b")])) == [
        "Table 2 stands apart from table 1: its images are others."
    ]


def test_another_kind_of_probe_is_reason_enough():
    """Its options are not listed: no other kind has them."""
    other = recorded(result("runs/a", 70.0), config={"options": {"penalty": 1.0}, "max_features": 768})
    (line,) = tables.apart(tables.merge([recorded(result("runs/a", 60.0)), {**other, "kind": "ridge"}]))
    assert line == (
        "Table 2 stands apart from table 1: max_features is 768 instead of 3072; kind is ridge instead of linear."
    )


def test_files_from_before_a_field_had_its_default():
    """Probes that recorded no `statistics` took those of the checkpoint."""
    old, running, other = (
        recorded(result(name, 60.0), config=config)
        for name, config in (
            ("a", None),
            ("b", {"statistics": "running"}),
            ("c", {"statistics": "recomputed"}),
        )
    )
    merged = tables.merge([old, running, other])
    assert [[r["checkpoint"] for r in one["results"]] for one in merged] == [["a", "b"], ["c"]]
    assert tables.apart(merged) == [
        "Table 2 stands apart from table 1: statistics is recomputed instead of running."
    ]
    assert tables.setting(merged[1]) == (
        "cifar10: linear probes, cached protocol, batch-norm statistics recomputed on training images,"
        " 10,000 test images, chance level 10.0 %"
    )


def test_the_same_images_under_another_name_are_compared():
    renamed = recorded(result("runs/b", 61.0)) | {"dataset": "tfds:packed"}
    (merged,) = tables.merge([recorded(result("runs/a", 60.0)), renamed])
    assert [one["checkpoint"] for one in merged["results"]] == ["runs/a", "runs/b"]


def test_gains_compare_networks_of_the_whole_same_spec():
    plain, sobel = ({"backbone": "alexnet32", "options": {"sobel": value}} for value in (False, True))
    gains = tables.gains(
        probe(
            result("runs/plain", 61.0) | {"encoder": plain},
            result("runs/sobel", 61.0) | {"encoder": sobel},
            result("random:alexnet32", 60.0) | {"encoder": plain},
            result("random:alexnet32,sobel=true", 50.0) | {"encoder": sobel},
        )
    )
    assert gains is not None
    assert [r["layers"]["conv1"]["top1"] for r in gains["results"]] == [1.0, 11.0]
    alone = probe(
        result("runs/sobel", 61.0) | {"encoder": sobel}, result("random:alexnet32", 60.0) | {"encoder": plain}
    )
    assert tables.gains(alone) is None


def test_gains_are_over_the_mean_of_untrained_networks_of_the_backbone():
    gains = tables.gains(
        probe(
            result("runs/a", 61.0, 64.0),
            result("random:alexnet32", 60.0, 58.0),
            result("random:alexnet32@1", 61.0, 60.0),
            result("random:alexnet", 10.0, 10.0, backbone="alexnet"),
            result("runs/b", 70.0, 70.0, backbone="resnet"),
        )
    )
    assert gains is not None
    assert [r["checkpoint"] for r in gains["results"]] == ["runs/a"]
    assert {k: v["top1"] for k, v in gains["results"][0]["layers"].items()} == {"conv1": 0.5, "conv2": 5.0}
    assert tables.gains(probe(result("runs/a", 61.0))) is None
    assert tables.gains(probe(result("random:alexnet32", 61.0))) is None


def measured(value: float, half: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"top1": value, "top5": 100.0, "features": 5, "interval": [value - half, value + half]} | more


def test_accuracies_stand_with_half_of_their_interval():
    draws = measured(40.0, 0.5, over_repeats=[36.0, 44.0])
    one = probe(
        {"checkpoint": "a", "step": 0, "backbone": "b", "layers": {"conv1": measured(60.0), "conv2": draws}}
    )
    text = tables.markdown(one)
    assert "top-1 accuracy, % ± half of the 95 % interval" in text
    assert "| 60.0 ±1.0 | 40.0 ±4.0 |" in text  # the wider one: draws vary more than test images
    assert "±" not in tables.markdown(one, "top5")
    (first, second) = csv.DictReader(io.StringIO(spreadsheet.to_csv([one])))
    assert (float(first["low"]), float(first["high"])) == (59.0, 61.0)
    assert second["setting"] == ""


def test_each_setting_has_a_table():
    settings = {"1": measured(30.0), "10": measured(50.0)}
    layers = {"conv1": settings["10"] | {"settings": settings}}
    few = probe({"checkpoint": "a", "step": 0, "backbone": "b", "layers": layers}, setting="labels a class")
    one, ten = (tables.markdown(each) for each in tables.by_setting(few))
    assert "accuracy, % ± half of the 95 % interval, 1 labels a class" in one
    assert "30.0 ±1.0" in one
    assert "50.0 ±1.0" in ten
    assert [row["setting"] for row in csv.DictReader(io.StringIO(spreadsheet.to_csv([few])))] == ["1", "10"]


def test_gains_that_were_paired_by_image_are_kept():
    trained = result("runs/a", 60.0) | {"gains": {"conv1": {"points": 2.5, "interval": [1.5, 3.5]}}}
    gains = tables.gains(probe(trained, result("random:cifar32", 58.0)))
    assert gains is not None
    (only,) = gains["results"]
    assert only["layers"] == {"conv1": {"top1": 2.5, "interval": [1.5, 3.5]}}
    assert "+2.5 ±1.0" in tables.markdown(gains)


def test_more_seeds_or_fewer_layers_are_the_same_recipe():
    merged = tables.merge(
        [
            recorded(result("a", 50.0), config={"seeds": 3, "options": {}}),
            recorded(result("b", 50.0), config={"layers": ["conv1"]}),
        ]
    )
    assert len(merged) == 1
