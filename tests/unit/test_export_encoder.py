"""Exports of encoders: the same bits come back, the card tells what they are, nothing of others is overwritten."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import run_cli
import safetensors
from probe_fakes import labelled
from safetensors.numpy import load_file, save_file
from test_tables import probe, result

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.analysis import cards
from ssl_single_image.errors import InputError
from ssl_single_image.experiments.probing import pretrained_on
from ssl_single_image.probes import ProbeConfig, make_plan
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.foreign import files
from ssl_single_image.types import EncoderSpec, EncoderVariables

NETWORKS: dict[str, dict[str, Any]] = {
    "alexnet": {"variant": "bigan", "sobel": True},
    "alexnet32": {"slope": 0.2, "first_norm": False},
    "dcgan32": {"kernel": 4},
    "nin": {},
}
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
CONFIG: dict[str, Any] = {
    "objective": "rotnet",
    "source": "builtin:coffee",
    "steps": 7,
    "optimizer": {"name": "sgd"},
    "inputs": [{"name": "builtin:coffee", "shape": [400, 600, 3], "sha256": "5a" * 32}],
}


def encoder(backbone: str, step: int = 7, **config: Any) -> LoadedEncoder:
    """Random weights and statistics, in a spec with another normalisation than the usual one."""
    whole = models.encoder_spec(backbone, NETWORKS[backbone], 63 if backbone == "alexnet" else 16, MEAN, STD)
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: models.untrained(whole, jax.random.key(0)).params)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), shapes)
    stats = {
        name: {
            "mean": jnp.asarray(rng.normal(0, 0.1, norm["scale"].shape), jnp.float32),
            "var": jnp.asarray(rng.uniform(0.1, 1, norm["scale"].shape), jnp.float32),
        }
        for name, norm in params.items()
        if name.startswith("bn")
    }
    return LoadedEncoder("runs/cat", step, EncoderVariables(whole, params, stats), {"config": config})


def pixels(spec: EncoderSpec, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).random((count, spec.size, spec.size, 3), np.float32)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("backbone", NETWORKS)
def test_the_encoder_comes_back_bit_by_bit(tmp_path: Path, backbone: str, suffix: str) -> None:
    sent = encoder(backbone, **CONFIG)
    path = ssi.export_encoder(sent, tmp_path / "out" / f"net{suffix}")
    back = ssi.load_encoder(f"file:{path}")
    assert back.encoder.spec == sent.encoder.spec
    assert (back.step, back.meta["config"]) == (7, CONFIG)
    for name in ("params", "batch_stats"):
        jax.tree.map(np.testing.assert_array_equal, getattr(back.encoder, name), getattr(sent.encoder, name))
    if suffix == ".pth":
        layer = sent.layers[-1]
        images = pixels(sent.encoder.spec)
        np.testing.assert_array_equal(back.features(images, layer), sent.features(images, layer))


def test_names_and_shapes_are_those_of_pytorch(tmp_path: Path) -> None:
    sent = encoder("alexnet32")
    contents = files.read(str(ssi.export_encoder(sent, tmp_path / "net.pth")))
    weight = contents.tensors["conv2.weight"]
    assert weight.shape == (128, 64, 3, 3)
    np.testing.assert_array_equal(
        weight.read()[5, 6, 1, 2], sent.encoder.params["conv2"]["kernel"][1, 2, 6, 5]
    )
    assert {name for name in contents.tensors if name.startswith(("conv1", "bn1", "conv2", "bn2"))} == {
        "conv1.weight",
        "conv1.bias",
        "conv2.weight",
        *(f"bn2.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    }
    np.testing.assert_array_equal(
        contents.tensors["bn2.running_var"].read(), sent.encoder.batch_stats["bn2"]["var"]
    )


def test_float16_is_the_rounded_encoder(tmp_path: Path) -> None:
    sent = encoder("dcgan32")
    path = ssi.export_encoder(sent, tmp_path / "net.safetensors", dtype="float16")
    with safetensors.safe_open(path, "numpy") as file:
        assert file.get_tensor("conv1.weight").dtype == np.float16
    found = ssi.load_encoder(f"file:{path}").encoder.params["conv1"]["kernel"]
    np.testing.assert_array_equal(found, np.float32(np.float16(sent.encoder.params["conv1"]["kernel"])))


def test_the_photograph_of_an_export_is_still_left_out_of_probes(tmp_path: Path) -> None:
    path = ssi.export_encoder(encoder("alexnet32", **CONFIG), tmp_path / "net.pth")
    assert pretrained_on([ssi.load_encoder(f"file:{path}")]) == ["coffee"]


def card_of(path: Path) -> str:
    return path.with_suffix(".md").read_text()


def test_the_card_has_the_licence_of_every_photograph(tmp_path: Path) -> None:
    several = CONFIG | {"source": "builtin:coffee+rocket"}
    text = card_of(ssi.export_encoder(encoder("alexnet32", **several), tmp_path / "net.pth"))
    assert "Licence: coffee: CC0 (Rachel Michetti); rocket: public domain (SpaceX)." in text


def test_the_card_counts_images_without_labels(tmp_path: Path) -> None:
    record = {"name": "unlabelled:cifar10", "images": 50000, "sha256": "5a" * 32}
    config = CONFIG | {"source": "unlabelled:cifar10", "inputs": [record]}
    text = card_of(ssi.export_encoder(encoder("alexnet32", **config), tmp_path / "net.pth"))
    assert "50,000 images" in text
    assert "Licence: not stated." in text


def test_the_card_tells_what_the_file_is(tmp_path: Path) -> None:
    results = tmp_path / "probe.json"
    results.write_text(json.dumps(probe(result("runs/cat", 61.4, 63.5, step=7, backbone="alexnet32"))))
    text = card_of(ssi.export_encoder(encoder("alexnet32", **CONFIG), tmp_path / "net.pth", probe=results))
    assert text.startswith(cards.MARK)
    for part in (
        "# net\n",
        "pretrained by `rotnet` for 7 steps on `builtin:coffee`",
        "`slope=0.2`, `first_norm=False`",
        "16 x 16 pixels",
        "5a" * 32,
        "400 x 600",
        "Licence: CC0 (Rachel Michetti).",
        "61.4",
        'ssi.load_encoder("file:net.pth")',
        'torch.load("net.pth", weights_only=True)',
        "class Encoder(nn.Module)",
    ):
        assert part in text, part
    rows = {cells[1].strip(): cells[2:-1] for line in text.splitlines() if len(cells := line.split("|")) > 3}
    assert [cell.strip() for cell in rows["red"]] == ["0.5", "0.2"]
    assert [cell.strip() for cell in rows["optimizer.name"]] == ['`"sgd"`']


def test_a_network_that_no_program_builds_has_a_card_too(tmp_path: Path) -> None:
    sent = ssi.load_encoder("random:hybrid")
    path = ssi.export_encoder(sent, tmp_path / "net.pth")
    assert "For this backbone there is no ready module." in card_of(path)
    back = ssi.load_encoder(f"file:{path}").encoder
    assert back.spec == sent.encoder.spec
    jax.tree.map(np.testing.assert_array_equal, back.params, sent.encoder.params)


def test_the_card_takes_the_licence_that_is_given(tmp_path: Path) -> None:
    own = {**CONFIG, "source": "~/photographs/cat.jpg", "inputs": [{"name": "/home/me/photographs/cat.jpg"}]}
    path = ssi.export_encoder(encoder("alexnet32", **own), tmp_path / "net.pth", licence="CC BY 4.0, me")
    assert "Licence: CC BY 4.0, me." in card_of(path)
    path = ssi.export_encoder(encoder("alexnet32", **own), tmp_path / "net.pth")
    assert "Licence: not stated." in card_of(path)
    path = ssi.export_encoder(encoder("alexnet32", **CONFIG), tmp_path / "net.pth", licence="mine")
    assert "Licence: mine." in card_of(path)


def test_the_card_of_a_supervised_encoder_names_its_data_set(tmp_path: Path) -> None:
    inputs = [{"name": "tfds:cifar10", "classes": 10, "images": 50_000}]
    config: dict[str, Any] = {
        "objective": "supervised",
        "source": "",
        "dataset": "tfds:cifar10",
        "inputs": inputs,
    }
    text = card_of(ssi.export_encoder(encoder("alexnet32", **config), tmp_path / "net.pth"))
    assert "for 7 steps on `tfds:cifar10`" in text
    assert "## Data set" in text
    assert "Source image" not in text
    assert [cell.strip() for cell in text[text.index("| tfds:") :].split("|")[1:4]] == [
        "tfds:cifar10",
        "50000",
        "10",
    ]


def test_a_name_with_quotes_is_a_text_in_the_programs_of_the_card(tmp_path: Path) -> None:
    path = ssi.export_encoder(encoder("dcgan32"), tmp_path / """a"b'c.pth""")
    programs = re.findall(r"```python\n(.*?)```", card_of(path), re.DOTALL)
    texts = {n.value for p in programs for n in ast.walk(ast.parse(p)) if isinstance(n, ast.Constant)}
    assert {path.name, f"file:{path.name}"} <= texts


