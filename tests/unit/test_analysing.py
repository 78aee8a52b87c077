"""`analyse`: what it measures and writes, the same numbers each time, and what it refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probe_fakes import LAYERS, labelled, loaded, striped, tiny_backbone, tiny_encoder  # noqa: F401
from reference import textbook_similarity as textbook

import ssl_single_image as ssi
from ssl_single_image import datasets
from ssl_single_image.analysis import filters, layer_figures, layer_tables, rank
from ssl_single_image.augment import CropSpec
from ssl_single_image.cli import common
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import analysing
from ssl_single_image.runs import LoadedEncoder

NAMES = ("random:tiny@1", "random:tiny@2")
SMALL: dict[str, Any] = {"data": "stripes", "images": 12, "queries": 2, "neighbours": 3}


@pytest.fixture(autouse=True)
def encoders(monkeypatch: pytest.MonkeyPatch) -> dict[str, LoadedEncoder]:
    """Encoders by name and a labelled set, which need neither compiling nor files."""
    there = {name: loaded(name, seed) for seed, name in enumerate(NAMES)}
    monkeypatch.setattr(analysing, "load_encoder", lambda name: there[name])
    monkeypatch.setattr(datasets, "load", lambda name, **_: labelled(test=14))
    return there


def test_pooled_features_are_means_of_the_activations() -> None:
    encoder, images = loaded(), striped(3).image
    found = encoder.pooled_features(images, side=2)
    assert list(found) == ["conv1", "conv2"]
    for layer, side in (("conv1", 16), ("conv2", 8)):
        maps = encoder.features(images, layer)
        half = side // 2
        corners = [(slice(0, half), slice(0, half)), (slice(0, half), slice(half, side))]
        corners += [(slice(half, side), slice(0, half)), (slice(half, side), slice(half, side))]
        expected = np.stack([maps[:, rows, columns].mean((1, 2)) for rows, columns in corners], 1)
        np.testing.assert_allclose(found[layer], expected.reshape(3, -1), atol=1e-5)  # float32
    assert list(encoder.pooled_features(images, ["conv2"], side=99)) == ["conv2"]


def test_an_analysis_holds_what_the_features_say(encoders: dict[str, LoadedEncoder]) -> None:
    found = ssi.analyse(NAMES, **(SMALL | {"images": 14}))
    images = np.asarray(labelled(test=14).test.image)  # type: ignore[attr-defined]
    features = [encoders[name].pooled_features(images) for name in NAMES]
    assert found["images"] == 14
    for encoder, own in zip(found["encoders"], features, strict=True):
        assert encoder["layers"] == rank.ranks(own)
        assert encoder["filters"]["shape"] == [3, 3, 3, LAYERS[0].features]
        unit = own["conv2"] / np.linalg.norm(own["conv2"], axis=1, keepdims=True)
        for query, near in zip(found["nearest"]["queries"], encoder["nearest"]["conv2"], strict=True):
            cosines = unit @ unit[query]
            expected = [i for i in np.argsort(-cosines) if i != query][:3]
            assert [other["image"] for other in near] == expected
            assert near[0]["cosine"] == pytest.approx(cosines[expected[0]], abs=1e-5)  # float32
    assert [(pair["a"], pair["b"]) for pair in found["cka"]] == [
        (NAMES[0], NAMES[0]),
        (NAMES[0], NAMES[1]),
        (NAMES[1], NAMES[1]),
    ]
    between = found.cka(*NAMES)
    rows, columns = (np.float64(f) for f in (features[0]["conv1"], features[1]["conv2"]))
    assert between[0, 1] == pytest.approx(textbook.unbiased_cka(rows, columns), abs=1e-7)
    np.testing.assert_array_equal(found.cka(NAMES[1], NAMES[0]), between.T)
    np.testing.assert_allclose(np.diag(found.cka(NAMES[0], NAMES[0])), 1)
    with pytest.raises(InputError, match="the analysis is of"):
        found.cka(NAMES[0], "runs/other")


def test_files_are_complete_and_agree(tmp_path: Path) -> None:
    found = ssi.analyse(NAMES, tmp_path / "a", **SMALL)
    place = tmp_path / "a"
    assert json.loads((place / "analysis.json").read_text()) == found.result
    pictures = {"ranks", "filters-1", "filters-2", "nearest-1", "nearest-2", "cka-1-1", "cka-1-2", "cka-2-2"}
    assert {path.stem for path in place.glob("*.png")} == pictures
    for name in pictures:
        assert (place / f"{name}.png").read_bytes() == found.pictures[f"{name}.png"]
        assert found.picture(name).size > (100, 100)
        assert f"({name}.png)" in (place / "analysis.md").read_text()
    tables = {
        name: list(csv.DictReader((place / f"{name}.csv").read_text().splitlines()))
        for name in ("ranks", "cka", "nearest")
    }
    assert {name: len(rows) for name, rows in tables.items()} == {
        "ranks": 4,
        "cka": 12,
        "nearest": 2 * 2 * 2 * 3,
    }
    assert float(tables["cka"][5]["cka"]) == found.cka(*NAMES)[0, 1]
    assert float(tables["ranks"][3]["rankme"]) == found["encoders"][1]["layers"]["conv2"]["rankme"]
    assert "random:tiny@2" in str(found)
    assert ssi.analyse(NAMES, place, **SMALL).result == found.result  # the same folder again
    with pytest.raises(InputError, match="another config: images was 12, is 13"):
        ssi.analyse(NAMES, place, **(SMALL | {"images": 13}))
    with pytest.raises(InputError, match="no picture 'x'"):
        found.picture("x")


def test_crops_are_those_of_the_run(
    encoders: dict[str, LoadedEncoder], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = CropSpec.preset("paper", 16)
    config = {"source": "builtin:coffee", "crop": spec.to_config(), "seed": 5}
    monkeypatch.setitem(encoders, NAMES[1], LoadedEncoder(NAMES[1], 3, tiny_encoder(1), {"config": config}))
    drawn: dict[str, Any] = {}

    def crops(sources: Any, spec: CropSpec, seed: int, count: int) -> np.ndarray:
        drawn.update(source=sources[0].name, spec=spec, seed=seed, count=count)
        return np.asarray(striped(count).image)

    monkeypatch.setattr(analysing, "_crops", crops)
    found = ssi.analyse(NAMES, **SMALL)
    assert drawn == {"source": "builtin:coffee", "spec": spec, "seed": 5, "count": 12}
    assert found["nearest"] == {"what": "crop", "source": "builtin:coffee", "images": 12, "queries": [0, 1]}
    ssi.analyse(NAMES[0], **SMALL, source="builtin:chelsea")
    assert drawn["source"] == "builtin:chelsea"


def test_the_sheet_of_neighbours_shows_their_pixels() -> None:
    images = np.zeros((4, 64, 64, 3), np.uint8)
    images[:, :, :, 0] = np.array([10, 60, 110, 160])[:, None, None]
    near = {"conv1": [[{"image": 2, "cosine": 0.5}]], "conv2": [[{"image": 3, "cosine": 0.25}]]}
    encoder = {"checkpoint": "runs/a", "step": 1, "nearest": near}
    sheet = np.asarray(layer_figures.neighbours(encoder, [1], images, "crop"))
    for value, tiles in ((60, 2), (110, 1), (160, 1), (10, 0)):
        assert (sheet == (value, 0, 0)).all(-1).sum() == tiles * 64 * 64


def test_filters_of_a_sobel_network_are_two_derivatives() -> None:
    plain, sobel = (ssi.load_encoder(f"random:alexnet32{rest}") for rest in ("", ",sobel=true"))
    shown = [filters.first_layer(each.encoder, cell=6, gap=0) for each in (plain, sobel)]
    assert [filters.summary(each.encoder)["shape"][2] for each in (plain, sobel)] == [3, 2]  # type: ignore[index]
    assert (shown[1] == shown[1][..., :1]).all()  # grey
    assert not (shown[0] == shown[0][..., :1]).all()
    kernel = np.asarray(sobel.encoder.params["conv1"]["kernel"])[..., 0]
    expected = np.rint(255 * (0.5 + 0.5 * kernel / np.abs(kernel).max()))
    got = shown[1][:6:2, :12:2, 0].astype(float)  # the first tile, one pixel a weight
    np.testing.assert_allclose(got, np.concatenate([expected[..., 0], expected[..., 1]], 1), atol=1)
    assert filters.sheet(sobel).height > shown[1].shape[0]


def test_undefined_values_are_shown_as_such() -> None:
    pair = {"a": "a", "b": "b", "layers_a": ["conv1"], "layers_b": ["conv1"], "values": [[None]]}
    assert layer_figures.similarity(pair, 4, "photos")[:4] == b"\x89PNG"
    assert layer_tables.similarity_csv({"cka": [pair]}).splitlines()[1] == "a,conv1,b,conv1,"


def test_what_cannot_be_analysed_is_refused(
    encoders: dict[str, LoadedEncoder], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tiny_encoder(3)
    broken.params["conv2"]["kernel"] = broken.params["conv2"]["kernel"].at[0, 0, 0, 0].set(np.nan)
    monkeypatch.setitem(encoders, "broken", LoadedEncoder("broken", 1, broken, {}))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text('{"objective": "rotnet"}')
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ("broken", {}, r"checkpoint broken: weights of layer conv2 \(kernel\) are not finite"),
        ([NAMES[0], NAMES[0]], {}, "given twice"),
        ([], {}, "no checkpoint"),
        (NAMES, {"layers": ("conv9",)}, r"layer 'conv9': random:tiny@1 has conv1, conv2"),
        (NAMES, {"images": 3}, r"images = 3: must be a whole number in \[4"),
        (NAMES, {"image": 5}, "image: no such field; did you mean images"),
        (NAMES, {"source": "nothing.png"}, "no such file"),
        (NAMES, {"folder": tmp_path / "run"}, "holds another run"),
    ]
    for names, fields, message in cases:
        with pytest.raises(InputError, match=message):
            ssi.analyse(names, **({"folder": tmp_path / "new"} | SMALL | fields))
    monkeypatch.setattr(datasets, "load", lambda name, **_: labelled(test=3))
    with pytest.raises(InputError, match="has 3 test images; an analysis needs 4"):
        ssi.analyse(NAMES, tmp_path / "new", **SMALL)
    assert not (tmp_path / "new").exists()


def test_a_probe_does_not_take_the_folder_of_an_analysis(tmp_path: Path) -> None:
    ssi.analyse(NAMES[0], tmp_path, **SMALL)
    before = (tmp_path / "config.json").read_text()
    from ssl_single_image.experiments import probing

    with pytest.raises(InputError, match="holds what analyse wrote"):
        probing.free_of_others(tmp_path)
    assert (tmp_path / "config.json").read_text() == before


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"--checkpoint={','.join(NAMES)}", f"--workdir={tmp_path / 'a'}", "--layers=conv2", "--images=8"]
    with pytest.raises(SystemExit) as caught:
        common.run("analyse", ["analyse", *words])
    assert caught.value.code == 0, capsys.readouterr().err
    result = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert list(result["encoders"][0]["layers"]) == ["conv2"]
    assert result["images"] == 8
