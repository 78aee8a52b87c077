"""The report's page as a document: it stands alone, is well formed, and says what the numbers say."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from probe_fakes import tiny_backbone  # noqa: F401
from report_pages import Page, make_probe, make_run, with_gains
from test_tables import result

from ssl_single_image.analysis import paper, report
from ssl_single_image.analysis.report import classes, context, folders, page
from ssl_single_image.errors import InputError

SOURCE = {"name": "builtin:<cat>", "shape": [10, 20, 3], "sha256": "ab" * 32}
PER_CLASS = {"per_class": [10.0, None, 100.0, 55.0]}


def by_class(one: dict) -> dict:
    layers = {layer: values | PER_CLASS for layer, values in one["layers"].items()}
    return one | {"layers": layers}


def built(place: Path, *workdirs: Path, **options: Any) -> Page:
    report.build(place / "report", workdirs, **options)
    return Page((place / "report" / "index.html").read_text())


@pytest.fixture
def full(tmp_path: Path) -> list[Path]:
    """One workdir of every kind."""
    run = make_run(tmp_path / "runs" / "a<b", inputs=[SOURCE])
    trained = with_gains(
        by_class(result("runs/a<b", 61.0, 64.0, 66.0, 60.0)), conv1=(1.0, -0.5, 2.5), conv2=(4.0, 3.0, 5.0)
    )
    first = make_probe(
        tmp_path / "probes" / "p",
        result("random:alexnet32", 60.0, 60.0, 58.0, 50.0),
        trained,
        data={"classes": ["x", "y", "z", "<w>"]},
    )
    second = make_probe(tmp_path / "probes" / "q", result("runs/a<b", 61.0), classes=3)
    analysis, tuned, pictures = (tmp_path / name for name in ("analysis", "tuned", "styled"))
    rng = np.random.default_rng(0)
    for folder, stem in ((analysis, "cka-conv1"), (tuned, "curve"), (pictures, "cat")):
        folder.mkdir()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{stem}.png")
    encoders = [{"checkpoint": "runs/a", "layers": {"conv1": {"rankme": 12.34567}, "conv2": {"rankme": 3.0}}}]
    (analysis / "analysis.json").write_text(json.dumps({"images": 512, "encoders": encoders}))
    rows = [{"checkpoint": "none", "accuracy": 83.0, "interval": [82.2, 83.7]}]
    (tuned / "finetune.json").write_text(json.dumps({"results": rows, "config": {"a": {"b": 1}}}))
    (pictures / "cat.json").write_text("{}")
    return [run, first, second, analysis, tuned, pictures]


def test_the_page_needs_no_other_file_and_every_id_is_its_own(tmp_path: Path, full: list[Path]) -> None:
    found = built(tmp_path, *full)
    assert len(found.ids) == len(set(found.ids))
    for target in found.targets:
        assert re.match(r"data:|#", target), target[:80]
        assert target[0] != "#" or target[1:] in found.ids, target
    assert not re.search(r"url\(|@import", found.styles)
    assert len(found.pictures()) == len(list((tmp_path / "report").glob("*.png")))
    downloads = [target for target in found.targets if target.startswith("data:text/csv")]
    written = (tmp_path / "report" / "probes.csv").read_bytes()
    assert [base64.b64decode(each.partition(",")[2]) for each in downloads] == [written]


def test_styles_for_the_dark_the_phone_and_paper_and_a_script_that_sorts(
    tmp_path: Path, full: list[Path]
) -> None:
    found = built(tmp_path, *full, interactive=False)
    for media in ("(prefers-color-scheme: dark)", "(max-width", "print"):
        assert f"@media {media}" in found.styles
    assert "overflow-x: auto" in found.styles
    (script,) = found.scripts
    assert "table.sortable" in script
    assert "keepFresh" not in script


def test_rows_stand_under_objective_and_number_of_images(tmp_path: Path, full: list[Path]) -> None:
    found = built(tmp_path, *full)
    firsts = [row[0] for row in found.rows]
    at = firsts.index("untrained networks")
    wanted = ["untrained networks", "random:alexnet32", "rotnet, one image", "runs/a<b", "chance"]
    assert firsts[at : at + 5] == wanted
    (merged, _) = json.loads((tmp_path / "report" / "probes.json").read_text())
    known = {"run": "a<b", "objective": "rotnet", "images": 1, "labelled": False}
    assert merged["results"][1]["origin"] == known


def test_a_summary_in_words_stands_above_each_table(tmp_path: Path, full: list[Path]) -> None:
    said = [" ".join(line.split()) for line in built(tmp_path, *full).said]
    assert "Table 2 stands apart from table 1: its classes are others; its images are others." in said
    told = (
        "From one image, conv2 of runs/a<b lies above the untrained network by 4.0 points;"
        " conv1 does not differ measurably from it."
    )
    assert told in said
    assert (
        "runs/a<b: no untrained network of its kind was probed, so what training added is not known." in said
    )


def test_figures_of_the_paper_are_beside_a_table_of_its_layers_alone(
    tmp_path: Path, full: list[Path]
) -> None:
    found = built(tmp_path, *full)  # the second table has conv1 alone
    marked = [row for row in found.rows if row[-1] == f"[{paper.TRANSCRIBED}]"]
    assert [row[0] for row in marked] == [row.method for row in paper.CIFAR10]
    assert marked[-1] == ["GAN", "one image", "68.1", "72.3", "70.8", "63.5", "[paper?]"]
    assert any("nobody verified" in line for line in found.said)


def test_classes_are_shown_by_layer(tmp_path: Path, full: list[Path]) -> None:
    found = built(tmp_path, *full)
    rows = {row[0]: row[1:] for row in found.rows if row[0] in ("x", "y", "z", "<w>")}
    assert rows == {"x": ["10"] * 4, "y": [""] * 4, "z": ["100"] * 4, "<w>": ["55"] * 4}


def test_folders_are_shown_by_their_tables_and_pictures(tmp_path: Path, full: list[Path]) -> None:
    found = built(tmp_path, *full)
    assert ["conv1", "12.35"] in found.rows
    assert ["none", "83", "82.2 to 83.7"] in found.rows
    assert ["b", "1"] not in found.rows  # a config is no result
    text = (tmp_path / "report" / "index.html").read_text()
    for caption in ("Cka conv1.", "Curve.", "Cat."):
        assert f"<figcaption>{caption}</figcaption>" in text


def test_the_record_of_a_run_is_on_the_page(tmp_path: Path, full: list[Path]) -> None:
    commands = {full[0]: "ssl-single-image pretrain --config='<x>'"}

    def command(path: Path) -> str:
        if path not in commands:
            raise InputError("not known")
        return commands[path]

    found = built(tmp_path, *full, command=command)
    (source,) = (row[1] for row in found.rows if row[0] == "source image")
    assert source == f"builtin:<cat>, 20 x 10 pixels, SHA-256 of its pixels {'ab' * 6}…"
    text = (tmp_path / "report" / "index.html").read_text()
    assert text.count('<pre class="command">') == 1
    assert "--config=&#39;&lt;x&gt;&#39;" in text


def test_a_report_of_one_probe_has_no_groups_where_no_run_is_known(tmp_path: Path) -> None:
    found = built(tmp_path, make_probe(tmp_path / "p", result("runs/a", 50.0), result("random:b", 40.0)))
    assert [row[0] for row in found.rows[:3]] == ["checkpoint", "runs/a", "random:b"]


def test_a_damaged_interval_is_told_in_a_line(tmp_path: Path) -> None:
    bad = with_gains(result("a", 50.0), conv1=(1.0, float("nan"), 2.0))
    with pytest.raises(InputError, match=r"probe\.json: can't be read .*interval of a gain is nan"):
        built(tmp_path, make_probe(tmp_path / "p", bad))


def test_a_picture_that_is_none_is_told_in_a_line(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    (run / "samples.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"run-samples\.png: can't be read as a picture"):
        built(tmp_path, run)


def test_large_pictures_are_embedded_smaller_and_kept_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (400, 2600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    shown = context.Context().picture("a.png", data, "A.")
    kind, _, content = shown["source"].partition(";base64,")
    assert kind == "data:image/webp"
    assert len(base64.b64decode(content)) < len(data)


def test_what_can_not_be_shown_yet_is_told_where_the_page_is_watched(tmp_path: Path) -> None:
    young = tmp_path / "young"
    young.mkdir()
    (young / "config.json").write_text(json.dumps({"objective": "rotnet"}))
    found = built(tmp_path, make_probe(tmp_path / "p", result("a", 50.0)), young, refresh=2)
    assert [line for line in found.said if line.startswith("Not shown yet")] == [
        f"Not shown yet: {young}: a pretraining run with no metrics.jsonl yet; resume it first"
    ]
    assert "keepFresh(2000)" in found.scripts[0]


def test_plots_that_answer_the_mouse_stand_beside_the_pictures(tmp_path: Path, full: list[Path]) -> None:
    pytest.importorskip("bokeh")
    found = built(tmp_path, *full, interactive=True)
    drawn = {name.removesuffix("-data"): name for name in found.ids if name.endswith("-data")}
    assert len(drawn) == 3  # two tables and the curves of a run
    for place in drawn:
        assert place in found.ids
        assert f"{place}-still" in found.ids
    data = next(script for script in found.scripts if script.startswith("[{"))
    assert json.loads(data)[0]["target_id"] is None
    assert all(re.match(r"data:|#", target) for target in found.targets)
    assert (tmp_path / "report" / "index.html").stat().st_size < 2_500_000


def test_interactive_plots_without_their_library_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report.build.__globals__["plots"], "installed", lambda: False)
    probe = make_probe(tmp_path / "p", result("a", 50.0))
    with pytest.raises(InputError, match="need Bokeh"):
        built(tmp_path, probe, interactive=True)
    assert len(built(tmp_path, probe).scripts) == 1


def test_shades_go_from_light_to_dark_and_text_stays_readable() -> None:
    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return float(np.dot((0.2126, 0.7152, 0.0722), linear))

    grounds = [luminance(shade["ground"]) for shade in classes.styles()]
    assert grounds == sorted(grounds, reverse=True)
    for shade in classes.styles():  # WCAG 2.1, contrast of text at level AA
        low, high = sorted((luminance(shade["ground"]), luminance(shade["text"])))
        assert (high + 0.05) / (low + 0.05) >= 4.5, shade


def test_of_many_classes_the_ends_are_shown() -> None:
    accuracies = [float(number % 101) for number in range(1000)]
    one = result("a", 50.0)
    one["layers"]["conv1"]["per_class"] = accuracies
    found = classes.heat({"results": [one]}, one)
    assert found is not None
    assert len(found["rows"]) == 2 * classes.EXTREMES
    assert found["left_out"] == 1000 - 2 * classes.EXTREMES
    assert found["rows"][0]["cells"][0]["text"] == "100"
    assert found["rows"][-1]["cells"][0]["text"] == "0"


def test_tables_are_found_at_any_depth_and_the_rest_is_left() -> None:
    value = {"a": 1, "b": {"c": {"x": 1.5, "y": True}, "d": {"x": "w"}}, "e": [[1, 2], [3, 4]], "f": []}
    assert list(folders.tables_in(value)) == [
        {"title": "b", "header": ["", "x", "y"], "rows": [["c", "1.5", "yes"], ["d", "w", ""]]}
    ]


def test_every_template_is_in_the_package() -> None:
    names = {path.name for path in Path(str(page.TEMPLATES)).iterdir()}
    used = {kind.template for kind in report.KINDS.values()}
    assert used | {"page.html", "parts.html", "style.css", "sort.js", "refresh.js", "plots.js"} == names
