"""A two-layer backbone, its encoder without any compiling, and an easy labelled set, for tests of probes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import models
from ssl_single_image.datasets import LabelledSet, MemorySplit
from ssl_single_image.datasets.base import numpy_batch
from ssl_single_image.models.heads import FCHead
from ssl_single_image.models.layers import ConvSpec, ConvTrunk
from ssl_single_image.parallel import Shards
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import Batch, EncoderSpec, EncoderVariables

SIDE = 16
SPEC = EncoderSpec("tiny", {}, SIDE, models.MEAN, models.STD)
LAYERS = (ConvSpec(8, 3, padding=1, pool=(2, 2)), ConvSpec(12, 3, padding=1))


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """The backbone is there by its name."""
    trunk = models.Backbone(
        build=lambda options, **shared: ConvTrunk(LAYERS, **shared),
        head=lambda outputs, options, **shared: FCHead((8,), outputs, **shared),
        input_size=SIDE,
        smallest=2,
        parameters=0,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.BACKBONES, "tiny", trunk)
        yield


@pytest.fixture(autouse=True, scope="module")
def tiny_backbone() -> Iterator[None]:
    """Registers the backbone; import it in a module to have it there."""
    with registered():
        yield


def tiny_encoder(seed: int = 0, spec: EncoderSpec = SPEC) -> EncoderVariables:
    """Random weights drawn by NumPy."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: models.untrained(spec, jax.random.key(0)).params)
    params = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.2, x.shape), jnp.float32), shapes)
    statistics = {
        f"bn{number}": {"mean": jnp.zeros(layer.features), "var": jnp.ones(layer.features)}
        for number, layer in enumerate(LAYERS, 1)
    }
    return EncoderVariables(spec, params, statistics)


def loaded(
    name: str = "runs/tiny", seed: int = 0, spec: EncoderSpec = SPEC, **config: object
) -> LoadedEncoder:
    return LoadedEncoder(name, 7, tiny_encoder(seed, spec), {"config": config})


def striped(count: int, side: int = SIDE, seed: int = 0) -> Batch:
    """Three classes, told apart by the direction of stripes and by their tint, under noise."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, count).astype(np.int32)
    y, x = np.mgrid[:side, :side]
    wave = np.stack([np.sin(x * 1.2), np.sin(y * 1.2), np.sin((x + y) * 0.9)])[label]
    tint = 50 * np.eye(3)[label][:, None, None]
    pixels = 110 + 30 * wave[..., None] + tint + rng.normal(0, 40, (count, side, side, 3))
    return numpy_batch(pixels.clip(0, 255).astype(np.uint8), label, np.full((count, 2), side, np.int32))


def shared_out(tree: Any, batch_size: int, count: int) -> Shards[Any]:
    """Arrays (N, ...) as `count` devices hold them: of each batch, a device has the part that it is given."""

    def share(x: Any) -> np.ndarray:
        x = np.asarray(x)
        parts = x.reshape(-1, count, batch_size // count, *x.shape[1:]).swapaxes(0, 1)
        return parts.reshape(count, -1, *x.shape[1:]) if count > 1 else x

    return Shards(jax.tree.map(share, tree))


def labelled(train: int = 60, test: int = 22, side: int = SIDE) -> LabelledSet:
    """`striped` images as a labelled set."""
    splits = [striped(count, side, seed) for seed, count in enumerate((train, test))]
    held = [MemorySplit(*map(np.asarray, (s.image, s.label, s.extent))) for s in splits]
    return LabelledSet("stripes", ("a", "b", "c"), held[0], held[1])
