"""Colour jitter against Pillow's own operations and a clamped float chain; normalisation; the exact mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import colour_jitter
from scipy import stats

from ssl_single_image import augment
from ssl_single_image.augment import photometric


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_jitter_equals_pillows_chain(name: str) -> None:
    pixels, jitter = colour_jitter.tiles(name), colour_jitter.draws(colour_jitter.SPEC)
    expected = np.stack(
        [colour_jitter.pillow_chain(pixels[i], jitter, i) for i in range(colour_jitter.COUNT)]
    )
    error = np.abs(colour_jitter.jittered(pixels, jitter, colour_jitter.SPEC) - expected).mean(axis=(1, 2, 3))
    assert error.mean() <= 2, error.mean()


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_jitter_equals_the_chain_in_floating_point_clamps_included(name: str) -> None:
    pixels, jitter = colour_jitter.tiles(name)[:40], colour_jitter.draws(colour_jitter.SPEC, 40)
    expected = np.stack([colour_jitter.float_chain(pixels[i] / 255, jitter, i) for i in range(40)])
    assert (expected == 1).any()  # something is clamped
    np.testing.assert_allclose(
        colour_jitter.jittered(pixels, jitter, colour_jitter.SPEC) / 255, expected, atol=2e-5
    )


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_each_operation_alone(part: str) -> None:
    spec = augment.CropSpec(size=32).replace(**{part: 0.3})
    pixels, jitter = colour_jitter.tiles("coffee")[:12], colour_jitter.draws(spec, 12)
    others = {"brightness", "contrast", "saturation"} - {part}
    assert all((getattr(jitter, other) == 1).all() for other in others)
    expected = np.stack([colour_jitter.float_chain(pixels[i] / 255, jitter, i) for i in range(12)])
    np.testing.assert_allclose(colour_jitter.jittered(pixels, jitter, spec) / 255, expected, atol=2e-5)


def test_a_full_turn_of_hue_changes_nothing_and_greys_have_none() -> None:
    colours = colour_jitter.split(colour_jitter.tiles("coffee")[:4].astype(np.float32) / 255)
    np.testing.assert_allclose(photometric.turn_hue(colours, jnp.ones(4)), colours, atol=1e-5)
    grey = (jnp.linspace(0, 1, 16).reshape(1, 4, 4),) * 3
    np.testing.assert_allclose(photometric.turn_hue(grey, jnp.full(1, 0.3)), grey, atol=1e-6)


def test_laws() -> None:
    spec = colour_jitter.SPEC.replace(jitter_probability=0.5)
    jitter = jax.tree.map(np.asarray, colour_jitter.draws(spec, 4000))
    on = jitter.brightness != 1
    assert stats.binomtest(int(on.sum()), 4000, 0.5).pvalue > 1e-3
    for values, strength in ((jitter.brightness, 0.4), (jitter.contrast, 0.4), (jitter.saturation, 0.4)):
        assert stats.kstest(values[on], stats.uniform.cdf, args=(1 - strength, 2 * strength)).pvalue > 1e-3
        assert (values[~on] == 1).all()
    assert stats.kstest(jitter.hue[on], stats.uniform.cdf, args=(-0.1, 0.2)).pvalue > 1e-3
    _, counts = np.unique(jitter.order @ [64, 16, 4, 1], return_counts=True)
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 1e-3


def test_order_sorts_also_ties() -> None:
    for u in ([0.3, 0.1, 0.9, 0.2], [0.5, 0.5, 0.1, 0.5], [0.0, 0.0, 0.0, 0.0]):
        expected = np.argsort(u, kind="stable")
        np.testing.assert_array_equal(photometric._order(jnp.asarray(u)), expected)


def test_normalise() -> None:
    x = np.random.default_rng(0).random((2, 3, 3, 3), np.float32)
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    np.testing.assert_allclose(
        augment.normalise(jnp.asarray(x), mean, std), (x - mean) / std, rtol=1e-5, atol=1e-6
    )
    half = augment.normalise(jnp.asarray(x, jnp.bfloat16), mean, std)
    assert half.dtype == jnp.bfloat16


@pytest.mark.parametrize("side", [1, 7, 32, 300])
def testexact_mean(side: int) -> None:
    grey = np.random.default_rng(1).random((2, side, side), np.float32)
    np.testing.assert_allclose(photometric.exact_mean(jnp.asarray(grey)), grey.mean((1, 2)), atol=1e-4)
    assert photometric.exact_mean(jnp.ones((1, side, side))).item() == pytest.approx(1)
