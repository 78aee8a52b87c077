"""Residual networks: sizes as published, activations as NumPy's, training, and files of torchvision."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import spanning
from reference import numpy_resnet
from test_foreign_layouts import MEAN, STD, TOLERANCE, activations, pixels, save

import ssl_single_image as ssi
from ssl_single_image import models
from ssl_single_image.errors import InputError
from ssl_single_image.models.resnet import Options
from ssl_single_image.probes import pooling

LAYERS = ["conv1", "layer1", "layer2", "layer3", "layer4"]
SIDES = {"imagenet": (224, (112, 56, 28, 14, 7)), "small": (32, (32, 32, 16, 8, 4))}
CHANNELS = {"resnet18": (64, 64, 128, 256, 512), "resnet50": (64, 256, 512, 1024, 2048)}
TORCHVISION = {"resnet18": 11_689_512, "resnet50": 25_557_032}
"""Parameters that torchvision's documentation gives, with a top layer of 1,000 classes."""

drawn = functools.lru_cache(numpy_resnet.draw)


@pytest.mark.parametrize("stem", SIDES)
@pytest.mark.parametrize("name", CHANNELS)
def test_sizes_are_the_published_ones(name: str, stem: str) -> None:
    side, maps = SIDES[stem]
    assert models.encoder_spec(name, {"stem": stem}).size == side
    network = models.build_network(name, {"stem": stem}, 1000)
    (logits, taps), variables = jax.eval_shape(
        lambda key: network.init_with_output(key, jnp.zeros((2, side, side, 3)), train=False),
        jax.random.key(0),
    )
    assert logits.shape == (2, 1000)
    assert {layer: tap.shape[1:] for layer, tap in taps.items()} == {
        layer: (cells, cells, channels)
        for layer, cells, channels in zip(LAYERS, maps, CHANNELS[name], strict=True)
    }
    assert models.activation_shapes(models.encoder_spec(name, {"stem": stem})) == {
        layer: tap.shape[1:] for layer, tap in taps.items()
    }
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count + (7 * 7 - 3 * 3) * 3 * 64 * (stem == "small") == TORCHVISION[name]


@pytest.mark.parametrize(
    ("name", "stem"), [("resnet18", "imagenet"), ("resnet18", "small"), ("resnet50", "small")]
)
def test_activations_are_those_of_the_network_in_the_file(tmp_path: Path, name: str, stem: str) -> None:
    weights = drawn(name, stem=7 if stem == "imagenet" else 3)
    loaded = ssi.load_encoder(save(tmp_path / "net.pth", weights) + ",size=32")
    assert loaded.meta["file"] == {"layout": f"torchvision-{name}", "batch_norm": True}
    assert loaded.encoder.spec.options == {"stem": stem, "sobel": False, "zero_gains": False}
    side = 32 if stem == "imagenet" else 12
    images = pixels(1, side)
    found = activations(loaded, images)
    assert list(found) == LAYERS
    wanted = numpy_resnet.activations(name, weights, ((images - MEAN) / STD).transpose(0, 3, 1, 2))
    for value, other in zip(found.values(), wanted, strict=True):
        assert value.std() > 0.05
        np.testing.assert_allclose(
            value, other.transpose(0, 2, 3, 1), atol=TOLERANCE * np.abs(other).max(), rtol=0
        )


def test_what_differs_from_torchvision_is_listed(tmp_path: Path) -> None:
    weights = dict(drawn("resnet18", stem=3))
    weights["layer2.0.downsample.0.weight"] = np.zeros((128, 64, 3, 3), np.float32)
    del weights["layer3.1.bn2.weight"]
    weights["layer5.0.conv1.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    with pytest.raises(
        InputError, match=r"the nearest is torchvision-resnet18 .*: 3 tensors differ"
    ) as caught:
        ssi.load_encoder(save(tmp_path / "net.pth", weights))
    (table,) = caught.value.__notes__
    for row in (r"layer2.0.downsample.0.weight", r"layer3.1.bn2.weight", "layer5.0.conv1.weight"):
        assert row in table


def test_an_export_is_read_again_to_the_bit(tmp_path: Path) -> None:
    sent = ssi.load_encoder(save(tmp_path / "net.pth", drawn("resnet18", stem=3)) + ",size=32")
    path = ssi.export_encoder(sent, tmp_path / "sent.safetensors")
    back = ssi.load_encoder(f"file:{path}")
    assert back.encoder.spec == sent.encoder.spec
    jax.tree.map(np.testing.assert_array_equal, back.encoder.params, sent.encoder.params)
    jax.tree.map(np.testing.assert_array_equal, back.encoder.batch_stats, sent.encoder.batch_stats)


