"""The report: recognises runs, shows what they hold, refuses what it can't read."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_fakes import LAYERS, tiny_backbone, tiny_encoder  # noqa: F401
from report_pages import CONFIG, Page, make_probe, make_run
from test_tables import result

from ssl_single_image.analysis import filters, report
from ssl_single_image.analysis.report import folders
from ssl_single_image.analysis.report.build import _names as names_of
from ssl_single_image.cli import common
from ssl_single_image.runs import environment
from ssl_single_image.types import InputError

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    return make_run(tmp_path / "runs" / "rotnet")


def test_page_shows_runs_and_probes_and_stands_alone(tmp_path, pretrained):
    first = make_probe(
        tmp_path / "a" / "probe", result("runs/rotnet", 61.0, 64.0), result("random:alexnet32", 60.0, 58.0)
    )
    second = make_probe(tmp_path / "b" / "probe", result("runs/other", 62.0, 50.0))
    out = tmp_path / "report"
    report.build(out, [pretrained, first, second])
    page = Page((out / "index.html").read_text())
    assert ["runs/rotnet", "0", "61.0", "64.0"] in page.rows
    assert ["chance", "", "10.0", "10.0"] in page.rows
    assert ["runs/rotnet", "0", "+1.0", "+6.0"] in page.rows  # the gain over the untrained network
    assert page.bold[:2] == ["64.0", "62.0"]
    assert ["source", "builtin:<cat>"] in page.rows  # escaped in the page
    assert ["last checkpoint", "step 20"] in page.rows
    assert ["duration", "1:02:30"] in page.rows
    assert ["speed at the end", "1,200 views/s"] in page.rows
    (versions,) = (row[1] for row in page.rows if row[0] == "computed with")
    (devices,) = (row[1] for row in page.rows if row[0] == "computed on")
    assert f"jax {jax.__version__}, " in versions
    assert devices == f"{jax.device_count()} cpu devices, {environment.processor()}"
    assert len(page.pictures()) == len(list(out.glob("*.png"))) == 5
    for picture in out.glob("*.png"):
        assert picture.read_bytes().startswith(PNG)
    assert {p.name for p in out.glob("rotnet-*")} == {
        "rotnet-curves.png",
        "rotnet-clusters.png",
        "rotnet-samples.png",
        "rotnet-filters.png",
    }
    (merged,) = json.loads((out / "probes.json").read_text())
    assert [r["checkpoint"] for r in merged["results"]] == ["runs/rotnet", "random:alexnet32", "runs/other"]
    assert "**64.0**" in (out / "probes.md").read_text()


def test_report_can_be_made_again_and_names_never_clash(tmp_path, pretrained):
    twin = tmp_path / "elsewhere" / "rotnet"
    twin.parent.mkdir()
    pretrained.rename(twin)
    for _ in range(2):
        report.build(tmp_path / "report", [twin, twin])
    names = {p.name for p in (tmp_path / "report").glob("*-curves.png")}
    assert names == {"elsewhere-rotnet-curves.png", "elsewhere-rotnet-2-curves.png"}
    places = [Path(name) for name in ("s/pretrain/a", "s/probe/a", "s/probe/b", "/")]
    assert names_of(places) == ["pretrain-a", "probe-a", "b", "run"]


def test_captions_say_what_a_picture_of_an_analysis_shows():
    captions = [folders.caption(stem) for stem in ("cka-1-2", "filters-1", "ranks")]
    assert captions == ["CKA between the layers of encoders 1 and 2.", "Filters 1.", "Ranks."]


def test_a_report_made_again_keeps_nothing_it_no_longer_refers_to(tmp_path, pretrained):
    other = make_probe(tmp_path / "p", result("a", 50.0))
    out = tmp_path / "report"
    report.build(out, [pretrained, other])
    (out / "notes.txt").write_text("mine")
    report.build(out, [other])
    left = {path.name for path in out.iterdir()}
    assert not [name for name in left if name.startswith("rotnet-")]
    assert "notes.txt" in left


def test_bad_folders_are_named_and_nothing_is_written(tmp_path, pretrained):
    out = tmp_path / "report"
    (tmp_path / "empty").mkdir()
    broken = make_probe(tmp_path / "broken")
    (broken / "probe.json").write_text('{"dataset": "x"')
    half = make_probe(tmp_path / "half")
    (half / "probe.json").unlink()
    young = tmp_path / "young"
    young.mkdir()
    (young / "config.json").write_text(json.dumps(CONFIG))
    cases = {
        tmp_path / "missing": "no such folder",
        tmp_path / "empty": "neither a workdir of pretrain nor of probe",
        broken: "probe.json: can't be read",
        half: "a probe that is not complete",
        young: "no metrics.jsonl yet",
    }
    for path, message in cases.items():
        with pytest.raises(InputError, match=message):
            report.build(out, [pretrained, path])
    with pytest.raises(InputError, match="folder of its own"):
        report.build(pretrained, [pretrained])
    assert not out.exists()


def test_command_wants_runs(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        common.run("report", ["report", f"--workdir={tmp_path / 'r'}"])
    assert stopped.value.code == 2
    assert "no runs" in capsys.readouterr().err
    folder = make_probe(tmp_path / "p", result("a", 50.0))
    with pytest.raises(SystemExit) as stopped:
        common.run("report", ["report", f"--workdir={tmp_path / 'r'}", str(folder)])
    assert stopped.value.code == 0
    assert (tmp_path / "r" / "index.html").exists()


def test_filters_keep_their_colours_and_their_zero():
    encoder = tiny_encoder()
    kernel = np.zeros((3, 3, 3, LAYERS[0].features), np.float32)
    kernel[0, 0, :, 0] = (2.0, 0.0, -2.0)
    encoder.params["conv1"]["kernel"] = jnp.asarray(kernel)
    picture = filters.first_layer(encoder, cell=6, gap=2)
    assert picture.shape == (3 * 8 - 2, 3 * 8 - 2, 3)  # eight filters in a 3 x 3 grid
    assert picture[0, 0].tolist() == picture[1, 1].tolist() == [255, 128, 0]
    assert picture[2, 2].tolist() == [128, 128, 128]
    assert picture[6, 6].tolist() == picture[-1, -1].tolist() == [255, 255, 255]  # gap, empty place


def test_filters_of_another_number_of_channels_stand_side_by_side():
    encoder = tiny_encoder()
    encoder.params["conv1"]["kernel"] = jnp.asarray(
        np.random.default_rng(0).normal(size=(5, 5, 2, 6)), jnp.float32
    )
    picture = filters.first_layer(encoder, cell=5, gap=1)
    columns = 2  # 6 tiles of 5 x 10 in 3 rows
    assert picture.shape == (3 * 6 - 1, columns * 11 - 1, 3)


def test_page_names_the_kinds_of_probes(tmp_path):
    first = make_probe(tmp_path / "a", result("a", 61.0))
    second = make_probe(tmp_path / "b", result("a", 62.0), kind="nearest", title="nearest probes")
    report.build(tmp_path / "report", [first, second])
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<h2>Probes</h2>" in page
    for name in ("cifar10, linear probes", "cifar10, nearest probes"):
        assert f"{name}</a>" in page
    report.build(tmp_path / "report-of-one", [first])
    assert "<h2>Linear probes</h2>" in (tmp_path / "report-of-one" / "index.html").read_text()
