"""Colour jitter against Pillow's own operations and a clamped float chain; normalisation; the exact mean."""

from __future__ import annotations

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats

from ssl_single_image import augment
from ssl_single_image.augment import photometric
from ssl_single_image.augment.resample import Planes
from ssl_single_image.images import builtin

COUNT = 120
SPEC = augment.CropSpec(size=32, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def tiles(name: str) -> np.ndarray:
    """COUNT different 32 x 32 pieces of a photograph, uint8."""
    pixels = builtin.load(name)
    rng = np.random.default_rng(0)
    corners = zip(*(rng.integers(0, side - 32, COUNT) for side in pixels.shape[:2]), strict=True)
    return np.stack([pixels[y : y + 32, x : x + 32] for y, x in corners])


def draws(spec: augment.CropSpec, count: int = COUNT) -> photometric.Jitter:
    u = jax.random.uniform(jax.random.key(5), (count, photometric.UNIFORMS))
    return jax.vmap(lambda u: photometric.sample_jitter(u, spec))(u)


def jittered(pixels: np.ndarray, jitter: photometric.Jitter, spec: augment.CropSpec) -> np.ndarray:
    @jax.jit
    def run(planes: Planes, jitter: photometric.Jitter) -> jax.Array:
        plan = photometric.plan_jitter(jitter)
        for half in (photometric.until_hue, photometric.after_hue):
            planes = half(planes, plan, spec)
        return jnp.stack(planes, -1)

    return np.asarray(run(split(pixels.astype(np.float32) / 255), jitter)) * 255


def split(pixels: np.ndarray) -> Planes:
    red, green, blue = (jnp.asarray(pixels[..., i]) for i in range(3))
    return red, green, blue


def turned(image: Image.Image, turns: float) -> Image.Image:
    hsv = np.array(image.convert("HSV"))
    hsv[..., 0] += np.array(turns * 255).astype(np.int32).astype(np.uint8)
    return Image.fromarray(hsv, "HSV").convert("RGB")


def pillow_chain(pixels: np.ndarray, j: photometric.Jitter, i: int) -> np.ndarray:
    image = Image.fromarray(pixels)
    for operation in np.asarray(j.order[i]):
        if operation == 3:
            image = turned(image, float(j.hue[i]))
        else:
            kind = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[operation]
            image = kind(image).enhance(float((j.brightness, j.contrast, j.saturation)[operation][i]))
    return np.asarray(image, float)


@pytest.mark.filterwarnings("ignore:'mode' parameter is deprecated")
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_jitter_equals_pillows_chain(name: str) -> None:
    pixels, jitter = tiles(name), draws(SPEC)
    expected = np.stack([pillow_chain(pixels[i], jitter, i) for i in range(COUNT)])
    error = np.abs(jittered(pixels, jitter, SPEC) - expected).mean(axis=(1, 2, 3))
    assert error.mean() <= 2, error.mean()


def float_chain(x: np.ndarray, j: photometric.Jitter, i: int) -> np.ndarray:
    """The sequential chain in float64 on [0, 1]; hue pixel by pixel through `colorsys`."""
    for operation in np.asarray(j.order[i]):
        grey = x @ [0.299, 0.587, 0.114]
        if operation == 0:
            x = x * float(j.brightness[i])
        elif operation == 1:
            x = grey.mean() + (x - grey.mean()) * float(j.contrast[i])
        elif operation == 2:
            x = grey[..., None] + (x - grey[..., None]) * float(j.saturation[i])
        else:
            x = np.apply_along_axis(_turn, -1, x, float(j.hue[i]))
        x = np.clip(x, 0, 1)
    return x


def _turn(rgb: np.ndarray, turns: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*rgb)
    return colorsys.hsv_to_rgb((h + turns) % 1, s, v)


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
def test_jitter_equals_the_chain_in_floating_point_clamps_included(name: str) -> None:
    pixels, jitter = tiles(name)[:40], draws(SPEC, 40)
    expected = np.stack([float_chain(pixels[i] / 255, jitter, i) for i in range(40)])
    assert (expected == 1).any()  # something is clamped
    np.testing.assert_allclose(jittered(pixels, jitter, SPEC) / 255, expected, atol=2e-5)


@pytest.mark.parametrize("part", ["brightness", "contrast", "saturation", "hue"])
def test_each_operation_alone(part: str) -> None:
    spec = augment.CropSpec(size=32, **{part: 0.3})
    pixels, jitter = tiles("coffee")[:12], draws(spec, 12)
    others = {"brightness", "contrast", "saturation"} - {part}
    assert all((getattr(jitter, other) == 1).all() for other in others)
    expected = np.stack([float_chain(pixels[i] / 255, jitter, i) for i in range(12)])
    np.testing.assert_allclose(jittered(pixels, jitter, spec) / 255, expected, atol=2e-5)


def test_a_full_turn_of_hue_changes_nothing_and_greys_have_none() -> None:
    colours = split(tiles("coffee")[:4].astype(np.float32) / 255)
    np.testing.assert_allclose(photometric.turn_hue(colours, jnp.ones(4)), colours, atol=1e-5)
    grey = (jnp.linspace(0, 1, 16).reshape(1, 4, 4),) * 3
    np.testing.assert_allclose(photometric.turn_hue(grey, jnp.full(1, 0.3)), grey, atol=1e-6)


def test_laws() -> None:
    spec = SPEC.replace(jitter_probability=0.5)
    jitter = jax.tree.map(np.asarray, draws(spec, 4000))
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
def test_exact_mean(side: int) -> None:
    grey = np.random.default_rng(1).random((2, side, side), np.float32)
    np.testing.assert_allclose(photometric._exact_mean(jnp.asarray(grey)), grey.mean((1, 2)), atol=1e-4)
    assert photometric._exact_mean(jnp.ones((1, side, side))).item() == pytest.approx(1)
