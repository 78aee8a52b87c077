"""Views under one augmentation at a time: what each does to pixels that are known, and on what a view depends."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_single_image import images
from ssl_single_image.analysis.invariance import pairs, views
from ssl_single_image.keys import Stream, stream

SIDE, SIZE = 40, 28  # the central window has whole pixels
PICTURES = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
SMOOTH = (np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij"), -1) * 6).astype(np.uint8)
GRID = np.repeat(np.arange(3), 4), np.tile(np.arange(4), 3)
WINDOW = slice((SIDE - SIZE) // 2, (SIDE + SIZE) // 2)


@pytest.fixture(scope="module")
def render() -> views.Renderer:
    smooth = np.concatenate([SMOOTH, SMOOTH[..., :1]], -1)
    atlas = images.build_atlas([PICTURES[0], PICTURES[1], smooth])
    half = jnp.full((3, 2), SIDE / 2)
    squares = views.Squares(jnp.arange(3), half, jnp.full(3, float(SIDE)))
    return views.Renderer(atlas, squares, stream(0, Stream.INVARIANCE), SIZE)


def of(render: views.Renderer, name: str) -> np.ndarray:
    """(squares, views, S, S, 3)."""
    return np.asarray(render(name, *GRID)).reshape(3, 4, SIZE, SIZE, 3)


def test_there_is_an_augmentation_for_every_field_of_a_crop_and_a_title_for_each() -> None:
    found = views.names()
    assert len(found) == len(set(found))
    assert set(found) == {
        *("shift", "scale", "aspect", "rotation", "shear", "hflip", "vflip", "brightness", "contrast"),
        *("saturation", "hue", "blur", "noise", "greyscale", "all"),
    }
    assert list(views.titles(SIZE)) == list(found)


def test_mirrored_views_are_the_window_and_its_mirror_image(render: views.Renderer) -> None:
    window = PICTURES[:2, WINDOW, WINDOW] / 255
    for name, mirrored in (("hflip", window[:, :, ::-1]), ("vflip", window[:, ::-1])):
        found = of(render, name)[:2]
        for view, expected in ((0, window), (1, mirrored), (2, window), (3, mirrored)):
            np.testing.assert_allclose(found[:, view], expected, atol=2e-3)  # ten bits a colour


def test_every_second_view_is_grey(render: views.Renderer) -> None:
    found = of(render, "greyscale")[:2]
    window = PICTURES[:2, WINDOW, WINDOW] / 255
    np.testing.assert_allclose(found[:, 0], window, atol=2e-3)
    luma = window @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found[:, 1], np.repeat(luma[..., None], 3, -1), atol=2e-3)


def test_brightness_scales_and_contrast_keeps_the_mean(render: views.Renderer) -> None:
    window = np.concatenate([SMOOTH, SMOOTH[..., :1]], -1)[WINDOW, WINDOW] / 255
    for view in of(render, "brightness")[2]:
        factor = (view * window).sum() / np.square(window).sum()
        assert 0.6 <= factor <= 1.4
        np.testing.assert_allclose(view, np.clip(factor * window, 0, 1), atol=5e-3)
    luma = np.array([0.299, 0.587, 0.114])
    means = [float((view @ luma).mean()) for view in of(render, "contrast")[2]]
    np.testing.assert_allclose(means, (window @ luma).mean(), atol=0.02)


def test_windows_move_and_nothing_else_does(render: views.Renderer) -> None:
    """Of a ramp, a window's mean says where its centre is, and its slope how large it is."""
    ramps = {name: of(render, name)[2, ..., :2] for name in ("shift", "scale", "aspect", "rotation")}
    centre = {name: np.median(found, (1, 2)) * 255 / 6 for name, found in ramps.items()}
    slope = {
        name: np.stack([np.median(np.diff(found[..., axis], axis=axis + 1), (1, 2)) for axis in (0, 1)], 1)
        * 255
        / 6
        for name, found in ramps.items()
    }
    assert np.abs(centre["shift"] - (SIDE - 1) / 2).max() <= (SIDE - SIZE) / 2 + 0.1
    assert centre["shift"].std(0).min() > 0.5
    np.testing.assert_allclose(slope["shift"], 1, atol=0.02)
    for name in ("scale", "aspect", "rotation"):
        np.testing.assert_allclose(centre[name], (SIDE - 1) / 2, atol=0.2)
    np.testing.assert_allclose(slope["scale"][:, 0], slope["scale"][:, 1], atol=0.05)
    assert 0.5**0.5 - 0.02 <= slope["scale"].min() < slope["scale"].max() <= 2**0.5 + 0.02
    np.testing.assert_allclose(slope["aspect"].prod(1), 1, atol=0.05)
    assert slope["aspect"].std() > 0.02


def test_blur_smooths_and_noise_is_as_wide_as_it_says(render: views.Renderer) -> None:
    window = PICTURES[:2, WINDOW, WINDOW] / 255
    rough = np.abs(np.diff(window, axis=1)).mean()
    assert np.abs(np.diff(of(render, "blur")[:2], axis=2)).mean() < rough
    grey = np.abs(window - 0.5) < 0.2  # where nothing is cut off
    noise = (of(render, "noise")[:2] - window[:, None])[np.repeat(grey[:, None], 4, 1)]
    assert noise.std() == pytest.approx(views.reference(SIZE).noise, rel=0.05)


def test_a_view_depends_on_its_key_its_square_and_its_number_alone(render: views.Renderer) -> None:
    for name in ("scale", "all"):
        whole = of(render, name)
        some = np.array([2, 0, 2]), np.array([3, 1, 0])
        padded = [np.resize(each, 12) for each in some]  # the shape that is compiled
        alone = np.asarray(render(name, *padded))[:3]
        np.testing.assert_array_equal(alone, whole[some])
        assert len({view.tobytes() for view in whole.reshape(12, -1)}) == 12


def test_windows_stay_in_their_squares(render: views.Renderer) -> None:
    squares, spec = render._squares, views.reference(SIZE)
    on = jnp.ones(len(views.names()) - 1, bool)
    number = jnp.repeat(jnp.arange(3), 16)
    moved = jax.tree.map(lambda x: x[number], squares)
    draws = jnp.tile(jnp.arange(16), 3)
    params = render._draw(render._atlas, moved, number, draws, on, render._key)
    reach = np.abs(np.asarray(params.geometry.matrix)).sum(2) * spec.size / 2
    offset = np.abs(np.asarray(params.geometry.centre - moved.centre))
    assert (offset + reach <= SIDE / 2 + 1e-3).all()


def test_whole_squares_are_shown_upright() -> None:
    atlas = images.build_atlas(list(PICTURES))
    squares = views.Squares(jnp.array([1]), jnp.full((1, 2), 20.0), jnp.array([28.0]))
    np.testing.assert_allclose(
        pairs.rendered(atlas, squares, SIZE)[0], PICTURES[1, WINDOW, WINDOW] / 255, atol=2e-3
    )