def tiny(bottleneck: bool, **shared: Any) -> models.ResNet:
    """A stem and two stages of one block."""
    return models.ResNet((1, 1), bottleneck, Options(stem="small"), **shared)


def test_spectral_norm_reaches_every_convolution() -> None:
    """The network that it is in evaluation has kernels whose largest singular value is about 1."""
    spectral, plain = tiny(False, spectral=True), tiny(False)
    x = jax.random.normal(jax.random.key(1), (1, 4, 4, 3))

    @jax.jit
    def compare(key):
        variables = spectral.init(key, x, train=False)
        params, statistics = models.without_spectral_norm(variables["params"], variables["batch_stats"])
        wanted, _ = spectral.apply(variables, x, train=False)
        found, _ = plain.apply({"params": params, "batch_stats": statistics}, x, train=False)
        return params, wanted, found

    params, wanted, found = compare(jax.random.key(0))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)
    kernels = [leaf for path, leaf in jax.tree.leaves_with_path(params) if path[-1].key == "kernel"]
    assert len(kernels) == 6
    for kernel in kernels:
        largest = np.linalg.norm(np.asarray(kernel).reshape(-1, kernel.shape[-1]), 2)
        assert 0.9 < largest < 2.5  # the estimate after no training step is from below


@pytest.mark.parametrize("bottleneck", [False, True])
def test_training_reaches_every_parameter_and_statistic(bottleneck: bool) -> None:
    trunk = tiny(bottleneck)
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))

    @jax.jit
    def step(key):
        variables = trunk.init(key, x, train=False)

        def loss(params):
            (output, _), new = trunk.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"]
            )
            return (output * jax.random.normal(key, output.shape)).sum(), new["batch_stats"]

        gradients, statistics = jax.grad(loss, has_aux=True)(variables["params"])
        return gradients, statistics, variables["batch_stats"]

    gradients, new, old = step(jax.random.key(0))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new, old)
    assert all(jax.tree.leaves(changed))


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("bottleneck", [False, True])
def test_statistics_span_the_replicas(bottleneck: bool) -> None:
    spanning.check(functools.partial(tiny, bottleneck))


def test_average_pooling_behind_the_stem() -> None:
    """Without any block, the output is the pooled stem."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 12, 12, 3)), jnp.float32)
    usual = models.ResNet((), False)
    variables = jax.jit(lambda key: usual.init(key, x, train=False))(jax.random.key(0))
    pooled = {}
    for trunk, reduce in ((usual, np.max), (usual.average_pooled(), np.mean)):
        output, taps = trunk.apply(variables, x, train=False)
        padded = np.pad(taps["conv1"], ((0, 0), (1, 1), (1, 1), (0, 0)))  # what a ReLU gives is 0 or more
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))[:, ::2, ::2]
        np.testing.assert_allclose(output, reduce(windows, (-2, -1)), rtol=1e-5, atol=1e-6)
        pooled[reduce] = output
    assert np.abs(pooled[np.max] - pooled[np.mean]).max() > 0.1


@pytest.mark.parametrize("name", CHANNELS)
def test_published_probes_see_about_nine_thousand_features_of_each_layer(name: str) -> None:
    shapes = models.activation_shapes(models.encoder_spec(name))
    pools = pooling.choose(shapes, "adaptive", 9600)
    found = {layer: pooling.features(pool, shapes[layer]) for layer, pool in pools.items()}
    assert list(found) == LAYERS
    assert set(found.values()) <= {8192, 9216}


def test_blocks_with_zero_gains_pass_their_input_on() -> None:
    spec = models.encoder_spec("resnet18", {"stem": "small", "zero_gains": True})
    encoder = models.untrained(spec, jax.random.key(0))
    for stage, shortcut in ((1, False), (2, True)):
        block = encoder.params[f"layer{stage}_0"]
        assert (np.asarray(block["bn2"]["scale"]) == 0).all()
        assert (np.asarray(block["bn1"]["scale"]) == 1).all()
        assert ("shortcut" in block) == shortcut
    loaded = ssi.runs.LoadedEncoder("zero", 0, encoder, {})
    found = activations(loaded, pixels(1, 8))
    np.testing.assert_array_equal(found["layer1"], found["conv1"])


def test_what_needs_a_chain_of_convolutions_refuses_a_residual_network() -> None:
    with pytest.raises(InputError, match="resnet18: k-means initialisation needs a chain"):
        ssi.load_encoder("kmeans:resnet18,source=builtin:coffee")
    with pytest.raises(InputError, match="'resnet18': has no first layers to freeze"):
        ssi.finetune(ssi.finetune_config("photos", backbone="resnet18"), ["none"], "unused")
    with pytest.raises(InputError, match="rest"):
        models.encoder_spec("hybrid", {"rest": "resnet18"})
