"""BiGAN: its losses and gradients, who is trained by what, what it warns of, and that the pair inverts each other."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from precision import distance, widened

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup
from ssl_single_image.objectives.bigan import Options, gauges, losses
from ssl_single_image.objectives.bigan import networks as nets
from ssl_single_image.objectives.bigan import objective as method
from ssl_single_image.ops.convolution import conv2d, upsampling_conv2d
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import EncoderSpec, InputError

OPTIONS = Options(latent=5, width=4)


def setup(size=16, batch_size=6, optimizer=None, options=OPTIONS, dtype="float32"):
    crop = augment.CropSpec.preset("paper", size).replace(min_area=0.05)
    spec = EncoderSpec("cifar32", {}, size, models.MEAN, models.STD)
    return Setup(spec, crop, 100, batch_size, 3, optimizer or optax.sgd(1.0), dtype=dtype, options=options)


@pytest.fixture(scope="module")
def atlas():
    return images.build_atlas([np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)])


def crops_of(count, size, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).random((count, size, size, 3)).astype(dtype)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [2, 3, 4, 5, 6, 7])
def test_upsampling_is_the_transpose_of_a_strided_convolution(size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(2, 5, 4, 3))
    kernel = rng.normal(size=(size, size, 3, 2))
    start = size - (size - 1) // 2
    want = np.zeros((2, 10 + 2 * size, 8 + 2 * size, 2))  # with a border as wide as the kernel
    for i in range(5):
        for j in range(4):
            rows, columns = (slice(2 * place + start, 2 * place + start + size) for place in (i, j))
            want[:, rows, columns] += np.einsum("bc,rscd->brsd", x[:, i, j], kernel)
    got = jax.jit(upsampling_conv2d)(jnp.asarray(x), jnp.asarray(kernel))
    np.testing.assert_allclose(got, want[:, size:-size, size:-size], rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("size", [4, 5])
def test_upsampling_is_the_gradient_of_the_convolution_that_the_discriminator_makes(size):
    rng = np.random.default_rng(size)
    x, kernel = jnp.asarray(rng.normal(size=(2, 5, 4, 3))), jnp.asarray(rng.normal(size=(size, size, 3, 2)))
    halve = lambda y: conv2d(y, kernel.transpose(0, 1, 3, 2), 2, (size - 1) // 2, products=False)  # noqa: E731
    (want,) = jax.linear_transpose(halve, jax.ShapeDtypeStruct((2, 10, 8, 2), x.dtype))(x)
    np.testing.assert_allclose(upsampling_conv2d(x, kernel), want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kernel", [4, 5])
def test_generator_and_discriminator_keep_their_sides_with_any_kernel(kernel):
    generator, discriminator = (
        models.Generator(16, 4, kernel=kernel),
        models.Discriminator(16, 4, kernel=kernel),
    )
    z = jnp.zeros((2, 5))

    @partial(jax.eval_shape, key=jax.random.key(0))
    def shapes(key):
        made, params = generator.init_with_output(key, z, train=False)
        return made, params, discriminator.init_with_output(key, made, z, train=False)

    made, variables, (logits, judge) = shapes
    assert (made.shape, logits.shape) == ((2, 16, 16, 3), (2,))
    for params, layers in ((variables["params"], ("up1", "up2")), (judge["params"], ("conv1", "conv2"))):
        assert {params[layer]["kernel"].shape[:2] for layer in layers} == {(kernel, kernel)}
    for number in (1, 2):
        assert judge["params"][f"conv{number}"]["kernel"].shape[3] == 4 * number


@pytest.mark.usefixtures("float64")
def test_each_network_descends_its_own_loss():
    """The step's three gradients against plain differentiation of one loss at a time, the other networks held."""
    ours = setup(dtype="float64")
    state = widened(jax.jit(partial(method.init_state, ours))(jax.random.key(0)))
    key, crops = jax.random.key(7), crops_of(6, 16, dtype=np.float64)
    after, metrics = jax.jit(partial(method.update, ours, axis_name=None))(state, key, crops)
    networks, z = nets.build(ours), nets.prior(ours, key, None)

    def logits(params):
        def run(name, network, *inputs):
            variables = {"params": params[name], "batch_stats": state.batch_stats[name]}
            return network.apply(variables, *inputs, train=True, mutable=["batch_stats"])[0]

        codes, _ = run("encoder", networks.encoder, ours.normalise(crops))
        made = run("generator", networks.generator, z)
        judge = partial(run, "discriminator", networks.discriminator)
        return {"xz": judge(2 * crops - 1, codes)}, {"xz": judge(2 * made - 1, z)}

    @jax.jit
    def gradients(params):
        own = jax.value_and_grad(lambda p: losses.discriminator_loss(*logits(p)))(params)
        return own, jax.grad(lambda p: losses.pair_loss(*logits(p)))(params)

    (loss, own), opposite = gradients(state.params)
    np.testing.assert_allclose(float(metrics["loss"][0]) / 6, loss, rtol=1e-9)
    for name in state.params:
        want = own[name] if name == "discriminator" else opposite[name]
        other = opposite[name] if name == "discriminator" else own[name]
        taken = jax.tree.map(lambda a, b: a - b, state.params[name], after.params[name])
        scale = float(optax.tree.norm(want))
        assert scale > 0
        assert distance(taken, want) < 1e-9 * scale
        assert distance(want, other) > 0.1 * scale


