"""EfficientNet in training: its blocks against NumPy, stochastic depth, batch norm over replicas, spectral norm."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import spanning
from reference import numpy_efficientnet

from ssl_single_image import augment, images, models
from ssl_single_image.datasets.base import numpy_batch
from ssl_single_image.models import efficientnet
from ssl_single_image.models.efficientnet import Block, EfficientNet, Options, Stage
from ssl_single_image.objectives import OBJECTIVES, Setup, deepcluster, pirl

NAME = "efficientnet_b0"
TINY = (Stage(1, 3, 1, 1, 8), Stage(2, 5, 2, 2, 8))


def tiny(drop_path: float = 0.0, **shared: Any) -> EfficientNet:
    """A stem and three blocks, the last of which adds its input."""
    return EfficientNet(Options(stem="small", drop_path=drop_path), TINY, **shared)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_is_numpys_with_the_statistics_of_its_batch(stride: int) -> None:
    """In training, with the epsilon that the authors chose; NumPy gets the moments as running statistics."""
    rng = np.random.default_rng(0)
    block = Block(Stage(1, 5, stride, 3, 8), stride, 0.2, 1e-3, dtype=jnp.float64)
    x = jnp.asarray(rng.normal(size=(3, 6, 6, 8)))
    shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x, train=False))
    variables = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0.2, 0.5, leaf.shape)), shapes)
    found, new = jax.jit(lambda: block.apply(variables, x, train=True, mutable=["batch_stats"]))()
    weights = {}
    for at, name in enumerate(("expand", "depthwise", "", "project")):
        if name:
            kernel = variables["params"][name]["kernel"]
            weights[f"b.{at}.0.weight"] = np.asarray(kernel).transpose(3, 2, 0, 1)
            norm = variables["params"][f"{name}_bn"]
            weights |= {
                f"b.{at}.1.weight": np.asarray(norm["scale"]),
                f"b.{at}.1.bias": np.asarray(norm["bias"]),
            }
            for theirs, ours in (("running_mean", "mean"), ("running_var", "var")):
                old = variables["batch_stats"][f"{name}_bn"][ours]
                weights[f"b.{at}.1.{theirs}"] = np.asarray(
                    (new["batch_stats"][f"{name}_bn"][ours] - 0.99 * old) / 0.01
                )
    for part, name in (("fc1", "squeeze"), ("fc2", "excite")):
        layer = variables["params"][name]
        weights[f"b.2.{part}.weight"] = np.asarray(layer["kernel"]).transpose(3, 2, 0, 1)
        weights[f"b.2.{part}.bias"] = np.asarray(layer["bias"])
    wanted = numpy_efficientnet.block(weights, "b", np.asarray(x).transpose(0, 3, 1, 2), stride, 1e-3)
    np.testing.assert_allclose(found, wanted.transpose(0, 2, 3, 1), rtol=1e-6, atol=1e-8)


def test_kernels_begin_as_the_authors_did() -> None:
    """Of a depthwise kernel (k, k, 1, C), the channels are not what an output sums over."""
    block = Block(Stage(1, 5, 1, 6, 128), 1, 0.0, 1e-3)
    x = jnp.zeros((1, 4, 4, 64))
    params = jax.jit(lambda key: block.init(key, x, train=False))(jax.random.key(0))["params"]
    assert params["depthwise"]["kernel"].shape == (5, 5, 1, 6 * 64)
    wanted = {"depthwise": (2 / 25) ** 0.5} | {
        name: (2 / params[name]["kernel"].shape[-1]) ** 0.5
        for name in ("expand", "squeeze", "excite", "project")
    }
    for name, spread in wanted.items():
        kernel = np.asarray(params[name]["kernel"])
        np.testing.assert_allclose(kernel.std(), spread, rtol=0.05, err_msg=name)
    assert all((params[name]["bias"] == 0).all() for name in ("squeeze", "excite"))


def test_blocks_are_left_out_in_proportion_to_their_number() -> None:
    block = Block(Stage(1, 3, 1, 1, 4), 1, 0.3, 1e-3)
    x = jax.random.normal(jax.random.key(1), (1000, 2, 2, 4))
    variables = jax.jit(lambda key: block.init(key, x, train=False))(jax.random.key(0))
    apply = jax.jit(
        lambda rngs, train: block.apply(variables, x, train=train, rngs=rngs, mutable=["batch_stats"])[0] - x,
        static_argnums=1,
    )
    key = {"dropout": jax.random.key(2)}
    whole, some = apply({}, True), apply(key, True)  # without a key none is left out
    out = np.asarray((some == 0).all((1, 2, 3)))
    assert 0.25 < out.mean() < 0.35
    np.testing.assert_allclose(some[~out], whole[~out] / 0.7, atol=1e-5)
    assert not np.array_equal(some, apply({"dropout": jax.random.key(3)}, True))
    assert (apply(key, False) != 0).any((1, 2, 3)).all()
    np.testing.assert_array_equal(apply(key, False), apply({}, False))


def rates(trunk: nn.Module, **call: Any) -> dict[int, float]:
    """Number of a block -> how often it is left out."""
    found: dict[int, float] = {}

    def look(method: Any, args: Any, options: Any, context: Any) -> Any:
        if isinstance(context.module, Block) and context.method_name == "__call__":
            found[int(str(context.module.name)[5:])] = context.module.dropped
        return method(*args, **options)

    with nn.intercept_methods(look):
        jax.eval_shape(lambda: trunk.init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False))
    return found


def test_survival_falls_linearly_with_depth() -> None:
    found = rates(models.build_backbone(NAME, {"stem": "small"}))
    np.testing.assert_allclose([found[number] for number in range(16)], 0.2 * np.arange(16) / 16)
    assert set(rates(models.build_backbone(NAME, {"drop_path": 0})).values()) == {0}


PLAIN = augment.CropSpec.preset("paper", 32).replace(min_area=0.05, jitter_probability=0.0)
DROPPING = {
    "rotnet": True,
    "supervised": True,
    "jigsaw": True,
    "deepcluster": True,
    "pirl": True,
    "simclr": True,
    "bigan": False,
}
"""Objective -> whether its training step leaves blocks out."""
OPTIONS: dict[str, Any] = {
    "deepcluster": deepcluster.Options(clusters=10, components=8),
    "pirl": pirl.Options(negatives=16),
}


@pytest.mark.parametrize("name", DROPPING)
def test_training_steps_give_the_key_of_stochastic_depth(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced alone, on a small network of the same kind."""
    backbone = models.Backbone(
        lambda options, **shared: tiny(0.2, **shared), efficientnet.head, 32, 1, 0, Options, averages=True
    )
    monkeypatch.setitem(models.BACKBONES, "tiny_efficientnet", backbone)
    options = OPTIONS.get(name)
    crop = PLAIN.replace(size=48) if name == "jigsaw" else PLAIN
    spec = models.encoder_spec("tiny_efficientnet", size=32)
    sgd = optax.sgd(0.1)
    objective = OBJECTIVES[name].make(
        Setup(spec, crop, 100, 8, 3, sgd, True, "float32", view_hflip=0.5, classes=3, options=options)
    )
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (8, 40, 40, 3)).astype(np.uint8)
    inputs: Any = images.build_atlas([image[0]])
    if OBJECTIVES[name].labelled:
        inputs = numpy_batch(image, np.zeros(8, np.int32), np.full((8, 2), 40, np.int32))
    keyed = []

    def look(method: Any, args: Any, options: Any, context: Any) -> Any:
        if isinstance(context.module, Block) and context.method_name == "__call__" and options["train"]:
            keyed.append(context.module.has_rng("dropout"))
        return method(*args, **options)

    state = jax.eval_shape(objective.init, jax.random.key(0), inputs)
    with nn.intercept_methods(look):
        jax.eval_shape(
            lambda state, inputs: objective.step(state, jax.random.key(1), inputs, axis_name=None),
            state,
            inputs,
        )
    assert set(keyed) == {DROPPING[name]}


