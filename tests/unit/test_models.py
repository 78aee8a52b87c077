"""The networks against the published architectures: counts worked out by hand from kernel sizes and widths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import augment, models, ops
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import EncoderSpec, InputError

SHAPES = {
    "rotnet": [(55, 64), (27, 192), (13, 384), (13, 256), (13, 256)],
    "deepcluster": [(55, 96), (27, 256), (13, 384), (13, 384), (13, 256)],
}


def shapes(name, options, size, outputs):
    network = models.build_network(name, options, outputs)
    x = jnp.zeros((2, size, size, 3))
    variables = jax.eval_shape(lambda: network.init(jax.random.key(0), x, train=False))
    logits, taps = jax.eval_shape(lambda v: network.apply(v, x, train=False), variables)
    return variables, logits, taps


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("variant", ["rotnet", "deepcluster"])
def test_alexnet_activations(variant):
    _, logits, taps = shapes("alexnet", {"variant": variant}, 224, 4)
    assert list(taps) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [tap.shape[1:] for tap in taps.values()] == [(side, side, c) for side, c in SHAPES[variant]]
    assert logits.shape == (2, 4)


def test_alexnet_parameters_rotnet():
    variables, _, _ = shapes("alexnet", {}, 224, 4)
    convolutions = 3 * 64 * 121 + 64 * 192 * 25 + 192 * 384 * 9 + 384 * 256 * 9 + 256 * 256 * 9
    norms = 2 * (64 + 192 + 384 + 256 + 256)
    assert count(variables["params"]["backbone"]) == convolutions + norms
    head = 256 * 6 * 6 * 4096 + 2 * 4096 + 4096 * 4096 + 2 * 4096 + 4096 * 4 + 4
    assert count(variables["params"]["head"]) == head


def test_alexnet_parameters_deepcluster():
    variables, _, _ = shapes("alexnet", {"variant": "deepcluster", "sobel": True}, 224, 10)
    convolutions = 2 * 96 * 121 + 96 * 256 * 25 + 256 * 384 * 9 + 384 * 384 * 9 + 384 * 256 * 9
    biases_and_norms = 3 * (96 + 256 + 384 + 384 + 256)
    assert count(variables["params"]["backbone"]) == convolutions + biases_and_norms
    head = 256 * 6 * 6 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 10 + 10
    assert count(variables["params"]["head"]) == head


def test_alexnet32_has_five_taps_after_the_relu():
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    encoder = models.untrained(spec, jax.random.key(0))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 3)), jnp.float32)
    variables = {"params": encoder.params, "batch_stats": encoder.batch_stats}
    backbone = models.build_backbone("alexnet32", {})
    output, taps = jax.jit(lambda v, x: backbone.apply(v, x, train=False))(variables, x)
    assert [tap.shape[1:] for tap in taps.values()] == [
        (32, 32, 64), (16, 16, 128), (8, 8, 192), (8, 8, 192), (8, 8, 128)
    ]  # fmt: skip
    assert output.shape == (2, 4, 4, 128)
    for tap in taps.values():
        assert float(tap.min()) == 0.0
        assert 0.2 < float((tap == 0).mean()) < 0.8


@pytest.mark.parametrize("name", ["alexnet32", "nin"])
def test_slope_and_first_norm_of_the_small_backbones(name):
    """conv1 by NumPy: a bias in place of batch norm, and .3 of what is negative."""
    options = {"slope": 0.3, "first_norm": False}
    spec = models.encoder_spec(name, options, 8)
    encoder = models.untrained(spec, jax.random.key(0))
    params = dict(encoder.params)
    params["conv1"] = dict(params["conv1"], bias=0.1 + params["conv1"]["bias"])
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 3)), jnp.float32)
    variables = {"params": params, "batch_stats": encoder.batch_stats}
    backbone = models.build_backbone(name, spec.options)
    _, taps = jax.jit(lambda x: backbone.apply(variables, x, train=False))(x)
    kernel = params["conv1"]["kernel"]
    y = np.asarray(ops.conv2d(x, kernel, 1, len(kernel) // 2)) + 0.1
    np.testing.assert_allclose(taps["conv1"], np.where(y > 0, y, 0.3 * y), atol=1e-4)
    assert all(float(tap.min()) < 0 for tap in taps.values())


@pytest.mark.usefixtures("float64")
def test_sobel_front_sees_no_colour():
    spec = EncoderSpec("alexnet32", {"sobel": True}, 32, models.MEAN, models.STD)
    encoder = models.untrained(spec, jax.random.key(0))
    variables = {"params": encoder.params, "batch_stats": encoder.batch_stats}
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3))
    backbone = models.build_backbone("alexnet32", {"sobel": True}, dtype="float64")
    apply = jax.jit(lambda x: backbone.apply(variables, x, train=False)[0])
    first, permuted = apply(x), apply(x[..., ::-1])
    assert np.abs(first).max() > 0.1
    np.testing.assert_allclose(first, permuted, atol=1e-10)


def test_training_mode_uses_and_updates_batch_statistics():
    network = models.build_network("alexnet32", {}, 4)
    x = 3 + jnp.asarray(np.random.default_rng(0).normal(size=(4, 32, 32, 3)), jnp.float32)
    variables = jax.jit(lambda key: network.init(key, x, train=False))(jax.random.key(0))
    update = jax.jit(lambda v: network.apply(v, x, train=True, mutable=["batch_stats"])[1])
    updated = update(variables)
    before, after = variables["batch_stats"]["backbone"]["bn1"], updated["batch_stats"]["backbone"]["bn1"]
    y = ops.conv2d(x, variables["params"]["backbone"]["conv1"]["kernel"], 1, 1)
    np.testing.assert_allclose(after["mean"], 0.9 * before["mean"] + 0.1 * y.mean((0, 1, 2)), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("alexnets", {}, "alexnet"),
        ("alexnet32", {"width": 2}, "sobel"),
        ("alexnet", {"variant": "wide"}, "rotnet"),
    ],
)
def test_unknown_names_are_refused_with_those_there_are(name, options, words):
    with pytest.raises(InputError, match=words):
        models.build_backbone(name, options)


def test_nin_has_nine_taps_of_the_published_shapes():
    network = models.build_network("nin", {}, 4)
    image = jnp.zeros((2, 32, 32, 3))
    shapes = jax.eval_shape(lambda key: network.init_with_output(key, image, train=False), jax.random.key(0))
    (logits, taps), variables = shapes
    assert logits.shape == (2, 4)
    want = [(32, 192), (32, 160), (32, 96), (16, 192), (16, 192), (16, 192), (8, 192), (8, 192), (8, 192)]
    assert [(tap.shape[1], tap.shape[3]) for tap in taps.values()] == want
    kernels = sum(w.size for w in jax.tree.leaves(variables["params"]["backbone"]) if w.ndim == 4)
    spatial = 25 * 3 * 192 + 25 * 96 * 192 + 9 * 192 * 192
    assert kernels == spatial + 192 * 160 + 160 * 96 + 4 * 192 * 192


def test_dcgan32_halves_the_side_four_times_as_published():
    variables, logits, taps = shapes("dcgan32", {}, 32, 4)
    assert [(tap.shape[1], tap.shape[3]) for tap in taps.values()] == [(16, 64), (8, 128), (4, 256), (2, 512)]
    assert logits.shape == (2, 4)
    convolutions = 25 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    assert count(variables["params"]["backbone"]) == convolutions + 64 + 2 * (128 + 256 + 512)
    assert variables["params"]["backbone"].keys() & {"bn1", "bn2", "bn3", "bn4"} == {"bn2", "bn3", "bn4"}
    variables, _, narrow = shapes("dcgan32", {"kernel": 4}, 32, 4)
    assert [tap.shape for tap in narrow.values()] == [tap.shape for tap in taps.values()]
    assert variables["params"]["backbone"]["conv4"]["kernel"].shape == (4, 4, 256, 512)
    trunk = models.build_backbone("dcgan32", {})
    assert trunk.slope == 0.2
    assert models.build_backbone("dcgan32", {"slope": 0.0}).slope == 0.0


@pytest.mark.parametrize("name", sorted(models.BACKBONES))
def test_registry_says_what_backbones_are(name):
    backbone = models.BACKBONES[name]

    def activations(size):
        image = jnp.zeros((1, size, size, 3))
        module = models.build_backbone(name, {})
        return jax.eval_shape(lambda key: module.init_with_output(key, image, train=False), jax.random.key(0))

    def computes(size):
        try:
            (output, layers), _ = activations(size)
        except (ValueError, TypeError, ZeroDivisionError):
            return False
        return all(leaf.size for leaf in [output, *layers.values()])

    _, variables = activations(backbone.input_size)
    assert computes(backbone.smallest)
    assert count(variables.get("params", {})) == backbone.parameters
    models.encoder_spec(name, size=backbone.smallest)
    if backbone.smallest > 1:
        with pytest.raises(
            InputError, match=f"{name}: an input of {backbone.smallest - 1} pixels is too small"
        ):
            models.encoder_spec(name, size=backbone.smallest - 1)
        assert not computes(backbone.smallest - 1)


def test_former_names_of_backbones_and_options_are_understood():
    assert models.encoder_spec("cifar32", {"sobel": True}) == models.encoder_spec(
        "alexnet32", {"sobel": True}
    )
    old, new = (
        models.encoder_spec("alexnet", {"width": "bigan"}),
        models.encoder_spec("alexnet", {"variant": "bigan"}),
    )
    assert old == new
    assert new.options == {"variant": "bigan", "sobel": False}
    assert new.size == 224


def test_encoder_variables_are_used_as_their_docstring_says():
    spec = models.encoder_spec("alexnet32", {}, 16)
    encoder = models.untrained(spec, jax.random.key(0))
    pixels = jax.random.uniform(jax.random.key(1), (2, 16, 16, 3))
    x = augment.normalise(pixels, spec.mean, spec.std)
    variables = {"params": encoder.params, "batch_stats": encoder.batch_stats}
    network = models.build_backbone(spec.backbone, spec.options)
    _, activations = network.apply(variables, x, train=False)
    loaded = LoadedEncoder("random:alexnet32", 0, encoder, {})
    np.testing.assert_allclose(activations["conv5"], loaded.features(np.asarray(pixels), "conv5"), atol=2e-4)
