"""The mip pyramid against Pillow's reduction, at odd sizes, for several images, and from a batch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from ssl_single_image import images
from ssl_single_image.images import atlas as atlas_module
from ssl_single_image.images import builtin
from ssl_single_image.types import InputError


def level_of(atlas: images.Atlas, image: int, level: int) -> np.ndarray:
    h, w, s, o = (int(t[image, level]) for t in (atlas.height, atlas.width, atlas.stride, atlas.offset))
    words = np.asarray(atlas.texels)[o + np.arange(h)[:, None] * s + np.arange(w)]
    return np.stack([words >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_level_zero_is_the_image_and_the_last_one_pixel() -> None:
    pictures = [noise(13, 40), noise(64, 3), noise(1, 1)]
    atlas = images.build_atlas(pictures)
    assert atlas.count == 3
    assert atlas.levels == 13  # two an octave
    for i, picture in enumerate(pictures):
        np.testing.assert_array_equal(level_of(atlas, i, 0), picture)
        assert level_of(atlas, i, atlas.levels - 1).shape == (1, 1, 3)
    sizes = [level_of(atlas, 0, level).shape[:2] for level in range(13)]
    assert sizes[::2] == [(13, 40), (7, 20), (4, 10), (2, 5), (1, 3), (1, 2), (1, 1)]
    between = [tuple(math.ceil(side / math.sqrt(2)) for side in size) for size in sizes[::2]]
    assert sizes[1::2] == between[:6]


def test_images_of_one_size_are_packed_as_if_they_were_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atlas_module, "_PIXELS_AT_ONCE", 3 * 20 * 17)  # of seven, three are reduced at once
    pictures = [*(noise(20, 17, seed=i) for i in range(7)), noise(9, 17), noise(20, 17, seed=8)]
    atlas = images.build_atlas(pictures)
    for i, picture in enumerate(pictures):
        alone = images.build_atlas([picture])
        for level in range(atlas.levels):
            np.testing.assert_array_equal(
                level_of(atlas, i, level), level_of(alone, 0, min(level, alone.levels - 1))
            )


def test_levels_equal_pillows_antialiased_bicubic() -> None:
    photograph = builtin.load("coffee")[:384, :512]
    atlas = images.build_atlas([photograph])
    picture = Image.fromarray(photograph)
    for level in (1, 2, 3, 4, 6):
        # Pillow clips between its two passes, and reduces in one go what the pyramid reduces in steps.
        scale = math.sqrt(2) ** level
        width, height = math.floor(512 / scale + 1e-9), math.floor(384 / scale + 1e-9)
        box = (0, 0, min(width * scale, 512), min(height * scale, 384))
        reduced = np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))
        softened = reduced.astype(float)
        for axis in (0, 1):
            softened = ndimage.correlate1d(softened, [1 / 12, 10 / 12, 1 / 12], axis, mode="nearest")
        got = level_of(atlas, 0, level)[:height, :width].astype(float)
        error = np.abs(got - softened)[4:-4, 4:-4]
        assert error.mean() < (0.4 if level <= 2 else 1.5)
        assert np.percentile(error, 99.9) <= (1.5 if level <= 2 else 20)


@pytest.mark.parametrize("side", [64, 65, 67, 127])
def test_coordinates_are_exact_at_odd_sizes(side: int) -> None:
    # On a ramp, a pixel of level l has the ramp's value at (j + .5) * sqrt(2)**l, wherever the filter stays inside.
    ramp = np.repeat(np.broadcast_to(np.arange(side, dtype=np.uint8), (8, side))[..., None], 3, axis=-1)
    atlas = images.build_atlas([np.ascontiguousarray(ramp)])
    for level in range(1, 7):
        row = level_of(atlas, 0, level)[0, :, 0].astype(float)
        expected = (np.arange(len(row)) + 0.5) * math.sqrt(2) ** level - 0.5
        np.testing.assert_allclose(row[3:-4], expected[3:-4], atol=0.6)


def test_a_flat_image_stays_flat() -> None:
    atlas = images.build_atlas([np.full((37, 51, 3), 201, np.uint8)])
    assert set(np.asarray(atlas.texels).tolist()) == {201 | 201 << 8 | 201 << 16}


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = noise(50, 33)
    whole = images.build_atlas([picture])
    monkeypatch.setattr(atlas_module, "_STRIP", 7)
    np.testing.assert_array_equal(whole.texels, images.build_atlas([picture]).texels)


def test_batch_atlas_equals_built_atlas() -> None:
    canvas = noise(4, 37, 37)
    extent = np.array([[37, 37], [1, 20], [13, 7], [36, 1]], np.int32)
    batch = jax.jit(images.atlas_from_batch)(canvas, extent)
    built = images.build_atlas([canvas[b, :h, :w] for b, (h, w) in enumerate(extent)])
    assert (batch.count, batch.levels) == (built.count, built.levels)
    for b in range(4):
        for level in range(batch.levels):
            np.testing.assert_array_equal(level_of(batch, b, level), level_of(built, b, level))


def test_bad_images_are_refused() -> None:
    for pixels, message in (
        ([], "at least one"),
        ([np.zeros((4, 4), np.uint8)], "image 0"),
        ([noise(4, 4), np.zeros((4, 4, 3), np.float32)], "image 1"),
        ([np.zeros((0, 4, 3), np.uint8)], "image 0"),
        ([noise(1, 2**19)], "image 0 is 524,288 pixels long"),
    ):
        with pytest.raises(InputError, match=message):
            images.build_atlas(pixels)


def test_more_rows_than_int32_can_address_are_refused() -> None:
    canvas = jax.ShapeDtypeStruct((2048, 1024, 1024, 3), jnp.uint8)
    with pytest.raises(InputError, match="limit"):
        jax.eval_shape(images.atlas_from_batch, canvas, jax.ShapeDtypeStruct((2048, 2), jnp.int32))