def test_training_reaches_every_parameter_and_statistic() -> None:
    network = models.Network(lambda: tiny(0.2), lambda: efficientnet.head(3, Options()))
    x = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))

    @jax.jit
    def step(key):
        variables = network.init(key, x, train=False)

        def loss(params):
            (logits, _), new = network.apply(
                {**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs={"dropout": key}
            )
            return (logits * jax.random.normal(key, logits.shape)).sum(), new["batch_stats"]

        gradients, statistics = jax.grad(loss, has_aux=True)(variables["params"])
        return gradients, statistics, variables["batch_stats"]

    gradients, new, old = step(jax.random.key(0))
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), new, old)
    assert all(jax.tree.leaves(changed))


@pytest.mark.usefixtures("float64")
def test_statistics_span_the_replicas() -> None:
    spanning.check(tiny)


def test_spectral_norm_reaches_every_convolution() -> None:
    spectral, plain = tiny(spectral=True), tiny()
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
    assert len(kernels) == 2 + 4 + 2 * 5
    for kernel in kernels:
        largest = np.linalg.norm(np.asarray(kernel).reshape(-1, kernel.shape[-1]), 2)
        assert 0.9 < largest < 2.5  # the estimate after no training step is from below


def test_bfloat16_reaches_every_layer() -> None:
    trunk = tiny(dtype=jnp.bfloat16)
    x = jnp.zeros((2, 8, 8, 3), jnp.bfloat16)
    (output, taps), variables = jax.eval_shape(
        lambda: trunk.init_with_output(jax.random.key(0), x, train=False)
    )
    assert {leaf.dtype for leaf in (output, *taps.values())} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
