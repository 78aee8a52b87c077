"""BiGAN whose discriminator's image path is a backbone: its losses, its options, and that path as an encoder."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from precision import distance, widened
from probe_fakes import tiny_backbone  # noqa: F401

from ssl_single_image import augment, images, models
from ssl_single_image.images import Atlas
from ssl_single_image.objectives import Setup, find
from ssl_single_image.objectives.bigan import Options, diagnostics, losses
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.objectives.bigan import objective as method
from ssl_single_image.runs import load_encoder
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import InputError, State

SIZE, BATCH = 16, 4
D1: dict[str, Any] = {
    "latent": 5,
    "width": 4,
    "prior": "normal",
    "squash": False,
    "normalise_codes": True,
    "discriminator": "tiny",
    "loss": "hinge",
    "generator_rate": 2.0,
    "discriminator_rate": 3.0,
}


def setup(dtype: str = "float32", **options: Any) -> Setup:
    crop = augment.CropSpec.preset("paper", SIZE).replace(min_area=0.05)
    spec = models.encoder_spec("tiny", {}, SIZE)
    own = Options(**(D1 | options))
    return Setup(spec, crop, 100, BATCH, 3, optax.sgd(1.0), dtype=dtype, options=own)


def start(ours: Setup, seed: int = 0) -> State:
    return jax.jit(partial(method.init_state, ours))(jax.random.key(seed))


def crops_of(dtype: type = np.float32) -> np.ndarray:
    return np.random.default_rng(0).random((BATCH, SIZE, SIZE, 3)).astype(dtype)


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return images.build_atlas([np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    "options",
    [{}, {"joint": "bilinear", "matching": 0.5, "adversarial": 0.7}, {"r1": 3.0, "scores": ("x",)}],
    ids=["hinge", "matching", "r1"],
)
def test_each_network_descends_its_own_loss(options: dict[str, Any]) -> None:
    """The step's gradients against plain differentiation of one loss at a time; the rates scale what is taken."""
    ours = setup("float64", **options)
    own, state = ours.options, widened(start(ours))
    key, crops = jax.random.key(7), crops_of(np.float64)
    after, _ = jax.jit(partial(method.update, ours, axis_name=None))(state, key, crops)
    networks, z = nets.build(ours), nets.prior(ours, key, None)

    def run(params: Any, name: str, network: Any, *inputs: Any) -> Any:
        variables = {"params": params[name], "batch_stats": state.batch_stats[name]}
        return network.apply(variables, *inputs, train=True, mutable=["batch_stats"])[0]

    def judged(params: Any, images: Any = crops) -> list[Any]:
        codes, _ = run(params, "encoder", networks.encoder, ours.normalise(jnp.asarray(crops)))
        made = run(params, "generator", networks.generator, z)
        judge = partial(run, params, "discriminator", networks.discriminator)
        return [judge(ours.normalise(images), codes), judge(ours.normalise(made), z)]

    def total(params: Any, loss: Any) -> jax.Array:
        real, made = judged(params)
        value = own.adversarial * loss(real.scores, made.scores, "hinge")
        if own.matching:
            pairs = [losses.matching_loss(one.image, one.code, own.temperature) for one in (real, made)]
            value += own.matching * (pairs[0] + pairs[1])
        return value

    def penalised(params: Any) -> jax.Array:
        slope = jax.grad(lambda x: judged(params, x)[0].scores["x"].sum())(jnp.asarray(crops))
        return total(params, losses.discriminator_loss) + own.r1 / 2 * (slope**2).sum((1, 2, 3)).mean()

    of_discriminator = jax.jit(
        jax.grad(penalised if own.r1 else partial(total, loss=losses.discriminator_loss))
    )(state.params)
    of_pair = jax.jit(jax.grad(partial(total, loss=losses.pair_loss)))(state.params)
    rates = {"encoder": 1.0, "generator": 2.0, "discriminator": 3.0}
    for name, rate in rates.items():
        want = (of_discriminator if name == "discriminator" else of_pair)[name]
        taken = jax.tree.map(lambda a, b, rate=rate: (a - b) / rate, state.params[name], after.params[name])
        if name == "encoder" and own.scores == ("x",):
            assert distance(taken, jax.tree.map(jnp.zeros_like, taken)) == 0  # without z this is a GAN
        else:
            assert distance(taken, want) < 1e-9 * float(optax.tree.norm(want))


