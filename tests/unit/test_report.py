"""The report: recognises runs, shows what they hold, refuses what it can't read."""

from __future__ import annotations

import html.parser
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from probe_fakes import LAYERS, tiny_backbone, tiny_encoder  # noqa: F401
from test_tables import probe, result

from ssl_single_image.analysis import filters, report
from ssl_single_image.cli import common
from ssl_single_image.runs import environment
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import InputError, State

PNG = b"\x89PNG\r\n\x1a\n"
CONFIG = {"objective": "rotnet", "source": "builtin:<cat>", "backbone": "tiny", "steps": 20, "batch_size": 64}


class Page(html.parser.HTMLParser):
    """Tags seen, rows of tables, and what images and links point to."""

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.targets += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if "strong" in self.open:
            self.bold.append(data)


def make_probe(folder: Path, *results: dict, **changes) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "probe.json").write_text(json.dumps(probe(*results, **changes)))
    return folder


@pytest.fixture
def pretrained(tmp_path) -> Path:
    folder = tmp_path / "runs" / "rotnet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"environment": environment.describe()}))
    lines = [
        {"step": 10, "train/loss": 1.3, "train/accuracy": 0.4},
        {"step": 20, "train/loss": 1.1, "eval/loss": 1.2},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    clocks = [
        (10, 100.0),
        (20, 250.0),
        (20, 30.0),
        (30, 3500.0),
    ]  # two processes, the second of which resumed
    told = [{"step": s, "seconds": t, "views_per_second": 40 * s} for s, t in clocks]
    (folder / "timings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    for drawn in ("samples", "clusters"):
        Image.new("RGB", (8, 8)).save(folder / f"{drawn}.png")
    encoder = tiny_encoder()
    store = CheckpointStore(folder)
    store.save(State(jnp.int32(20), {}, {}, {}, {}), encoder, CONFIG, {"eval/loss": 1.2})
    store.close()
    return folder


def test_page_shows_runs_and_probes_and_stands_alone(tmp_path, pretrained):
    first = make_probe(
        tmp_path / "a" / "probe", result("runs/rotnet", 61.0, 64.0), result("random:alexnet32", 60.0, 58.0)
    )
    second = make_probe(tmp_path / "b" / "probe", result("runs/other", 62.0, 50.0))
    out = tmp_path / "report"
    report.build(out, [pretrained, first, second])
    page = Page((out / "index.html").read_text())
    assert page.open == []
    assert ["runs/rotnet", "0", "61.0", "64.0"] in page.rows
    assert ["chance", "", "10.0", "10.0"] in page.rows
    assert ["runs/rotnet", "0", "+1.0", "+6.0"] in page.rows  # the gain over the untrained network
    assert page.bold[:2] == ["64.0", "62.0"]
    assert ["source", "builtin:<cat>"] in page.rows  # escaped in the page
    assert ["last checkpoint", "step 20"] in page.rows
    assert ["duration", "1:02:30"] in page.rows
    assert ["speed at the end", "1,200 views/s"] in page.rows
    (told,) = (row[1] for row in page.rows if row[0] == "computed with")
    assert f"jax {jax.__version__}, {jax.device_count()} cpu devices, {environment.processor()}" in told
    assert set(page.targets) == {p.name for p in out.iterdir()} - {"index.html", report.MANIFEST}
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
    assert names == {"rotnet-curves.png", "rotnet-2-curves.png"}


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
    assert "<h2>Linear probes and Nearest probes</h2>" in (tmp_path / "report" / "index.html").read_text()
