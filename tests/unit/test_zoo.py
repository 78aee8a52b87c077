"""The zoo: encoders that come with the package, by reference; what their cards and notes must say."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import run_cli
from safetensors.numpy import load_file, save_file

import ssl_single_image as ssi
from ssl_single_image.analysis import cards
from ssl_single_image.cli import common
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, publishing
from ssl_single_image.experiments.probing import pretrained_on
from ssl_single_image.runs import zoo

MOST = 12_000_000
"""Bytes of the whole zoo: every wheel carries them."""
STEPS: dict[str, Any] = {"steps": 2, "batch_size": 4, "log_every": 1, "eval_every": 0}
PROBE: dict[str, Any] = {
    "train_images": 32,
    "test_images": 16,
    "batch_size": 8,
    "max_features": 192,
    "kind": "ridge",
}
NAME = "rotnet-astronaut"
OWN_ZOO = zoo.FOLDER


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of two steps and a probe of it."""
    folder = tmp_path_factory.mktemp("runs")
    config = ssi.pretrain_config("rotnet", preset="demo", image="builtin:astronaut", **STEPS)
    run = ssi.pretrain(config, folder / "rotnet", devices=1)
    references = [str(run), "random:alexnet32"]
    ssi.probe(ssi.probe_config("photos", **PROBE), references, folder / "probe")
    return folder


@pytest.fixture(scope="module")
def stocked(runs: Path) -> Path:
    """A zoo with one encoder, written as the package's own is."""
    folder = runs / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(zoo, "FOLDER", folder)
        patch.chdir(runs)
        words = ["export", "--checkpoint=rotnet", f"--out=zoo/{NAME}.safetensors", "--dtype=float16"]
        assert run_cli.call([*words, "--probe=probe/probe.json"], runs) == 0
    return folder


@pytest.fixture
def own_zoo(stocked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zoo, "FOLDER", stocked)
    return stocked


def lacking(folder: Path, name: str) -> list[str]:
    """What an encoder of a zoo must have and has not."""
    note, path = zoo.note(name), folder / f"{name}{zoo.SUFFIX}"
    card = path.with_suffix(".md").read_text() if path.with_suffix(".md").exists() else ""
    has = {
        "a config": bool(note.config.get("objective")),
        "a source": bool(note.config.get("source")),
        "steps": note.step > 0,
        "crops": int(note.config.get("batch_size", 0)) > 0,
        "a licence": bool(note.published.get("licence")),
        "a probe": bool(note.published.get("probe", {}).get("layers")),
        "float16": {value.dtype for value in load_file(path).values()} == {np.dtype("float16")},
        "a card": card.startswith(cards.MARK) and f'ssi.load_encoder("{zoo.PREFIX}{name}")' in card,
        "a command in its card": "ssl-single-image pretrain --config=" in card,
        "a licence in its card": f"Licence: {cards.UNSTATED}" not in card,
        "a probe in its card": "## What the layers know" in card and "were rounded to float16." in card,
        "no folder of anyone": not re.search(r"/(home|root|tmp|Users)/", card + json.dumps(note.config)),
    }
    return [what for what, there in has.items() if not there]


def test_encoders_of_the_package_say_all_that_is_needed() -> None:
    for name in zoo.names():
        assert lacking(OWN_ZOO, name) == [], name
        assert len(ssi.load_encoder(f"zoo:{name}").layers) >= 4, name


