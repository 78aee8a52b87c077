"""`analyse --what invariance` and `--what landmarks`: their numbers, files and report, and what they refuse."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import landmark_sets
import numpy as np
import pytest
from PIL import Image
from probe_fakes import SPEC, labelled, loaded, tiny_backbone, tiny_encoder  # noqa: F401
from report_pages import Page

import ssl_single_image as ssi
from ssl_single_image import datasets, images
from ssl_single_image.analysis import report
from ssl_single_image.analysis.invariance import features, measure, pairs, variance, views
from ssl_single_image.cli import common
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import analysing, invariance
from ssl_single_image.keys import Stream, stream
from ssl_single_image.probes import intervals
from ssl_single_image.runs import LoadedEncoder

NAMES = ("random:tiny@1", "runs/tiny")
SMALL: dict[str, Any] = {"what": "invariance", "data": "stripes", "images": 16, "views": 2, "pairs": 2}
POINTS: dict[str, Any] = {"what": "landmarks", "images": 16, "test_images": 8, "steps": 3}
LAYERS = ["pixels", "conv1", "conv2"]


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> dict[str, LoadedEncoder]:
    """Encoders by name and a labelled set, which need no files; pictures in which places are matched are small."""
    there = {name: loaded(name, seed) for seed, name in enumerate(NAMES)}
    monkeypatch.setattr(analysing, "load_encoder", lambda name: there[name])
    monkeypatch.setattr(datasets, "load", lambda name, **_: labelled(test=40))
    monkeypatch.setattr(invariance, "MATCHED_SIDE", 32)
    monkeypatch.setattr(pairs, "STEREO_SHRINK", 10)
    return there


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Path, Any]:
    """Both kinds of analysis of two encoders, on disk and in memory."""
    place = tmp_path_factory.mktemp("analyses")
    there = {name: loaded(name, seed) for seed, name in enumerate(NAMES)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysing, "load_encoder", lambda name: there[name])
        patch.setattr(datasets, "load", lambda name, **_: labelled(test=40))
        patch.setattr(invariance, "MATCHED_SIDE", 32)
        patch.setattr(pairs, "STEREO_SHRINK", 10)
        found = ssi.analyse(NAMES, place / "a", **SMALL)
        landmarks = ssi.analyse(NAMES, place / "l", **POINTS)
    return place / "a", found, place / "l", landmarks


def fake(compiled: Any, *layers: str) -> features.Tapped:
    """An encoder whose maps are a function of the pictures."""
    return features.Tapped(loaded(), ("pixels", *layers), lambda variables, x: {"pixels": x, **compiled(x)})


def scenes(count: int = 16) -> measure.Scenes:
    batch = labelled(test=count).test
    pixels, label = np.asarray(batch.image), np.asarray(batch.label)  # type: ignore[attr-defined]
    side = float(pixels.shape[1])
    squares = views.Squares(jnp.arange(count), jnp.full((count, 2), side / 2), jnp.full(count, side))
    return measure.Scenes(images.build_atlas(list(pixels)), squares, label, stream(0, Stream.INVARIANCE), 2)


def test_features_that_ignore_an_augmentation_have_no_variance_under_it() -> None:
    """A mean over the picture ignores mirroring, luma ignores greyscale, and a constant has no value at all."""

    def maps(x: jax.Array) -> dict[str, jax.Array]:
        mean = jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape)
        luma = x @ jnp.array([[0.299], [0.587], [0.114]])
        return {"constant": jnp.full_like(x, 0.5), "luma": luma, "mean": mean}

    weights = variance.resamples(16, 10, jax.random.key(0))
    tapped = fake(maps, "constant", "luma", "mean")
    found = measure.invariance(tapped, scenes(), grid=4, weights=weights, interval=intervals.bootstrap)
    value = {
        name: {layer: one and one["variance"] for layer, one in by.items()}
        for name, by in found["invariance"].items()
    }
    assert all(by["constant"] is None for by in value.values())
    assert all(by["constant"] is None for by in found["shares"].values())
    for name in ("hflip", "vflip"):
        assert value[name]["mean"] == pytest.approx(0, abs=1e-3)
        assert value[name]["pixels"] > 0.1
    assert value["greyscale"]["luma"] == pytest.approx(0, abs=2e-2)  # ten bits a colour
    assert value["greyscale"]["pixels"] > 0.1
    for by in found["invariance"].values():
        low, high = by["pixels"]["interval"]
        assert 0 <= low <= high
    for by in found["shares"].values():
        intervals_of = by["pixels"].pop("intervals")
        assert sum(by["pixels"].values()) == pytest.approx(1)
        assert all(0 <= low <= high <= 1 for low, high in intervals_of.values())


def test_pixels_move_exactly_and_a_fixed_ramp_does_not() -> None:
    def maps(x: jax.Array) -> dict[str, jax.Array]:
        ramp = jnp.linspace(0.0, 1.0, x.shape[2])[None, None, :, None]
        return {"ramp": jnp.broadcast_to(ramp, (*x.shape[:3], 2))}

    found = measure.equivariances(fake(maps, "ramp"), scenes())
    for one in found["pixels"].values():
        assert one["moved"] == 0
        assert one["fitted"] == pytest.approx(0, abs=1e-3)
    assert found["ramp"]["mirrored"]["moved"] == pytest.approx(4, rel=1e-4)  # (2 x)^2 over x^2
    assert found["ramp"]["mirrored"]["fitted"] == pytest.approx(0, abs=1e-3)


def test_pictures_that_are_not_warped_are_matched_entirely() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.random((3, 48, 48, 3)).astype(np.float32)
    numbers = pairs.regular(pairs.GRID, pairs.EVERY)
    truth = np.broadcast_to(measure.matching.places(numbers, pairs.GRID), (3, len(numbers), 2))
    given = pairs.Pairs(pictures, pictures, pairs.GRID, numbers, truth, np.ones((3, len(numbers)), bool))
    matches = measure.matched(
        fake(lambda x: {"doubled": 2 * x, "mean": 0 * x + x.mean()}, "doubled", "mean"), given
    )
    found = measure.correspondence(matches, intervals.bootstrap, variance.resamples(3, 10, jax.random.key(0)))
    for layer in ("pixels", "doubled"):
        assert found[layer]["pck"] == {"0.05": 1, "0.02": 1}
        assert found[layer]["interval"] == [1, 1]
        assert found[layer]["median_error"] == 0
    levels = measure.levels(matches["pixels"], pairs.GRID)
    assert levels["still"]["0.05"] == 1
    assert found["mean"]["pck"]["0.05"] < 0.1
    assert levels["chance"]["0.05"] == pytest.approx(np.pi * 0.05**2, rel=0.2)


def test_an_analysis_is_whole_and_its_files_agree(written: tuple[Path, Any, Path, Any]) -> None:
    place, found, _, _ = written
    assert json.loads((place / "invariance.json").read_text()) == found.result
    assert list(found["augmentations"]) == list(views.names())
    for encoder in found["encoders"]:
        assert list(encoder["equivariance"]) == LAYERS
        assert all(list(by) == LAYERS for by in encoder["invariance"].values())
        assert [list(encoder[name]) for name in ("warps", "stereo")] == [LAYERS, LAYERS]
        assert "interval" in encoder["warps"]["conv1"]
        assert "interval" not in encoder["stereo"]["conv1"]
    pictures = {
        "invariance",
        "shares",
        "equivariance",
        "correspondence",
        "warps-1",
        "warps-2",
        "stereo-1",
        "stereo-2",
    }
    assert {path.stem for path in place.glob("*.png")} == pictures
    page = (place / "invariance.md").read_text()
    for name in pictures:
        assert found.picture(name).size > (100, 100)
        assert f"({name}.png)" in page
    rows = {
        name: list(csv.DictReader((place / f"{name}.csv").read_text().splitlines()))
        for name in ("invariance", "equivariance", "correspondence")
    }
    assert {name: len(lines) for name, lines in rows.items()} == {
        "invariance": 2 * len(views.names()) * 3,
        "equivariance": 2 * 3 * 4,
        "correspondence": 2 * 2 * 3 * 2,
    }
    first = rows["invariance"][1]
    assert (first["augmentation"], first["layer"]) == ("shift", "conv1")
    value = found["encoders"][0]["invariance"]["shift"]["conv1"]["variance"]
    assert float(first["variance"]) == value
    assert f"{value:.2f}" in str(found)


def test_the_same_seed_gives_the_same_numbers_and_one_encoder_those_of_two(
    written: tuple[Path, Any, Path, Any],
) -> None:
    _, found, _, _ = written
    alone = ssi.analyse(NAMES[1], **SMALL)
    assert alone["encoders"][0] == found["encoders"][1]
    assert alone["levels"] == found["levels"]
    other = ssi.analyse(NAMES[1], **SMALL, seed=1)
    assert other["encoders"][0]["invariance"] != found["encoders"][1]["invariance"]


def test_squares_of_a_source_stand_for_a_labelled_set(encoders: dict[str, LoadedEncoder]) -> None:
    settings = invariance.InvarianceSettings(source="builtin:coffee+rocket", images=20, pairs=5)
    made = invariance.prepare(NAMES, settings)
    regions = made.scenes[SPEC.size]
    np.testing.assert_array_equal(regions.labels, np.arange(20) % 2)
    for image, centre, side in zip(regions.image, regions.centre, regions.side, strict=True):
        height, width = regions.pixels[image].shape[:2]
        assert 0.5 * min(height, width) <= side <= min(height, width)
        assert (centre - side / 2 >= -1e-6).all()
        assert (centre + side / 2 <= [height + 1e-6, width + 1e-6]).all()
    assert made.warped_of == "builtin:coffee+rocket"
    assert len(made.matched.side) == 5


def test_nothing_is_matched_in_photographs_that_an_encoder_was_trained_on(
    encoders: dict[str, LoadedEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encoders, NAMES[1], loaded(NAMES[1], 1, source="builtin:motorcycle_left+coffee"))
    made = invariance.prepare(NAMES, invariance.InvarianceSettings(data="photos", images=16))
    names = made.warped_of.split(" + ")
    assert "astronaut" in names
    assert not {"coffee", "motorcycle_left"} & set(names)
    assert invariance._saw_stereo(made)


def test_landmarks_are_whole_and_their_files_agree(written: tuple[Path, Any, Path, Any]) -> None:
    _, _, place, found = written
    assert json.loads((place / "landmarks.json").read_text()) == found.result
    assert found["source"] == "builtin:astronaut"
    assert found["unit"] == "side of the picture"
    assert found["size"] == 32
    for encoder in found["encoders"]:
        assert list(encoder["layers"]) == ["hypercolumn"]  # of one layer, which alone is the same
        low, high = encoder["layers"]["hypercolumn"]["interval"]
        assert low < encoder["layers"]["hypercolumn"]["error"] < high
    untrained, trained = found["encoders"]
    assert "gains" not in untrained
    gain = untrained["layers"]["hypercolumn"]["error"] - trained["layers"]["hypercolumn"]["error"]
    assert trained["gains"]["hypercolumn"]["points"] == pytest.approx(gain)
    assert {path.stem for path in place.glob("*.png")} == {"landmarks", "landmarks-1", "landmarks-2"}
    (first, second) = csv.DictReader((place / "landmarks.csv").read_text().splitlines())
    assert (first["gain"], float(second["gain"])) == ("", trained["gains"]["hypercolumn"]["points"])


def test_faces_are_measured_by_the_distance_between_the_eyes(tmp_path: Path) -> None:
    landmark_sets.write(tmp_path, "faces", {"train": 16, "test": 8})
    given = POINTS | {"data": "tfds:faces", "data_dir": str(tmp_path), "layers": ("conv1", "conv2")}
    found = ssi.analyse(NAMES[0], **given)
    assert found["unit"] == "distance between the eyes"
    assert found["landmarks"] == ["lefteye", "nose", "righteye"]
    assert list(found["encoders"][0]["layers"]) == ["hypercolumn", "conv1", "conv2"]
    assert "distance between the eyes" in str(found)
    quick = ssi.analyse(NAMES[0], **given, alone=False)
    assert list(quick["encoders"][0]["layers"]) == ["hypercolumn"]


def test_the_report_shows_tables_and_says_how_to_read_pictures(
    written: tuple[Path, Any, Path, Any], tmp_path: Path
) -> None:
    place, _, points, _ = written
    report.build(tmp_path / "report", [place, points])
    page = Page((tmp_path / "report" / "index.html").read_text())
    firsts = [row[0] for row in page.rows]
    assert {"shift", "greyscale", "within a class", "turned 90", "runs/tiny"} <= set(firsts)
    text = " ".join((tmp_path / "report" / "index.html").read_text().split())
    assert "Matches of runs/tiny, by its best layer" in text
    assert "A layer that grows darker than the pixels has learnt to ignore it." in text
    assert len(page.pictures()) == 8 + 3
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "invariance.json").write_text('{"levels": {}, "encoders": [{}]}')
    with pytest.raises(InputError, match=r"broken/invariance\.json: damaged"):
        report.build(tmp_path / "other", [tmp_path / "broken"])


def test_a_folder_keeps_its_kind_of_analysis(written: tuple[Path, Any, Path, Any]) -> None:
    place, found, _, _ = written
    assert ssi.analyse(NAMES, place, **SMALL).result == found.result
    with pytest.raises(InputError, match="another config: views was 2, is 3"):
        ssi.analyse(NAMES, place, **(SMALL | {"views": 3}))
    with pytest.raises(
        InputError, match="holds an analysis of invariance; give that of layers a folder of its own"
    ):
        ssi.analyse(NAMES, place, data="stripes")


def test_what_cannot_be_analysed_is_refused(
    encoders: dict[str, LoadedEncoder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (40, 8)).save(small)
    broken = tiny_encoder(3)
    broken.params["conv2"]["kernel"] = broken.params["conv2"]["kernel"].at[0, 0, 0, 0].set(np.inf)
    monkeypatch.setitem(encoders, "broken", LoadedEncoder("broken", 1, broken, {}))
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (NAMES, {"what": "invariances"}, "what = 'invariances': unknown; did you mean invariance"),
        (NAMES, SMALL | {"images": 15}, r"images = 15: must be a whole number in \[16"),
        (NAMES, SMALL | {"queries": 3}, "queries: no such field"),
        (NAMES, SMALL | {"layers": ("conv9",)}, "layer 'conv9': random:tiny@1 has conv1, conv2"),
        (
            NAMES,
            SMALL | {"source": str(small)},
            "small.png: 8 x 40 pixels are fewer than the encoder's input of 16",
        ),
        ("broken", SMALL, "weights of layer conv2"),
        (NAMES, POINTS | {"data": "stripes"}, "data = 'stripes': has no landmarks; give photos"),
        (NAMES, POINTS | {"source": "builtin:coffee+rocket"}, "names 2 images; landmarks are those of one"),
        (NAMES, POINTS | {"size": 8}, "size = 8: is less than the input of the largest encoder, 16"),
        (NAMES, POINTS | {"source": str(small)}, "small.png: 8 x 40 pixels are fewer"),
    ]
    for names, fields, message in cases:
        with pytest.raises(InputError, match=message):
            ssi.analyse(names, tmp_path / "new", **fields)
    monkeypatch.setattr(datasets, "load", lambda name, **_: labelled(test=5))
    with pytest.raises(InputError, match="has 5 test images; an analysis of invariance needs 16"):
        ssi.analyse(NAMES, tmp_path / "new", **SMALL)
    every = "builtin:" + "+".join(invariance.builtin.colour_photographs())
    monkeypatch.setitem(encoders, NAMES[1], loaded(NAMES[1], 1, source=every))
    with pytest.raises(InputError, match="trained on every built-in photograph; name other images by source"):
        ssi.analyse(NAMES, tmp_path / "new", **POINTS)
    assert not (tmp_path / "new").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--checkpoint={NAMES[0]}", f"--workdir={tmp_path / 'l'}", "--what=landmarks", "--images=16"]
    with pytest.raises(SystemExit) as caught:
        common.run("analyse", ["analyse", *words, "--test_images=8", "--steps=2", "--noalone", "--dry_run"])
    assert caught.value.code == 0
    assert "16 of photos" in capsys.readouterr().out
    for wrong, told in (("--what=landmark", "did you mean landmarks"), ("--grid=4", "grid: no such field")):
        with pytest.raises(SystemExit) as caught:
            common.run("analyse", ["analyse", *words, wrong])
        assert caught.value.code == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "l").exists()