def test_folders_of_the_users_machine_are_not_published(tmp_path: Path) -> None:
    own = {
        **CONFIG,
        "source": "/home/me/cat.jpg",
        "inputs": [{"name": "/home/me/cat.jpg", "shape": [3, 4, 3]}],
    }
    path = ssi.export_encoder(encoder("alexnet32", **own), tmp_path / "net.pth")
    assert b"/home/me" not in path.read_bytes() + path.with_suffix(".md").read_bytes()
    assert ssi.load_encoder(f"file:{path}").meta["config"]["source"] == "cat.jpg"


def test_what_no_export_wrote_is_not_overwritten(tmp_path: Path) -> None:
    sent = encoder("dcgan32")
    for name, content in (("net.md", "dear"), ("net.pth", "letters"), ("net.safetensors", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=rf"{name}: is no .*, and would be overwritten"):
            ssi.export_encoder(sent, tmp_path / ("net.pth" if name == "net.md" else name))
        assert (tmp_path / name).read_text() == content
        (tmp_path / name).unlink()
        assert not list(tmp_path.iterdir())
    first = ssi.export_encoder(sent, tmp_path / "net.pth").read_bytes()
    assert ssi.export_encoder(sent, tmp_path / "net.pth").read_bytes() == first


def with_first_bias(value: float) -> LoadedEncoder:
    sent = encoder("dcgan32")
    sent.encoder.params["conv1"]["bias"] = sent.encoder.params["conv1"]["bias"].at[0].set(value)
    return sent


@pytest.mark.parametrize(
    ("sent", "name", "options", "message"),
    [
        (0.0, "net.npz", {}, r"exports are \.safetensors, \.pth, \.pt files"),
        (0.0, "net", {}, r"exports are \.safetensors, \.pth, \.pt files"),
        (0.0, "net.pth", {"dtype": "float64"}, "dtype = 'float64': unknown"),
        (np.nan, "net.pth", {}, r"conv1\.bias has NaN or infinite values"),
        (1e6, "net.pth", {"dtype": "float16"}, r"conv1\.bias has values above 65504; use float32"),
        (0.0, "net.pth", {"probe": "none.json"}, r"none\.json: can't be read"),
        (0.0, "file/net.pth", {}, "is a file"),
    ],
)
def test_what_can_not_be_exported_is_refused(
    tmp_path: Path, sent: float, name: str, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=message) as caught:
        ssi.export_encoder(with_first_bias(sent), tmp_path / name, **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(("step", "backbone"), [(6, "alexnet32"), (7, "nin")])
def test_a_probe_of_another_encoder_is_refused(tmp_path: Path, step: int, backbone: str) -> None:
    results = tmp_path / "probe.json"
    results.write_text(json.dumps(probe(result("runs/dog", 61.4, step=step, backbone=backbone))))
    with pytest.raises(InputError, match=f"measured no alexnet32 at step 7; it has runs/dog at step {step}"):
        ssi.export_encoder(encoder("alexnet32"), tmp_path / "net.pth", probe=results)


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ("{", "its note ssl_single_image is damaged"),
        ("[]", "its note ssl_single_image is damaged"),
        ('{"version": 2}', "exported by a newer version"),
        ('{"version": 1, "encoder": {"backbone": "vgg"}}', "is damaged"),
    ],
)
def test_a_damaged_note_is_refused(tmp_path: Path, note: str, message: str) -> None:
    save_file(
        {"conv1.weight": np.zeros((2, 3, 3, 3), np.float32)},
        tmp_path / "net.safetensors",
        {"ssl_single_image": note},
    )
    with pytest.raises(InputError, match=message):
        ssi.load_encoder(f"file:{tmp_path / 'net.safetensors'}")