def test_the_zoo_of_the_package_is_small_and_holds_pairs_alone() -> None:
    files = [path for path in OWN_ZOO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= MOST
    expected = {f"{name}{suffix}" for name in zoo.names() for suffix in (zoo.SUFFIX, ".md")}
    assert {path.relative_to(OWN_ZOO).as_posix() for path in files} == expected


def test_an_export_into_the_zoo_says_all_that_is_needed(own_zoo: Path, runs: Path) -> None:
    assert lacking(own_zoo, NAME) == []
    everything = (own_zoo / f"{NAME}{zoo.SUFFIX}").read_bytes() + (own_zoo / f"{NAME}.md").read_bytes()
    assert str(runs).encode() not in everything


def test_it_is_the_encoder_of_the_file_bit_by_bit(own_zoo: Path) -> None:
    loaded, same = (
        ssi.load_encoder(f"zoo:{NAME}"),
        ssi.load_encoder(f"file:{own_zoo / NAME}{zoo.SUFFIX}"),
    )
    assert (loaded.name, loaded.step, loaded.untrained) == (f"zoo:{NAME}", 2, False)
    assert loaded.encoder.spec == same.encoder.spec
    assert loaded.encoder.params["conv1"]["kernel"].dtype == np.float32
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    for layer in loaded.layers:
        np.testing.assert_array_equal(loaded.features(images, layer), same.features(images, layer))


def test_a_probe_takes_it_and_leaves_its_photograph_out(own_zoo: Path) -> None:
    assert pretrained_on([ssi.load_encoder(f"zoo:{NAME}")]) == ["astronaut"]
    references = [f"zoo:{NAME}", f"file:{own_zoo / NAME}{zoo.SUFFIX}", "random:alexnet32"]
    table = ssi.probe(ssi.probe_config("photos", statistics="running", **PROBE), references)
    assert "astronaut" not in table["data"]["classes"]
    assert table.scores(references[0]) == table.scores(references[1])
    assert (table["results"][0]["crops"], len(table["results"][0]["gains"])) == (8, 5)


def test_the_command_in_the_card_gives_the_config_of_the_run(own_zoo: Path, runs: Path) -> None:
    (block,) = re.findall(r"```bash\n(.*?)\n```", (own_zoo / f"{NAME}.md").read_text(), re.DOTALL)
    _, name, *words = shlex.split(block)
    args = common.parse(name, name, [name, *words])
    wanted = configs.read("pretrain", json.loads((runs / "rotnet" / "config.json").read_text()))
    assert configs.read("pretrain", args.config) == wanted
    assert args.workdir == f"runs/{NAME}"


def test_an_export_of_it_keeps_licence_and_numbers(own_zoo: Path, tmp_path: Path) -> None:
    path = ssi.export_encoder(f"zoo:{NAME}", tmp_path / "net.pth")
    before, after = (ssi.load_encoder(name).meta for name in (f"zoo:{NAME}", f"file:{path}"))
    assert before == after
    assert before["published"]["licence"] == "public domain (NASA)"
    assert list(before["published"]["probe"]["layers"]) == ["conv1", "conv2", "conv3", "conv4", "conv5"]


@pytest.mark.parametrize("reference", ["zoo:rotnet-astronout", "zoo:", "zoo:list", "zoo:../zoo/rotnet"])
def test_an_unknown_name_is_refused_with_what_there_is(own_zoo: Path, reference: str) -> None:
    with pytest.raises(InputError, match=f"{reference}: the zoo has {NAME}") as caught:
        ssi.load_encoder(reference)
    assert "\n" not in str(caught.value)
    assert ("did you mean" in str(caught.value)) == (reference == "zoo:rotnet-astronout")


def test_an_empty_zoo_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "none")
    with pytest.raises(InputError, match="zoo:cat: the zoo of this installation is empty"):
        ssi.load_encoder("zoo:cat")
    assert dict(ssi.zoo()) == {}
    assert str(ssi.zoo()) == "The zoo of this installation is empty.\n"


def test_a_file_that_no_export_wrote_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    save_file({"a": np.zeros(3, np.float32)}, tmp_path / "cat.safetensors")
    with pytest.raises(InputError, match="zoo:cat: is no export of this package"):
        ssi.zoo()


def test_the_list_shows_itself_and_is_printed_by_the_command(
    own_zoo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = ssi.zoo()
    assert list(listed) == [NAME]
    entry = listed[NAME]
    assert (entry["reference"], entry["method"], entry["crops"]) == (f"zoo:{NAME}", "rotnet", 8)
    assert entry["source"] == "builtin:astronaut"
    text = listed._repr_markdown_()
    assert "conv5" in text
    assert f"`zoo:{NAME}`" in text
    assert f"{entry['probe']['layers']['conv2']:.1f} ({entry['probe']['gains']['conv2']:+.1f})" in text
    assert run_cli.call(["export", "--checkpoint=zoo:list"]) == 0
    assert capsys.readouterr().out == text
    assert run_cli.call(["export", f"--checkpoint=zoo:{NAME}"]) == 2
    assert "--out: missing" in capsys.readouterr().err


def test_encoders_of_other_probes_stand_in_another_table(
    own_zoo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    ssi.export_encoder("random:alexnet32", tmp_path / "plain.safetensors")
    (tmp_path / f"{NAME}.safetensors").write_bytes((own_zoo / f"{NAME}.safetensors").read_bytes())
    lines = str(ssi.zoo()).splitlines()
    captions = [line for line in lines if line and not line.startswith("|")]
    assert len(captions) == 2
    assert "Encoders that no probe has measured" in captions


@pytest.mark.parametrize(
    ("given", "published"),
    [
        ("/home/me/cat.jpg", "cat.jpg"),
        ("builtin:astronaut", "builtin:astronaut"),
        ("folder:/home/me/set/", "folder:set"),
        ("/home/me/runs/rotnet@20#discriminator", "rotnet@20#discriminator"),
        ("kmeans:alexnet32,source=/home/me/cat.jpg@3", "kmeans:alexnet32,source=cat.jpg@3"),
        ("file:/home/me/net.pth,layout=rotnet", "file:net.pth,layout=rotnet"),
    ],
)
def test_names_are_published_without_folders(given: str, published: str) -> None:
    assert publishing.without_folders({"a": [given]}) == {"a": [published]}
