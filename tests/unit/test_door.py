"""The library as a notebook or a script uses it: from an image to a table of probes."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

import ssl_single_image as ssi
from ssl_single_image.experiments.cropping import save_crops
from ssl_single_image.experiments.results import ProbeTable, Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """RotNet for two steps on small crops."""
    config = ssi.pretrain_config(
        "rotnet", preset="demo", image="builtin:coffee", steps=2, batch_size=4, log_every=1, eval_every=0
    )
    return ssi.pretrain(config, tmp_path_factory.mktemp("door") / "run")


@pytest.fixture(scope="module")
def table(run: Run) -> ProbeTable:
    config = ssi.probe_config(
        "photos", train_images=64, test_images=32, batch_size=32, epochs=1, max_features=192
    )
    return ssi.probe(config, [str(run), "random:cifar32"])


def test_a_run_knows_its_config_metrics_and_pictures(run: Run) -> None:
    assert run.config["backbone"] == "alexnet32"
    assert [row["step"] for row in run.metrics] == [1, 2]
    assert run.curves().width > 300
    assert run.picture().width > 300
    with pytest.raises(ssi.InputError, match="no picture 'clusters'; there are samples"):
        run.picture("clusters")
    assert "train/loss" in run._repr_markdown_()


def test_the_same_call_resumes_and_another_config_is_refused(run: Run) -> None:
    before = run.metrics
    assert ssi.pretrain(run.config, run.folder).metrics == before
    with pytest.raises(ssi.InputError, match="seed was 0, is 3"):
        ssi.pretrain(run.config | {"seed": 3}, run.folder)


def test_a_finished_run_is_extended_to_the_bits_of_a_longer_one(run: Run, tmp_path: Path) -> None:
    """With a constant rate: a schedule that hangs on the length is another one."""
    fields = run.config | {"optimizer": {"schedule": "constant"}, "steps": 2}
    ssi.pretrain(fields, tmp_path / "run")
    longer = ssi.pretrain(fields | {"steps": 3}, tmp_path / "run")
    whole = ssi.pretrain(fields | {"steps": 3}, tmp_path / "whole")
    for a, b in zip(*(jax.tree.leaves(one.encoder().encoder.params) for one in (longer, whole)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert longer.metrics == whole.metrics
    with pytest.raises(ssi.InputError, match=r"steps = 1: the run in .* is at step 3 already"):
        ssi.pretrain(fields | {"steps": 1}, tmp_path / "run")
    assert longer.config["steps"] == 3


def test_a_lost_record_does_not_let_another_config_in(run: Run, tmp_path: Path) -> None:
    """The checkpoint holds the config that its state comes from."""
    shutil.copytree(run.folder, tmp_path / "run")
    (tmp_path / "run" / "config.json").unlink()
    with pytest.raises(ssi.InputError, match=r"source was .*coffee.* is .*astronaut"):
        ssi.pretrain(run.config | {"source": "builtin:astronaut"}, tmp_path / "run")


def test_a_run_that_never_saved_gives_its_folder_to_another(run: Run, tmp_path: Path) -> None:
    """Config and metrics of an attempt that was stopped before its first checkpoint."""
    shutil.copytree(run.folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    again = ssi.pretrain(run.config | {"seed": 3, "steps": 1}, tmp_path / "run")
    assert [row["step"] for row in again.metrics] == [1]
    assert again.config["seed"] == 3


def test_a_table_shows_itself_and_is_what_probe_json_holds(run: Run, table: ProbeTable) -> None:
    accuracy = table.accuracy(str(run))
    assert list(accuracy) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    gains = table.gains()
    assert gains is not None
    difference = accuracy["conv3"] - table.accuracy("random:cifar32")["conv3"]
    assert gains["results"][0]["layers"]["conv3"]["top1"] == pytest.approx(difference)
    assert "gain over the untrained network" in str(gains)
    assert "chance |" not in str(gains)
    spec = table["results"][0]["encoder"]
    assert spec == table["results"][1]["encoder"]
    options = {"sobel": False, "slope": 0.0, "first_norm": True}
    assert (spec["backbone"], spec["options"], spec["size"]) == ("alexnet32", options, 32)
    assert "| `random:cifar32`" in table._repr_markdown_()
    assert table.figure().width > 300
    with pytest.raises(ssi.InputError, match="checkpoint nobody: not in this table"):
        table.accuracy("nobody")


def test_features_are_activations_of_the_network(run: Run) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    encoder = ssi.load_encoder(str(run))
    assert encoder.layers == ("conv1", "conv2", "conv3", "conv4", "conv5")
    found = encoder.features(pixels, "conv3")
    assert found.shape == (3, 8, 8, 192)
    assert found.dtype == np.float32
    assert found.min() == 0
    np.testing.assert_allclose(ssi.features(run, pixels / np.float32(255), "conv3"), found, atol=1e-5)
    wide = np.zeros((1, 32, 48, 3), np.uint8)
    wide[:, :, 8:40] = pixels[:1]
    np.testing.assert_allclose(
        encoder.features(wide, "conv1"), encoder.features(pixels[:1], "conv1"), atol=2e-2
    )


@pytest.mark.parametrize(
    ("images", "layer", "message"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), "conv9", "layer = 'conv9': .* has conv1, conv2"),
        (np.zeros((32, 32, 3), np.uint8), "conv1", r"images of shape \(32, 32, 3\)"),
        (np.zeros((2, 32, 32, 3), np.int64), "conv1", "images of type int64"),
        (np.full((2, 32, 32, 3), 255.0), "conv1", "floats must lie in"),
        (np.zeros((0, 32, 32, 3), np.uint8), "conv1", "images of shape"),
    ],
)
def test_images_that_are_none_are_refused(run: Run, images: np.ndarray, layer: str, message: str) -> None:
    with pytest.raises(ssi.InputError, match=message):
        ssi.features(str(run), images, layer)


def test_crops_can_be_looked_at_and_written(tmp_path: Path) -> None:
    spec = ssi.CropSpec.preset("paper", 16)
    assert isinstance(ssi.show_crops("builtin:coffee", spec, count=4), Image.Image)
    assert ssi.export_crops("builtin:coffee", tmp_path / "crops", 3, spec) == tmp_path / "crops"
    assert len(list((tmp_path / "crops").glob("*/*.png"))) == 3
    with pytest.raises(ssi.InputError, match="count = 0"):
        ssi.show_crops("builtin:coffee", spec, count=0)


def test_nothing_of_others_is_overwritten(tmp_path: Path) -> None:
    spec = ssi.CropSpec.preset("paper", 16)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(ssi.InputError, match="holds files that no export wrote"):
        ssi.export_crops("builtin:coffee", tmp_path / "letters", 3, spec)
    photograph = tmp_path / "photograph.png"
    Image.fromarray(ssi.load_source("builtin:coffee")[0].pixels).save(photograph)
    before = photograph.read_bytes()
    with pytest.raises(ssi.InputError, match="is the source image itself"):
        save_crops(ssi.show_crops(str(photograph), spec, count=1), str(photograph), photograph)
    assert photograph.read_bytes() == before


def test_a_report_is_a_page(run: Run, tmp_path: Path) -> None:
    page = ssi.report([run], tmp_path / "report")
    assert Path(page).exists()
    assert str(page) in page._repr_html_()
    with pytest.raises(ssi.InputError, match="no runs"):
        ssi.report([], tmp_path / "report")


def test_a_probe_by_name_of_a_data_set_or_config() -> None:
    with pytest.raises(ssi.InputError, match="no checkpoint"):
        ssi.probe("photos", [])
    with pytest.raises(ssi.InputError, match=r"photo.*did you mean photos"):
        ssi.probe("photo", "random:alexnet32")