def test_an_export_without_its_note_needs_the_network(tmp_path: Path) -> None:
    """As other programs leave it when they load and save the weights."""
    sent = encoder("alexnet32")
    path = ssi.export_encoder(sent, tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"says itself what network it holds; leave out slope"):
        ssi.load_encoder(f"file:{path},slope=0.2")
    save_file(load_file(path), path)
    with pytest.raises(InputError, match="of no known layout"):
        ssi.load_encoder(f"file:{path}")
    words = "backbone=alexnet32,slope=0.2,first_norm=false,size=16,mean=0.5/0.4/0.3,std=0.2/0.25/0.3"
    back = ssi.load_encoder(f"file:{path},{words}")
    assert back.encoder.spec == sent.encoder.spec
    jax.tree.map(np.testing.assert_array_equal, back.encoder.params, sent.encoder.params)
    with pytest.raises(InputError, match="tensors differ"):
        ssi.load_encoder(f"file:{path},backbone=alexnet32")  # whose conv1 would have batch norm


def test_statistics_of_a_network_without_batch_norm_are_not_recomputed(tmp_path: Path) -> None:
    sent = encoder("alexnet32")
    plain = LoadedEncoder(
        sent.name, 0, sent.encoder, {"config": {}, "file": {"layout": "torchvision", "batch_norm": False}}
    )
    path = ssi.export_encoder(plain, tmp_path / "net.pth")
    back = ssi.load_encoder(f"file:{path}")
    assert not back.has_batch_norm
    with pytest.raises(InputError, match=r"was trained without batch norm; use running"):
        make_plan([back], labelled(), ProbeConfig(statistics="recomputed", batch_size=20))


