"""Style transfer: its losses against NumPy, descent, the shift, determinism, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from probe_fakes import LAYERS, SPEC, loaded, tiny_backbone  # noqa: F401

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.analysis import style
from ssl_single_image.cli import common
from ssl_single_image.errors import Halted, InputError
from ssl_single_image.models.layers import ConvTrunk
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.runs.encoders import activations
from ssl_single_image.types import EncoderSpec

SMALL: dict[str, Any] = {"size": 32, "steps": 6, "shift": 2}


@pytest.fixture
def images(tmp_path: Path) -> tuple[str, str]:
    """A photograph and an image of stripes, both small."""
    photograph = Image.fromarray(ssi.load_source("builtin:coffee")[0].pixels).resize((48, 32))
    photograph.save(tmp_path / "photograph.png")
    stripes = np.zeros((30, 40, 3), np.uint8)
    stripes[::4] = (250, 120, 10)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    return str(tmp_path / "photograph.png"), str(tmp_path / "stripes.png")


def test_gram_and_style_loss_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    maps = {"a": rng.normal(size=(5, 7, 3)), "b": rng.normal(size=(2, 3, 4))}
    wanted = {"a": rng.normal(size=(3, 3)), "b": rng.normal(size=(4, 4))}
    expected = 0.0
    for layer, x in maps.items():
        count = x.shape[-1]
        products = np.array([[(x[..., i] * x[..., j]).mean() for j in range(count)] for i in range(count)])
        np.testing.assert_allclose(style.gram(jnp.asarray(x, jnp.float32)), products, atol=1e-6)  # float32
        expected += 50 / count**2 * ((products - wanted[layer]) ** 2).mean()
    ours, theirs = (
        {layer: jnp.asarray(x, jnp.float32) for layer, x in tree.items()} for tree in (maps, wanted)
    )
    assert float(style.style_loss(ours, theirs, 50.0)) == pytest.approx(expected, rel=1e-5)  # float32


def test_variation_counts_levels_of_eight_bits() -> None:
    picture = np.zeros((4, 5, 3), np.float32)
    picture[:, 3:] = 1 / 255  # a step of one level in one of four columns of differences
    assert float(style.variation(jnp.asarray(picture))) == pytest.approx(1 / 4, rel=1e-5)


@pytest.mark.parametrize(
    ("depth", "styles", "content"),
    [(5, (1, 2, 3, 4), 3), (9, (2, 4, 6, 8), 6), (4, (1, 2, 3, 4), 3), (2, (1, 2), 2), (1, (1,), 1)],
)
def test_layers_are_chosen_by_depth(depth: int, styles: tuple[int, ...], content: int) -> None:
    names = [f"conv{i}" for i in range(1, depth + 1)]
    assert style.layers_by_depth(names) == (tuple(f"conv{i}" for i in styles), f"conv{content}")


def test_average_pooling_changes_the_pooling_alone() -> None:
    network = models.build_backbone("tiny", {}).average_pooled()
    assert isinstance(network, ConvTrunk)
    assert [layer.average for layer in network.layers] == [True, True]
    assert [layer.pool for layer in network.layers] == [layer.pool for layer in LAYERS]
    x = jnp.asarray(
        np.random.default_rng(0).random((1, 12, 20, 3)), jnp.float32
    )  # not the encoder's own size
    encoder = loaded().encoder
    usual, averaged = activations(encoder, x), activations(encoder, x, average=True)
    np.testing.assert_array_equal(usual["conv1"], averaged["conv1"])
    assert usual["conv2"].shape == averaged["conv2"].shape == (1, 6, 10, 12)
    assert not np.allclose(usual["conv2"], averaged["conv2"], atol=1e-3)


def test_the_loss_goes_down_and_the_style_comes_nearer(images: tuple[str, str]) -> None:
    done = ssi.stylize(loaded(), *images, **(SMALL | {"steps": 20, "shift": 0}))
    first, last = done.record["losses"][0], done.record["losses"][-1]
    assert last["loss"] < first["loss"] / 3
    assert last["style"] < first["style"] / 3
    assert first["content"] < 1e-9 < last["content"]  # rounding in float32
    assert done.image.size == (32, 21)
    for row in done.record["losses"]:
        assert row["loss"] == pytest.approx(row["style"] + row["content"] + row["variation"], rel=1e-5)


def test_without_style_the_picture_stays_as_it_is(images: tuple[str, str]) -> None:
    done = ssi.stylize(loaded(), *images, **SMALL, style_weight=0, variation_weight=0)
    with Image.open(images[0]) as whole:
        photograph = whole.resize((32, 21), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(done.image, photograph)  # whatever the shift
    assert max(row["loss"] for row in done.record["losses"]) < 1e-9


def test_a_seed_gives_one_picture(images: tuple[str, str]) -> None:
    first, again, other = (ssi.stylize(loaded(), *images, **SMALL, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.image, again.image)
    assert first.record == again.record
    assert first.record["losses"] != other.record["losses"]


def test_the_picture_and_its_record_are_written(images: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "picture.png"
    done = ssi.stylize(loaded(), *images, out, **SMALL)
    with Image.open(out) as written:
        np.testing.assert_array_equal(written, done.image)
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["environment"]["packages"]
    assert record["config"]["style_layers"] == ["conv1", "conv2"]
    assert record["config"]["content_layer"] == "conv2"
    assert [row["step"] for row in record["losses"]] == list(range(6))
    assert record["style"]["shape"] == [30, 40, 3]
    assert done._repr_png_()[:4] == b"\x89PNG"
    assert sorted(path.name for path in out.parent.iterdir()) == ["picture.json", "picture.png"]
    ssi.stylize(loaded(), *images, out, **SMALL)  # replaces its own files


def spoilt(value: float) -> LoadedEncoder:
    whole = loaded()
    whole.encoder.params["conv2"]["kernel"] = (
        whole.encoder.params["conv2"]["kernel"].at[0, 0, 0, 0].set(value)
    )
    return whole


def test_what_cannot_be_used_is_refused(images: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    many = tmp_path / "many"
    many.mkdir()
    for name in "ab":
        Image.new("RGB", (40, 40)).save(many / f"{name}.png")
    content = images[0]
    sobel = EncoderSpec("alexnet32", {"sobel": True}, 32, SPEC.mean, SPEC.std)
    cases: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        ((LoadedEncoder("s", 0, models_of(sobel), {}), *images), {}, "sees no colour"),
        ((spoilt(np.nan), *images), {}, r"weights of layer conv2 \(kernel\) are not finite"),
        ((loaded(), content, str(many)), {}, "names 2 images"),
        ((loaded(), content, "nothing.png"), {}, "no such file"),
        ((loaded(), *images), {"style_layers": ("conv3",)}, "has conv1, conv2"),
        ((loaded(), *images), {"content_layer": "fc"}, "has conv1, conv2"),
        ((loaded(), *images), {"size": 8}, "size = 8"),
        ((loaded(), *images), {"style_weight": float("nan")}, "style_weight"),
        ((loaded(), *images), {"depth": 3}, "depth: no such field"),
        ((loaded(), *images, content), {}, "is the image"),
        ((loaded(), *images, tmp_path / "mine.png"), {}, "is no record of stylize"),
        ((loaded(), *images, tmp_path / "picture.txt"), {}, "no image format"),
    ]
    for given, fields, message in cases:
        with pytest.raises(InputError, match=message):
            ssi.stylize(*given, **(SMALL | fields))
    Image.new("RGB", (400, 20)).save(tmp_path / "wide.png")
    with pytest.raises(InputError, match=r"wide.png: 64 x 3 pixels at size 64"):
        ssi.stylize(loaded(), content, str(tmp_path / "wide.png"), size=64)
    assert (tmp_path / "mine.json").read_text() == "{}"


def models_of(spec: EncoderSpec) -> Any:
    """An encoder of a spec whose weights nothing looks at."""
    return type(loaded().encoder)(spec, {}, {})


def test_a_loss_that_is_no_number_ends_it(images: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="activations of layer conv2 overflow"):
        ssi.stylize(spoilt(-1e30), *images, tmp_path / "picture.png", **SMALL)  # scaled by a negative factor
    with pytest.raises(Halted, match=r"the loss of step 0 is inf") as caught:
        ssi.stylize(loaded(), *images, tmp_path / "picture.png", **SMALL, variation_weight=3e38)
    assert caught.value.status == 1
    assert not (tmp_path / "picture.png").exists()


def test_command(images: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["stylize", "--checkpoint=random:alexnet32,sobel=true", f"--content={images[0]}"]
    words += [f"--style={images[1]}", f"--out={tmp_path / 'picture.png'}"]
    with pytest.raises(SystemExit) as caught:
        common.run("stylize", words)
    assert caught.value.code == 2
    assert "Sobel network" in capsys.readouterr().err
