"""Spectral normalisation against NumPy's singular values, and what takes it out of a network."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import models

OPTIONS = {"slope": 0.2}


def built(spectral):
    return models.build_backbone("alexnet32", OPTIONS, spectral=spectral)


def images(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(2, 8, 8, 3)), jnp.float32)


@pytest.fixture(scope="module")
def trained():
    """Parameters and batch statistics after `count` training calls that leave the parameters as they are."""
    network = built(True)

    @partial(jax.jit, static_argnums=0)
    def run(count):
        variables = network.init(jax.random.key(0), images(), train=False)

        def call(stats, _):
            values = {"params": variables["params"], "batch_stats": stats}
            return network.apply(values, images(1), train=True, mutable=["batch_stats"])[1]["batch_stats"], ()

        stats, _ = jax.lax.scan(call, variables["batch_stats"], length=count)
        return variables["params"], stats

    return run


def top_values(params):
    """Largest singular value of each kernel as a matrix (k k C, D)."""
    return {
        name: np.linalg.svd(np.asarray(layer["kernel"]).reshape(-1, layer["kernel"].shape[-1]))[1][0]
        for name, layer in params.items()
        if "kernel" in layer
    }


def test_folded_variables_give_the_same_activations_without_normalisation(trained):
    params, stats = trained(3)
    noise = np.random.default_rng(5)
    grown = jax.tree.map(lambda p: p * (1 + 0.2 * noise.normal(size=p.shape).astype(np.float32)), params)
    folded = models.without_spectral_norm(grown, stats)
    apply = jax.jit(
        lambda n, p, s: n.apply({"params": p, "batch_stats": s}, images(2), train=False), static_argnums=0
    )
    (output, taps), (want, wanted) = apply(built(False), *folded), apply(built(True), grown, stats)
    np.testing.assert_allclose(output, want, rtol=1e-4, atol=1e-5)
    for name, tap in wanted.items():
        assert float(jnp.abs(tap).max()) > 0.01
        np.testing.assert_allclose(taps[name], tap, rtol=1e-4, atol=1e-5)
    plain = apply(built(False), grown, folded[1])[0]
    assert not np.allclose(plain, want, rtol=0.1, atol=1e-3)


def test_folded_variables_are_those_of_the_plain_network(trained):
    params, stats = trained(3)
    folded, kept = models.without_spectral_norm(params, stats)
    plain = jax.eval_shape(lambda key: built(False).init(key, images(), train=False), jax.random.key(0))
    assert jax.tree.map(jnp.shape, folded) == jax.tree.map(jnp.shape, plain["params"])
    assert jax.tree.map(jnp.shape, kept) == jax.tree.map(jnp.shape, plain["batch_stats"])
    nested, inner = models.without_spectral_norm({"trunk": params, "other": {}}, {"trunk": stats})
    jax.tree.map(np.testing.assert_array_equal, nested, {"trunk": folded, "other": {}})
    jax.tree.map(np.testing.assert_array_equal, inner, {"trunk": kept})


def test_the_largest_singular_value_of_every_folded_kernel_is_one(trained):
    params, stats = trained(60)
    before, after = top_values(params), top_values(models.without_spectral_norm(params, stats)[0])
    assert len(after) == 5
    for name, value in after.items():
        assert abs(before[name] - 1) > 0.2
        assert value == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("scale", [1e-12, 1e9])
def test_the_scale_of_a_kernel_does_not_matter(trained, scale):
    """Weight decay takes kernels that no loss sees to 1e-12 within some thousand steps of Adam."""
    params, stats = trained(60)
    small = {
        name: {**layer, "kernel": layer["kernel"] * scale} if "kernel" in layer else layer
        for name, layer in params.items()
    }
    network = built(True)

    @jax.jit
    def output_and_slope(params):
        def total(params):
            output, _ = network.apply({"params": params, "batch_stats": stats}, images(2), train=False)
            return (output**2).sum(), output

        slope, output = jax.grad(total, has_aux=True)(params)
        return output, slope["conv1"]["kernel"]

    for found, wanted, factor in zip(
        output_and_slope(small), output_and_slope(params), (1, scale), strict=True
    ):
        np.testing.assert_allclose(
            found * factor, wanted, rtol=1e-3, atol=1e-4 * float(jnp.abs(wanted).max())
        )
    folded, _ = models.without_spectral_norm(small, stats)
    np.testing.assert_allclose(
        folded["conv1"]["kernel"],
        models.without_spectral_norm(params, stats)[0]["conv1"]["kernel"],
        rtol=1e-4,
    )


def test_a_kernel_of_zeros_sees_nothing_and_has_finite_gradients(trained):
    params, stats = trained(3)
    nothing = {**params, "conv1": {**params["conv1"], "kernel": 0 * params["conv1"]["kernel"]}}

    def total(params):
        _, taps = built(True).apply({"params": params, "batch_stats": stats}, images(), train=False)
        return taps["conv1"].sum(), taps["conv1"]

    slopes, activations = jax.grad(total, has_aux=True)(nothing)
    assert float(jnp.ptp(activations, (0, 1, 2)).max()) == 0
    assert all(bool(jnp.isfinite(slope).all()) for slope in jax.tree.leaves(slopes))