def test_the_note_of_a_file_may_say_anything_of_its_run(tmp_path: Path) -> None:
    configs: list[dict[str, Any]] = [
        {"inputs": 5, "source": 3},
        {"inputs": [4, {"shape": 7}]},
        {"objective": []},
    ]
    for config in configs:
        first = ssi.export_encoder(encoder("dcgan32", **config), tmp_path / "net.pth")
        again = ssi.export_encoder(f"file:{first}", tmp_path / "again.pth")
        assert ssi.load_encoder(f"file:{again}").meta["config"] == config
        assert card_of(again).startswith(cards.MARK)


def test_the_command_writes_both_files_and_refuses_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "--checkpoint=random:alexnet32,slope=0.1@3", "--out=out/net.pth", "--licence=CC0"]
    assert run_cli.call(words, tmp_path) == 0
    assert capsys.readouterr().out == "out/net.pth\n"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["net.md", "net.pth"]
    assert (
        run_cli.call(["export", "--checkpoint=file:out/net.pth", "--out=out/again.safetensors"], tmp_path)
        == 0
    )
    capsys.readouterr()
    for words, message in (
        (["export", "--out=net.pth"], "--checkpoint"),
        (["export", "--checkpoint=nobody", "--out=net.pth"], "checkpoint nobody"),
        (["export", "--checkpoint=random:nin", "--out=net.zip"], "net.zip"),
        (["export", "--checkpoint=file:out/net.md", "--out=net.pth"], "neither a checkpoint"),
    ):
        assert run_cli.call(words, tmp_path) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_a_probe_takes_a_file_among_its_references(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And shows where it differs from every layout, below the line."""
    save_file({"features.0.weight": np.zeros((64, 3, 11, 11), np.float32)}, tmp_path / "net.pth")
    words = [
        "probe",
        "--config=photos",
        "--checkpoint=random:alexnet,file:net.pth,layout=torchvision",
        "--workdir=p",
    ]
    assert run_cli.call(words, tmp_path) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "does not fit the layout torchvision" in lines[0]
    assert lines[1].split() == ["tensor", "in", "the", "file", "expected"]
    assert any(line.startswith("features.10.bias") for line in lines)
    assert not (tmp_path / "p").exists()
