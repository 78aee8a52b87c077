"""The pipeline as a whole: no fill, every switch alone, any batch the same bits, source checks.

Where two programs are compared bit by bit, both compute in float64: whatever the compiler makes of a product and a sum,
the rounding to whole positions and colours that follows is then the same.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from precision import float64

from ssl_single_image import augment, images
from ssl_single_image.images import builtin
from ssl_single_image.types import InputError

OFF = augment.CropSpec(size=16, min_area=0.05, max_area=0.2, interpolation="bilinear")
KEY = jax.random.key(7)
QUICK = {"xla_backend_optimization_level": 0}  # compiles in a quarter of the time


@pytest.fixture(scope="module")
def atlas() -> images.Atlas:
    return images.build_atlas([builtin.load("coffee"), builtin.load("chelsea")[:200]])


def crops(
    atlas: images.Atlas,
    spec: augment.CropSpec,
    indices: np.ndarray | range,
    options: dict[str, int] | None = None,
) -> np.ndarray:
    run = jax.jit(lambda a, key, i: augment.render_crops(a, key, i, spec), compiler_options=options)
    with float64():
        return np.asarray(run(atlas, KEY, jnp.asarray(indices)))


@pytest.fixture(scope="module")
def plain(atlas: images.Atlas) -> np.ndarray:
    return crops(atlas, OFF, range(6), QUICK)


SWITCHES: dict[str, dict[str, Any]] = {
    "area": {"min_area": 0.01},
    "aspect": {"aspect": 0.5},
    "initial_crop": {"initial_crop": 0.5, "min_area": 0.2},
    "rotation": {"rotation": 35.0},
    "shear": {"shear": 20.0},
    "border": {"border": "window"},
    "hflip": {"hflip": 1.0},
    "vflip": {"vflip": 1.0},
    "brightness": {"brightness": 0.4},
    "contrast": {"contrast": 0.4},
    "saturation": {"saturation": 0.4},
    "hue": {"hue": 0.2},
    "blur": {"blur_probability": 1.0},
    "noise": {"noise": 0.1},
    "interpolation": {"interpolation": "bicubic"},
}


@pytest.mark.parametrize("part", SWITCHES)
def test_every_switch_alone_changes_crops(atlas: images.Atlas, plain: np.ndarray, part: str) -> None:
    changed = crops(atlas, OFF.replace(**SWITCHES[part]), range(6), QUICK)
    assert changed.shape == plain.shape == (6, 16, 16, 3)
    assert (changed >= 0).all()
    assert (changed <= 1).all()
    assert np.abs(changed - plain).mean() > 1e-4
    if part in ("hflip", "vflip"):
        axis = 2 if part == "hflip" else 1
        np.testing.assert_array_equal(np.flip(changed, axis), plain)
    if part == "noise":
        residual = (changed - plain)[(plain > 0.4) & (plain < 0.6)]
        assert residual.std() == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    "spec",
    [
        augment.CropSpec.preset("paper", 24),
        augment.CropSpec.preset("authors", 16).replace(
            noise=0.02, blur_probability=0.5, interpolation="bilinear"
        ),
    ],
    ids=["paper", "authors"],
)
def test_a_crop_is_the_same_alone_and_in_any_batch(atlas: images.Atlas, spec: augment.CropSpec) -> None:
    full = crops(atlas, spec, range(40))
    assert len({crop.tobytes() for crop in full}) == 40
    for indices in ([5], [31, 5, 0]):
        np.testing.assert_array_equal(crops(atlas, spec, np.array(indices)), full[indices])


@pytest.mark.parametrize("border", ["inside", "window"])
def test_what_was_drawn_is_rendered_alike_in_any_batch(atlas: images.Atlas, border: str) -> None:
    """In float32, as in training: positions are whole numbers, and so are colours that nothing jitters."""
    spec = OFF.replace(border=border, rotation=35.0, shear=10.0)
    params = jax.jit(jax.vmap(lambda key: augment.sample_params(key, atlas, spec)))(jax.random.split(KEY, 40))
    run = jax.jit(lambda params: augment.render(atlas, params, spec))
    together = np.asarray(run(params))
    alone = [run(jax.tree.map(lambda x, i=i: x[i : i + 1], params)) for i in range(40)]
    np.testing.assert_array_equal(np.concatenate(alone), together)


def test_crops_depend_on_the_key(atlas: images.Atlas) -> None:
    run = jax.jit(lambda a, key: augment.render_crops(a, key, jnp.arange(3), OFF), compiler_options=QUICK)
    assert np.abs(np.asarray(run(atlas, KEY)) - np.asarray(run(atlas, jax.random.key(8)))).mean() > 0.01


def test_no_fill_is_visible_inside() -> None:
    white = images.build_atlas([np.full((60, 97, 3), 255, np.uint8)])
    spec = augment.CropSpec.preset("paper", 16).replace(jitter_probability=0.0, shear=25.0, rotation=90.0)
    np.testing.assert_allclose(crops(white, spec, range(300), QUICK), 1, atol=1e-6)


def test_what_falls_outside_the_authors_window_is_black() -> None:
    white = images.build_atlas([np.full((300, 300, 3), 255, np.uint8)])
    spec = augment.CropSpec.preset("authors", 32).replace(jitter_probability=0.0)
    turned = crops(white, spec, range(200), QUICK)
    assert np.logical_or(np.abs(turned - 1) < 1e-6, turned == 0).all()
    assert 0.001 < (turned == 0).mean() < 0.1
    np.testing.assert_allclose(crops(white, spec.replace(shear=0.0), range(200), QUICK), 1, atol=1e-6)


def test_bfloat16_is_float32_rounded(atlas: images.Atlas) -> None:
    exact, rounded = (
        crops(atlas, OFF.replace(dtype=dtype), range(4), QUICK) for dtype in ("float32", "bfloat16")
    )
    assert rounded.dtype == jnp.bfloat16
    np.testing.assert_array_equal(rounded, exact.astype(jnp.bfloat16))


def test_can_be_differentiated_around(atlas: images.Atlas) -> None:
    spec = OFF.replace(hue=0.1, contrast=0.3)

    def loss(weight: jax.Array) -> tuple[jax.Array, jax.Array]:
        x = augment.render_crops(atlas, KEY, jnp.arange(2), spec)
        return (weight * x).sum(), x.sum()

    slope, total = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICK)(1.0)
    assert float(slope) == pytest.approx(float(total), rel=1e-5)


@pytest.mark.usefixtures("float64")
def test_devices_see_the_crops_of_their_slice(atlas: images.Atlas) -> None:
    count = jax.local_device_count()
    spec = OFF.replace(hue=0.1, contrast=0.3)
    split = jax.pmap(lambda a, i: augment.render_crops(a, KEY, i, spec), in_axes=(None, 0))
    indices = np.arange(count * 3).reshape(count, 3)
    together = crops(atlas, spec, range(count * 3))
    np.testing.assert_array_equal(np.asarray(split(atlas, indices)).reshape(together.shape), together)


@pytest.mark.usefixtures("float64")
def test_views_of_a_batch_equal_crops_of_the_built_atlas() -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)
    extent = np.array([[40, 40], [31, 22], [25, 40]], np.int32)
    built = images.build_atlas([canvas[b, :h, :w] for b, (h, w) in enumerate(extent)])
    spec = augment.CropSpec.preset("paper", 16).replace(min_area=0.1)
    run = jax.jit(lambda a, keys: augment.render_views(a, keys, spec), compiler_options=QUICK)
    keys = jax.random.split(KEY, 3)
    views = run(jax.jit(images.atlas_from_batch)(canvas, extent), keys)
    np.testing.assert_array_equal(views, run(built, keys))


def test_sources_that_are_too_small_are_refused_with_their_name() -> None:
    paper, authors = (augment.CropSpec.preset(name, 32) for name in ("paper", "authors"))
    for spec in (paper, authors):
        augment.check_source(spec, [(400, 600), (300, 451, 3)])
    with pytest.raises(InputError, match=r"small.png \(50 x 50 pixels\): too small .* at least 64 x 64"):
        augment.check_source(paper, [(400, 600), (50, 50)], ["big.png", "small.png"])
    with pytest.raises(InputError, match=r"image 0 .*min_area = 0\.002"):
        augment.check_source(authors, [(60, 600)])
    with pytest.raises(InputError, match=r"too narrow .* rotation 35"):
        augment.check_source(paper.replace(min_area=0.3), [(200, 1000)])
    augment.check_source(paper.replace(min_area=1.0), [(200, 1000)])


def test_an_accepted_source_holds_the_smallest_window_at_every_angle() -> None:
    spec = augment.CropSpec(size=8, min_area=0.3, max_area=0.3, aspect=0.75, rotation=45.0, shear=15.0)
    side = 100
    while True:  # the narrowest image that passes
        try:
            augment.check_source(spec, [(side, 300)])
            break
        except InputError:
            side += 1
    atlas = images.build_atlas([np.zeros((side, 300, 3), np.uint8)])
    keys = jax.random.split(KEY, 2000)
    area = jax.jit(jax.vmap(lambda key: augment.sample_params(key, atlas, spec).geometry.area))(keys)
    np.testing.assert_allclose(area, 0.3, rtol=1e-5)