@pytest.mark.usefixtures("float64")
def test_loss_against_pytorch():
    """Forward pass of all three networks, batch norm included, and D's gradient at its input kernel."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    from reference import torch_bigan

    ours = setup(dtype="float64")
    state = widened(jax.jit(partial(method.init_state, ours))(jax.random.key(1)))
    key, crops = jax.random.key(2), crops_of(6, 16, dtype=np.float64)
    after, metrics = jax.jit(partial(method.update, ours, axis_name=None))(state, key, crops)
    tensors = torch_bigan.tensors(state.params)
    real, made = torch_bigan.logits(
        tensors,
        torch.tensor(np.asarray(ours.normalise(crops))),
        torch.tensor(np.asarray(2 * crops - 1)),
        torch.tensor(np.asarray(nets.prior(ours, key, None))),
    )
    entropy = torch.nn.functional.binary_cross_entropy_with_logits
    own = (entropy(real, torch.ones_like(real)) + entropy(made, torch.zeros_like(made))) / 2
    opposite = (entropy(real, torch.zeros_like(real)) + entropy(made, torch.ones_like(made))) / 2
    np.testing.assert_allclose(float(metrics["loss"][0]) / 6, own.item(), rtol=1e-6)
    np.testing.assert_allclose(float(metrics["loss_pair"][0]) / 6, opposite.item(), rtol=1e-6)
    for name, loss, path in [
        ("discriminator", own, ("conv1", "kernel")),
        ("generator", opposite, ("up1", "kernel")),
        ("encoder", opposite, ("backbone", "conv1", "kernel")),
    ]:
        leaf, before, now = tensors[name], state.params[name], after.params[name]
        for part in path:
            leaf, before, now = leaf[part], before[part], now[part]
        (gradient,) = torch.autograd.grad(loss, leaf, retain_graph=True)
        got = np.asarray(before - now)
        assert np.linalg.norm(got - gradient.numpy()) < 1e-6 * np.linalg.norm(got)


def test_the_options_in_use_for_stability(atlas):
    options = dataclasses.replace(
        OPTIONS, normalise_codes=True, spectral_norm=True, label_smoothing=0.1, ema=0.9
    )
    ours = setup(options=options, optimizer=optax.adam(1e-3))
    state = jax.jit(partial(method.init_state, ours))(jax.random.key(0))
    after, metrics = jax.jit(partial(method.update, ours, axis_name=None))(
        state, jax.random.key(1), crops_of(6, 16)
    )
    assert all(np.isfinite(float(total)) for total, _ in metrics.values())
    for kind in ("params", "batch_stats"):
        old, got = (s.extras["ema"][kind]["encoder"] for s in (state, after))
        want = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, old, getattr(after, kind)["encoder"])
        jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), got, want)
    loaded = method.make(ours).encoder(after)
    kernel = after.extras["ema"]["params"]["encoder"]["backbone"]["conv1"]["kernel"]
    np.testing.assert_array_equal(loaded.params["conv1"]["kernel"], kernel)
    assert (kernel != after.params["encoder"]["backbone"]["conv1"]["kernel"]).any()


def test_a_restored_state_goes_on_with_the_same_bits(tmp_path, atlas):
    ours = setup(options=dataclasses.replace(OPTIONS, ema=0.9), optimizer=optax.adam(1e-3))
    objective = method.make(ours)
    step = jax.jit(
        lambda s: objective.step(s, jax.random.fold_in(jax.random.key(1), s.step), atlas, axis_name=None)[0]
    )
    half = step(jax.jit(objective.init)(jax.random.key(0), atlas))
    store = CheckpointStore(tmp_path, 1)
    store.save(half, objective.encoder(half), {}, {})
    store.wait()
    restored = store.restore(jax.eval_shape(objective.init, jax.random.key(0), atlas))
    store.close()
    jax.tree.map(np.testing.assert_array_equal, step(half), step(restored))


def test_what_it_shows(atlas):
    ours = setup()
    state = jax.jit(partial(method.init_state, ours))(jax.random.key(0))
    show = method.make(ours).pictures
    assert show is not None
    pictures = jax.jit(show)(state, jax.random.key(0), atlas)
    rows = pictures["samples"]
    for title, words in zip(rows.titles, (" x", "G(E(x))", "G(z)"), strict=False):
        assert title.endswith(words)
    assert len(rows.tiles) == len(rows.titles) == 2 + gauges.SAMPLE_ROWS
    for row in rows.tiles:
        assert row.shape == (gauges.GRID, 16, 16, 3)
        assert row.min() >= 0
        assert row.max() <= 1


@pytest.mark.parametrize(
    ("means", "words"),
    [
        ({"diversity": 0.8, "loss": 0.6}, ""),
        ({"diversity": 0.02, "loss": 0.6}, "generator has collapsed"),
        ({"diversity": 0.8, "loss": 0.01}, "almost surely"),
        ({"diversity": 0.8, "loss": 0.6, "eval/inversion": 0.7}, ""),
        ({"diversity": 0.8, "loss": 0.6, "eval/inversion": 0.97}, "does not yet make crops from their codes"),
    ],
)
def test_collapse_is_named(means, words):
    assert words in gauges.warning(means)
    assert bool(gauges.warning(means)) == bool(words)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"latent": 0}, "latent = 0: must be a whole number, at least 1"),
        ({"ema": 1.0}, r"ema = 1.0: must be a number in \[0, 1\)"),
        ({"label_smoothing": 0.7}, "label_smoothing"),
        ({"widht": 3}, "objective_options.widht: no such field; did you mean width"),
    ],
)
def test_options_out_of_range_are_refused(fields, words):
    with pytest.raises(InputError, match=words):
        OBJECTIVES["bigan"].options.from_config(fields)


@pytest.mark.parametrize("size", [8, 48])
def test_a_size_that_two_or_more_doublings_never_give_is_refused(size):
    with pytest.raises(InputError, match=f"image_size = {size}"):
        method.make(setup(options=Options(image_size=size)))


@pytest.mark.slow
def test_the_pair_learns_to_invert_itself():
    """Squares of one colour with any red and any green: E(G(z)) comes closer to z than to other z, by a quarter.

    The ratio is 1 for untrained networks and goes up and down as they play. Which way it goes depends on rounding, so
    that the best of six times counts: from four seeds it was 2.4 to 3.4.
    """
    options = Options(latent=2, width=8, normalise_codes=True)
    ours = setup(batch_size=32, optimizer=optax.adam(1e-3, b1=0.5), options=options)

    def batch(key):
        red_green = jax.random.uniform(key, (32, 2))
        colour = jnp.concatenate([red_green, jnp.full((32, 1), 0.5)], -1)
        return jnp.broadcast_to(colour[:, None, None], (32, 16, 16, 3))

    @jax.jit
    def train(state, key):
        def one(state, key):
            return method.update(ours, state, key, batch(key), axis_name=None)

        return jax.lax.scan(one, state, jax.random.split(key, 100))[0]

    @jax.jit
    def ratio(state):
        z = nets.prior(ours, jax.random.key(2), None)
        metrics = gauges.measure(ours, state, batch(jax.random.key(3)), z, None)
        return metrics["latent_shuffled"][0] / metrics["latent"][0]

    state = jax.jit(partial(method.init_state, ours))(jax.random.key(0))
    assert ratio(state) < 1.1
    ratios = []
    for number in range(6):
        state = train(state, jax.random.key(number))
        ratios.append(float(ratio(state)))
    assert max(ratios) > 1.25