def test_the_image_path_is_an_encoder_with_the_activations_that_d_computes(
    tmp_path: Path, atlas: Atlas
) -> None:
    ours = setup(spectral_norm=True, discriminator="alexnet32")
    objective = method.make(ours)
    step = jax.jit(partial(objective.step, axis_name=None))
    state = start(ours)
    for number in range(3):
        state, _ = step(state, jax.random.key(number), atlas)
    store = CheckpointStore(tmp_path)
    offered = {name: take(state) for name, take in objective.encoders.items()}
    store.save(state, objective.encoder(state), {}, {}, offered)
    store.close()
    loaded = load_encoder(f"{tmp_path}#discriminator")
    spec = loaded.encoder.spec
    assert (spec.backbone, spec.options["slope"], spec.options["first_norm"]) == ("alexnet32", 0.2, False)
    untrained = load_encoder("random:alexnet32,slope=0.2,first_norm=false").encoder.spec
    assert spec == dataclasses.replace(untrained, size=SIZE)  # the lower end of its scale
    assert loaded.layers == ("conv1", "conv2", "conv3", "conv4", "conv5")

    crops = crops_of()
    networks = nets.build(ours)
    variables = {
        "params": state.params["discriminator"],
        "batch_stats": state.batch_stats["discriminator"],
    }
    z = jnp.zeros((BATCH, 5))
    _, kept = networks.discriminator.apply(
        variables,
        ours.normalise(jnp.asarray(crops)),
        z,
        train=False,
        capture_intermediates=True,
        mutable=["intermediates"],
    )
    (_, activations), *_ = kept["intermediates"]["trunk"]["__call__"]
    for layer in ("conv1", "conv3", "conv5"):
        np.testing.assert_allclose(loaded.features(crops, layer), activations[layer], rtol=2e-4, atol=2e-5)


def test_the_gauge_of_a_pair_that_knows_nothing_is_one(atlas: Atlas) -> None:
    ours = setup()
    metrics = jax.jit(partial(method.make(ours).evaluate, axis_name=None))(
        start(ours), jax.random.key(1), atlas
    )
    total, count = metrics["inversion"]
    assert abs(float(total / count) - 1) < 0.05
    assert {"accuracy_x", "accuracy_z", "accuracy_xz"} <= metrics.keys()


def test_what_is_diagnosed(atlas: Atlas) -> None:
    rng = np.random.default_rng(0)
    common, noise = rng.normal(size=400), rng.normal(size=(6, 400))
    assert abs(float(diagnostics.agreement(jnp.asarray(noise)))) < 0.1
    pushed = noise + 2 * common
    cosines = np.asarray(np.corrcoef(pushed))[~np.eye(6, dtype=bool)]
    assert float(diagnostics.agreement(jnp.asarray(pushed))) == pytest.approx(cosines.mean(), abs=0.02)

    ours = setup(diagnostics=True, scores=("x",))
    metrics = jax.jit(partial(method.make(ours).evaluate, axis_name=None))(
        start(ours), jax.random.key(1), atlas
    )
    assert {"agreement_conv1", "agreement_conv2", "rank_conv1", "rank_conv2"} <= metrics.keys()
    assert float(metrics["agreement_conv1"][0]) == pytest.approx(-0.0, abs=0.2)  # a GAN pushes E nowhere
    assert 1 < float(metrics["rank_conv2"][0]) <= 12


def test_the_encoder_may_see_a_view_of_the_crop() -> None:
    """Only E's input differs: at the same state and key G's images, and what D sees, are the same."""
    plain, viewed = setup(), setup(view=True)
    crops, key = jnp.asarray(crops_of()), jax.random.key(2)
    np.testing.assert_array_equal(nets.encoder_view(plain, key, crops, None), crops)
    seen = jax.jit(partial(nets.encoder_view, viewed, axis_name=None))(key, crops)
    assert seen.shape == crops.shape
    assert float(jnp.abs(seen - crops).mean()) > 0.05
    np.testing.assert_array_equal(nets.prior(plain, key, None), nets.prior(viewed, key, None))


def test_the_prior_may_be_normal() -> None:
    ours = setup(latent=1000)
    z = np.asarray(nets.prior(ours, jax.random.key(0), None))
    assert abs(z.mean()) < 0.1
    assert abs(z.std() - 1) < 0.05
    assert np.abs(z).max() > 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"scores": ()}, "scores = (): D needs one score at least"),
        ({"scores": ("x", "y")}, "scores"),
        ({"matching": 1.0}, "needs discriminator=BACKBONE, joint=bilinear"),
        ({"matching": 1.0, "discriminator": "alexnet32"}, "joint=bilinear"),
        ({"discriminator": "nope"}, "discriminator"),
    ],
)
def test_options_that_contradict_each_other_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        find("bigan").options.from_config(fields)
    assert words in str(caught.value)
