"""EfficientNet-B0: sizes as published, activations as NumPy's, files of torchvision, probes and exports."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_fakes import labelled
from reference import numpy_efficientnet
from test_foreign_layouts import MEAN, STD, TOLERANCE, activations, pixels, save

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.errors import InputError
from ssl_single_image.probes import ProbeConfig, make_plan, runner

LAYERS = ["block00", "block02", "block04", "block10", "block15"]
CHANNELS = (16, 24, 40, 112, 320)
SIDES = {"imagenet": (224, (112, 56, 28, 14, 7)), "small": (32, (32, 16, 8, 4, 2))}
PUBLISHED = {1000: 5_288_548, 10: 4_020_358}
"""Trainable values with so many classes."""
TRUNK, STATISTICS = 4_007_548, 42_016
NAME = "efficientnet_b0"

drawn = functools.lru_cache(numpy_efficientnet.draw)


def count(tree: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(("stem", "classes"), [("imagenet", 1000), ("small", 10)])
def test_sizes_are_the_published_ones(stem: str, classes: int) -> None:
    side, maps = SIDES[stem]
    spec = models.encoder_spec(NAME, {"stem": stem})
    assert spec.size == side
    network = models.build_network(NAME, {"stem": stem}, classes)
    (logits, taps), variables = jax.eval_shape(
        lambda key: network.init_with_output(key, jnp.zeros((2, side, side, 3)), train=False),
        jax.random.key(0),
    )
    assert logits.shape == (2, classes)
    shapes = {
        layer: (cells, cells, channels) for layer, cells, channels in zip(LAYERS, maps, CHANNELS, strict=True)
    }
    assert {layer: tap.shape[1:] for layer, tap in taps.items()} == shapes
    assert models.activation_shapes(spec) == shapes
    assert list(models.activation_shapes(spec)) == LAYERS
    assert count(variables["params"]) == PUBLISHED[classes]
    assert count(variables["params"]["backbone"]) == TRUNK == models.BACKBONES[NAME].parameters
    assert count(variables["batch_stats"]) == STATISTICS


@pytest.mark.parametrize("stem", SIDES)
def test_activations_are_those_of_the_network_in_the_file(tmp_path: Path, stem: str) -> None:
    weights, side = drawn(), 32 if stem == "imagenet" else 16
    loaded = ssi.load_encoder(save(tmp_path / "net.pth", weights) + f",size={side},stem={stem}")
    assert loaded.meta["file"] == {"layout": "torchvision-efficientnet_b0", "batch_norm": True}
    assert loaded.encoder.spec.options == {"stem": stem, "sobel": False, "drop_path": 0.2, "epsilon": 1e-5}
    shown = pixels(1, side)
    found = activations(loaded, shown)
    assert list(found) == LAYERS
    entering = ((shown - MEAN) / STD).transpose(0, 3, 1, 2)
    *wanted, _ = numpy_efficientnet.activations(weights, entering, stride=2 if stem == "imagenet" else 1)
    for value, other in zip(found.values(), wanted, strict=True):
        assert value.std() > 0.05
        np.testing.assert_allclose(
            value, other.transpose(0, 2, 3, 1), atol=TOLERANCE * np.abs(other).max(), rtol=0
        )


def test_the_output_is_that_of_the_last_convolution(tmp_path: Path) -> None:
    loaded = ssi.load_encoder(save(tmp_path / "net.pth", drawn()) + ",size=16,stem=small").encoder
    trunk = models.build_backbone(NAME, loaded.spec.options)
    x = np.random.default_rng(1).normal(size=(2, 16, 16, 3)).astype(np.float32)
    variables = {"params": loaded.params, "batch_stats": loaded.batch_stats}
    found = jax.jit(lambda x: trunk.apply(variables, x, train=False)[0])(x)
    *_, wanted = numpy_efficientnet.activations(drawn(), x.transpose(0, 3, 1, 2), stride=1)
    assert found.shape == (2, 1, 1, 1280)
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), atol=TOLERANCE * np.abs(wanted).max())
    assert trunk.average_pooled() is trunk


def test_what_differs_from_torchvision_is_listed(tmp_path: Path) -> None:
    weights = dict(drawn())
    weights["features.3.1.block.1.0.weight"] = np.zeros((240, 1, 3, 3), np.float32)
    del weights["features.2.0.block.2.fc1.bias"]
    with pytest.raises(
        InputError, match=r"the nearest is torchvision-efficientnet_b0 .*: 2 tensors differ"
    ) as caught:
        ssi.load_encoder(save(tmp_path / "net.pth", weights))
    (table,) = caught.value.__notes__
    assert "(240, 1, 5, 5)" in table
    assert "features.2.0.block.2.fc1.bias" in table


def test_an_export_is_read_again_to_the_bit(tmp_path: Path) -> None:
    sent = ssi.load_encoder(save(tmp_path / "net.pth", drawn()) + ",size=32")
    path = ssi.export_encoder(sent, tmp_path / "sent.safetensors")
    back = ssi.load_encoder(f"file:{path}")
    assert back.encoder.spec == sent.encoder.spec
    jax.tree.map(np.testing.assert_array_equal, back.encoder.params, sent.encoder.params)
    jax.tree.map(np.testing.assert_array_equal, back.encoder.batch_stats, sent.encoder.batch_stats)
    assert "class Block(nn.Module)" in path.with_suffix(".md").read_text()


def test_every_layer_can_be_probed(tmp_path: Path) -> None:
    loaded = ssi.load_encoder(save(tmp_path / "net.pth", drawn()) + ",size=8,stem=small")
    config = ProbeConfig.from_config({"kind": "knn", "batch_size": 20, "max_features": 320})
    (result,) = runner.run(make_plan([loaded], labelled(train=40, test=20), config))["results"]
    assert list(result["layers"]) == LAYERS
    assert all(0 < layer["features"] <= 320 for layer in result["layers"].values())


@pytest.mark.parametrize(
    ("options", "size", "words"),
    [
        ({"stem": "large"}, 0, "stem"),
        ({"drop_path": 1.0}, 0, r"drop_path .*\[0, 1\)"),
        ({"epsilon": 0.0}, 0, r"epsilon .*\(0, 1\]"),
        ({}, -1, "an input of -1 pixels is too small"),
    ],
)
def test_bad_options_and_sizes_are_refused(options: dict[str, Any], size: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        models.encoder_spec(NAME, options, size)


def test_what_needs_a_chain_of_convolutions_refuses_it() -> None:
    with pytest.raises(InputError, match="efficientnet_b0: k-means initialisation needs a chain"):
        ssi.load_encoder("kmeans:efficientnet_b0,source=builtin:coffee")
    with pytest.raises(InputError, match="'efficientnet_b0': has no first layers to freeze"):
        ssi.finetune(ssi.finetune_config("photos", backbone="efficientnet_b0"), ["none"], "unused")
    with pytest.raises(InputError, match="rest"):
        models.encoder_spec("hybrid", {"rest": "efficientnet_b0"})
