"""Programs for GPUs and TPUs, lowered on a CPU: what they are made of, though no such device is here."""

from __future__ import annotations

import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from ssl_single_image import augment, images, models
from ssl_single_image.augment import shifts
from ssl_single_image.datasets.base import numpy_batch
from ssl_single_image.objectives import OBJECTIVES, Setup, deepcluster, jigsaw, pirl, simclr
from ssl_single_image.ops import backend
from ssl_single_image.parallel import replicas
from ssl_single_image.types import EncoderSpec

PLATFORMS = ("cuda", "tpu")
OPTIONS = {
    "deepcluster": deepcluster.Options(clusters=10, components=8),
    "jigsaw": jigsaw.Options(permutations=4, tile=8, tile_features=16, hidden=32),
    "pirl": pirl.Options(negatives=20, dimension=8, tile=8, board=30, mask_overlap=0.3),
    "simclr": simclr.Options(dimension=8, hidden=16, mask_overlap=0.3),
}
CROP = augment.CropSpec.preset("paper", 32).replace(dtype="bfloat16")
PRODUCT = r"stablehlo\.{}\b.*: \((.*?)\) -> (\S+)"


@pytest.fixture(autouse=True)
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formulations are chosen as on a GPU or a TPU."""

    def fastest(operation: str) -> str:
        return backend.FASTEST[operation]["other"]

    monkeypatch.setattr(backend, "fastest", fastest)
    monkeypatch.setattr(replicas, "fastest", fastest)


def lowered(function: Any, *arguments: Any) -> str:
    """The StableHLO of a function for both platforms."""
    return str(export.export(jax.jit(function), platforms=PLATFORMS)(*arguments).mlir_module())


def products(text: str, operation: str) -> set[tuple[str, ...]]:
    """The types of operands and result of every operation of a kind."""
    return {
        tuple(re.findall(r"x([a-z]+\d+)>", f"{operands}, {result}"))
        for operands, result in re.findall(PRODUCT.format(operation), text)
    }


def objective(name: str) -> Any:
    backbone = "dcgan32" if name == "bigan" else "alexnet32"
    spec = EncoderSpec(backbone, {}, 32, models.MEAN, models.STD)
    setup = Setup(
        spec,
        CROP,
        100,
        8,
        3,
        optax.sgd(0.02, momentum=0.9),
        True,
        "bfloat16",
        view_hflip=0.5,
        classes=3,
        options=OPTIONS.get(name),
    )
    return OBJECTIVES[name].make(setup)


def inputs(name: str) -> Any:
    if OBJECTIVES[name].labelled:
        zeros = np.zeros((8, 40, 40, 3), np.uint8)
        return numpy_batch(zeros, np.zeros(8, np.int32), np.full((8, 2), 40, np.int32))
    return images.build_atlas([np.zeros((90, 120, 3), np.uint8)])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_steps_compute_in_bfloat16_by_convolutions_and_never_call_the_host(name: str) -> None:
    made, given, key = objective(name), inputs(name), jax.random.key(0)
    state = jax.eval_shape(made.init, key, given)
    parts = [made.step] if made.refresh is None else [made.step, made.refresh]
    for part in parts:
        text = lowered(functools.partial(part, axis_name=None), state, key, given)
        assert "f64" not in text
        assert "callback" not in text
        assert products(text, "convolution") == {("bf16", "bf16", "bf16")}
        assert all(types[0] == types[1] for types in products(text, "dot_general"))


def test_crops_are_rendered_by_four_lookups_a_pixel() -> None:
    atlas = images.build_atlas([np.zeros((90, 120, 3), np.uint8)])
    render = functools.partial(augment.render_crops, spec=CROP)
    text = lowered(render, atlas, jax.random.key(0), jnp.arange(8, dtype=jnp.uint32))
    assert "f64" not in text
    assert "callback" not in text
    looked_up = re.findall(r"stablehlo\.gather.*-> tensor<8x32x32xui32>", text)
    assert len(looked_up) == 4  # the neighbours of a place, which are interpolated


@pytest.mark.parametrize("name", shifts.SHIFTS)
def test_shifts_are_computed_without_the_host(name: str) -> None:
    size = 32
    pool = shifts.Pool(jnp.zeros((4, size, size, 3), jnp.uint8), jnp.arange(4, dtype=jnp.int32))
    x, keys = jnp.zeros((2, size, size, 3)), jax.random.split(jax.random.key(0), 2)
    label = jnp.zeros(2, jnp.int32)
    text = lowered(
        lambda x, keys, severity: shifts.apply((name,), x, keys, severity, label=label, pool=pool),
        x,
        keys,
        jnp.int32(3),
    )
    assert "f64" not in text
    assert "callback" not in text
