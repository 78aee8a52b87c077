"""The discriminator on a backbone's trunk, whose scores NumPy computes again from its variables."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import models
from ssl_single_image.models.layers import ConvSpec, ConvTrunk

HIDDEN, LATENT, BATCH = 6, 5, 3


def critic(scores=models.SCORES, joint="mlp", spectral=False, dtype="float32"):
    make_trunk = partial(trunk, spectral, jnp.dtype(dtype))
    return models.Critic(make_trunk, scores, joint, HIDDEN, spectral, jnp.dtype(dtype))


def trunk(spectral=False, dtype=jnp.float32):
    """A small one, which compiles in no time."""
    layers = (ConvSpec(8, 3, 2, 1), ConvSpec(12, 3, 2, 1))
    return ConvTrunk(layers, slope=0.2, first_norm=False, spectral=spectral, dtype=dtype)


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    x = jnp.asarray(rng.uniform(-1, 1, (BATCH, 16, 16, 3)), jnp.float32)
    return x, jnp.asarray(rng.uniform(-1, 1, (BATCH, LATENT)), jnp.float32)


def made(network):
    """Variables, with biases that are not zero, and what the network gives."""
    variables = jax.jit(lambda key: network.init(key, *inputs(), train=False))(jax.random.key(0))
    params = {
        name: layer
        if name == "trunk"
        else dict(layer, bias=0.1 + 0.1 * jnp.arange(len(layer["bias"]), dtype=jnp.float32))
        for name, layer in variables["params"].items()
    }
    variables = {"params": params, "batch_stats": variables["batch_stats"]}
    return variables, jax.jit(lambda v, x, z: network.apply(v, x, z, train=False))(variables, *inputs())


def expected(variables, joint):
    """The scores by NumPy, on the features that the trunk alone gives."""
    params, (x, z) = variables["params"], inputs()
    features = trunk().apply({kind: variables[kind]["trunk"] for kind in variables}, x, train=False)[0]
    features = np.asarray(features).reshape(BATCH, -1)
    leaky = lambda y: np.where(y > 0, y, 0.2 * y)  # noqa: E731
    linear = lambda name, y: y @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])  # noqa: E731
    tower = leaky(linear("tower2", leaky(linear("tower1", np.asarray(z)))))
    scores = {"x": linear("x", features), "z": linear("z", tower)}
    if joint == "mlp":
        pair = leaky(linear("joint_image", features) + linear("joint_code", tower))
        return scores | {"xz": linear("xz", leaky(linear("joint", pair)))}, None, None
    image, code = linear("image", features), linear("code", tower)
    products = np.einsum("bh,bh->b", image, code)[:, None]
    return scores | {"xz": products + linear("image_score", features)}, image, code


@pytest.mark.parametrize("joint", models.JOINTS)
def test_scores_by_numpy(joint):
    variables, judged = made(critic(joint=joint))
    scores, image, code = expected(variables, joint)
    assert judged.scores.keys() == scores.keys()
    for name, want in scores.items():
        assert judged.scores[name].shape == (BATCH,)
        np.testing.assert_allclose(judged.scores[name], want[:, 0], rtol=1e-4, atol=1e-4)
    if joint == "mlp":
        assert judged.image is None
        assert judged.code is None
    else:
        np.testing.assert_allclose(judged.image, image, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(judged.code, code, rtol=1e-4, atol=1e-4)


def test_any_backbone_is_a_trunk():
    """The shapes that a probe of the discriminator will load: the backbone's own, once the norms are taken out."""
    make_trunk = partial(models.build_backbone, "alexnet32", {}, spectral=True)
    network = models.Critic(make_trunk, spectral=True)
    images, codes = jnp.zeros((2, 32, 32, 3)), jnp.zeros((2, 64))

    @partial(jax.eval_shape, key=jax.random.key(0))
    def shapes(key):
        variables = network.init(key, images, codes, train=False)
        plain = models.build_backbone("alexnet32", {}).init(key, images, train=False)
        return variables, models.without_spectral_norm(variables["params"], variables["batch_stats"]), plain

    variables, (params, stats), plain = shapes
    assert variables["params"]["joint_image"]["kernel"].shape == (2048, 256)
    assert params["trunk"] == plain["params"]
    assert stats["trunk"] == plain["batch_stats"]


def test_scores_that_are_left_out_have_no_parameters():
    def layers(scores, joint="mlp"):
        network = critic(scores, joint)
        shapes = jax.eval_shape(lambda key: network.init(key, *inputs(), train=False), jax.random.key(0))
        return set(shapes["params"]) - {"trunk"}

    tower, joint = {"tower1", "tower2"}, {"joint_image", "joint_code", "joint", "xz"}
    assert layers(("x",)) == {"x"}
    assert layers(("z",)) == {"z", *tower}
    assert layers(("xz",)) == {*tower, *joint}
    assert layers(("x", "z", "xz")) == {"x", "z", *tower, *joint}
    assert layers(("xz",), "bilinear") == {*tower, "image", "code", "image_score"}


def test_a_plain_discriminator_does_not_see_the_code():
    network = critic(("x",))
    variables, judged = made(network)
    (x, z), other = inputs(), inputs(1)
    score = jax.jit(lambda x, z: network.apply(variables, x, z, train=False).scores["x"])
    assert judged.scores.keys() == {"x"}
    np.testing.assert_array_equal(score(x, z), score(x, other[1]))
    assert not np.allclose(score(x, z), score(other[0], z))


@pytest.mark.parametrize("joint", models.JOINTS)
def test_with_spectral_norm_every_dense_layer_is_normalised(joint):
    network = critic(joint=joint, spectral=True)
    variables, _ = made(network)

    @jax.jit
    def trained(stats):
        def call(stats, _):
            values = {"params": variables["params"], "batch_stats": stats}
            return network.apply(values, *inputs(), train=True, mutable=["batch_stats"])[1]["batch_stats"], ()

        return jax.lax.scan(call, stats, length=40)[0]

    stats = trained(variables["batch_stats"])
    values = {"params": variables["params"], "batch_stats": stats}
    judged = jax.jit(lambda v, x, z: network.apply(v, x, z, train=False))(values, *inputs())
    params, kept = models.without_spectral_norm(variables["params"], stats)
    assert kept.keys() == {"trunk"}
    for name in params.keys() - {"trunk"}:
        assert np.linalg.norm(params[name]["kernel"], 2) == pytest.approx(1, abs=0.02), name
    scores, _, _ = expected({"params": params, "batch_stats": kept}, joint)
    for name, want in scores.items():
        np.testing.assert_allclose(judged.scores[name], want[:, 0], rtol=1e-3, atol=1e-4)


def test_bfloat16_gives_scores_in_float32_near_those_of_float32():
    variables, want = made(critic(joint="bilinear"))
    judged = jax.jit(lambda v: critic(joint="bilinear", dtype="bfloat16").apply(v, *inputs(), train=False))(
        variables
    )
    for got, exact in zip(jax.tree.leaves(judged), jax.tree.leaves(want), strict=True):
        assert got.dtype == jnp.float32
        np.testing.assert_allclose(got, exact, atol=0.05 * float(jnp.abs(exact).max()))


@pytest.mark.parametrize(("scores", "joint"), [(("x", "zx"), "mlp"), (("x",), "linear")])
def test_unknown_scores_and_joints_are_refused(scores, joint):
    with pytest.raises(ValueError, match="not of"):
        jax.eval_shape(lambda key: critic(scores, joint).init(key, *inputs(), train=False), jax.random.key(0))
