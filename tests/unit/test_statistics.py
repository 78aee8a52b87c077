"""Recomputed batch-norm statistics against NumPy and Flax, and what they may depend on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from probe_fakes import LAYERS, SIDE, SPEC, labelled, loaded, tiny_backbone  # noqa: F401

from ssl_single_image import augment, models
from ssl_single_image.analysis import tables
from ssl_single_image.datasets import LabelledSet, MemorySplit
from ssl_single_image.models.layers import ConvTrunk
from ssl_single_image.probes import Answers, ProbeConfig, make_plan, runner, statistics
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import Batch, EncoderVariables

TRAIN = 22  # not a multiple of the batch


class Unused:
    """A program that is never run."""

    def run(self, loaded: LoadedEncoder) -> Answers:
        raise AssertionError

    def memory(self, loaded: LoadedEncoder) -> int:
        raise AssertionError


def program(
    encoder: LoadedEncoder, data: LabelledSet | None = None, batch_size: int = 8, **changes: object
) -> statistics.Recomputed:
    fields = {"batch_size": batch_size, "max_features": 200, "statistics": "recomputed"} | changes
    plan = make_plan([encoder], data or labelled(train=TRAIN), ProbeConfig.from_config(fields))
    return statistics.Recomputed(Unused(), plan, plan.setups[0])


def recomputed(encoder: LoadedEncoder, *arguments: Any, **changes: Any) -> EncoderVariables:
    return program(encoder, *arguments, **changes).encoder(encoder)


def pixels() -> np.ndarray:
    train = labelled(train=TRAIN).train
    assert isinstance(train, MemorySplit)
    return train.image


def normalised(image: np.ndarray) -> np.ndarray:
    return (image / 255 - np.array(models.MEAN)) / np.array(models.STD)


def textbook(encoder: EncoderVariables, x: np.ndarray) -> dict:
    """The statistics of the tiny network over all images at once, in NumPy and float64."""
    params = jax.tree.map(np.float64, encoder.params)
    found = {}
    for number, layer in enumerate(LAYERS, 1):
        kernel, norm = params[f"conv{number}"]["kernel"], params[f"bn{number}"]
        windows = sliding_window_view(np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)]), (3, 3), (1, 2))
        x = np.einsum("bhwcij,ijcd->bhwd", windows, kernel)
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        found[f"bn{number}"] = {"mean": mean, "var": var}
        x = np.maximum((x - mean) / np.sqrt(var + 1e-5) * norm["scale"] + norm["bias"], 0)
        if layer.pool:
            x = x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
    return found


def with_statistics(encoder: LoadedEncoder, mean: float, var: float) -> LoadedEncoder:
    stored = jax.tree.map(jnp.zeros_like, encoder.encoder.batch_stats)
    stored = {name: {"mean": s["mean"] + mean, "var": s["var"] + var} for name, s in stored.items()}
    return dataclasses.replace(encoder, encoder=dataclasses.replace(encoder.encoder, batch_stats=stored))


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), found, expected)


def test_every_layer_has_the_statistics_of_all_images_at_once():
    """22 images in batches of 8: with padding, and split over the devices that there are."""
    encoder = loaded()
    found = recomputed(encoder)
    assert found.batch_stats.keys() == {"bn1", "bn2"}
    assert_close(found.batch_stats, textbook(encoder.encoder, normalised(pixels())))
    assert found.params is encoder.encoder.params
    assert_close(recomputed(encoder, batch_size=20).batch_stats, found.batch_stats)


def test_they_are_flaxs_for_one_batch_of_all_images():
    encoder = loaded().encoder
    network = models.build_backbone("tiny", {})
    x = augment.normalise(jnp.float32(pixels()) / 255, models.MEAN, models.STD)
    zero = jax.tree.map(jnp.zeros_like, encoder.batch_stats)
    variables = {"params": encoder.params, "batch_stats": zero}
    _, updated = network.apply(variables, x, train=True, mutable=["batch_stats"])
    expected = jax.tree.map(lambda moved: 10 * moved, updated["batch_stats"])  # momentum .9 from zero
    assert_close(recomputed(loaded()).batch_stats, expected)


def test_stored_statistics_have_no_influence_even_if_they_are_not_numbers():
    plain, odd, broken = loaded(), with_statistics(loaded(), 0.7, 2.5), with_statistics(loaded(), np.nan, 1)
    recompute = program(plain).encoder
    found = recompute(plain).batch_stats
    for other in (odd, broken, plain):
        jax.tree.map(np.testing.assert_array_equal, recompute(other).batch_stats, found)


def test_labels_and_test_images_are_not_used():
    data = labelled(train=TRAIN)
    train, rng = data.train, np.random.default_rng(5)
    assert isinstance(train, MemorySplit)
    shuffled = MemorySplit(train.image, rng.permutation(train.label), train.extent)
    assert (shuffled.label != train.label).any()
    other = dataclasses.replace(data, train=shuffled, test=labelled(test=9, train=70).train)
    first, again = (recomputed(loaded(), data=d).batch_stats for d in (data, other))
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize("limited", ["by the probe", "by the module"])
def test_no_more_images_than_the_limit_are_drawn(monkeypatch, limited):
    if limited == "by the module":
        monkeypatch.setattr(statistics, "IMAGES", 8)
    seen: list[Batch] = []
    drawn = statistics.one_pass

    def watched(*arguments: Any) -> Iterator[Batch]:
        for batch in drawn(*arguments):
            seen.append(batch)
            yield batch

    monkeypatch.setattr(statistics, "one_pass", watched)
    changes = {"train_images": 8} if limited == "by the probe" else {}
    found = recomputed(loaded(), **changes)
    images = np.concatenate([batch.image[batch.label >= 0] for batch in seen[: len(seen) // 2]])
    assert len(images) == 8
    assert_close(found.batch_stats, textbook(loaded().encoder, normalised(images)))


def bare(monkeypatch, layers: int) -> LoadedEncoder:
    """An encoder whose first layer has no batch norm."""
    trunk = dataclasses.replace(
        models.BACKBONES["tiny"],
        build=lambda options, **shared: ConvTrunk(LAYERS[:layers], first_norm=False, **shared),
    )
    monkeypatch.setitem(models.BACKBONES, "bare", trunk)
    spec = dataclasses.replace(SPEC, backbone="bare")
    return LoadedEncoder("random:bare", 0, models.untrained(spec, jax.random.key(0)), {})


def test_an_encoder_without_batch_norm_is_left_as_it_is(monkeypatch):
    encoder = bare(monkeypatch, 1)
    assert encoder.encoder.batch_stats == {}
    assert recomputed(encoder) is encoder.encoder


def test_a_network_whose_first_layer_has_no_norm(monkeypatch):
    encoder = bare(monkeypatch, 2)
    found = recomputed(encoder).batch_stats
    assert found.keys() == {"bn2"}
    x = jnp.float32(normalised(pixels()))
    variables = {"params": encoder.encoder.params, "batch_stats": encoder.encoder.batch_stats}
    entering = models.norm_inputs(models.build_backbone("bare", {}), variables, x)["bn2"]
    assert entering.shape == (TRAIN, SIDE // 2, SIDE // 2, LAYERS[1].features)
    np.testing.assert_allclose(found["bn2"]["mean"], entering.mean((0, 1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("protocol", ["cached", "published"])
def test_both_protocols_probe_with_the_statistics_that_are_asked_for(protocol):
    """Encoders that differ in their stored statistics alone are one encoder once these are recomputed."""
    encoders = [loaded("a"), with_statistics(loaded("b"), 1.5, 6.0)]
    data = labelled(train=40, test=300)

    def accuracies(wanted: str) -> list[dict]:
        config = ProbeConfig(epochs=2, batch_size=8, max_features=200, protocol=protocol, statistics=wanted)
        result = runner.run(make_plan(encoders, data, config))
        assert result["config"]["statistics"] == wanted
        assert ("batch-norm statistics recomputed" in tables.setting(result)) == (wanted == "recomputed")
        return [one["layers"] for one in result["results"]]

    first, second = accuracies("recomputed")
    assert first == second
    stored, other = accuracies("running")
    assert stored != other
    assert stored != first
