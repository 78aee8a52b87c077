"""Sheets of crops: captions in words, and one augmentation at a time in windows that stay where they are."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from ssl_single_image import augment, images
from ssl_single_image.analysis import augmentations, crops

PAPER = augment.CropSpec.preset("paper", 32)
RICH = PAPER.replace(
    min_area=0.1, shear=20.0, vflip=0.5, blur_probability=0.5, blur_sigma=(0.5, 3.0), noise=0.05
)
WILD = RICH.replace(min_area=0.5, rotation=180.0, shear=60.0, aspect=0.3)
AUTHORS = augment.CropSpec.preset("authors", 32).replace(hflip=0.5)
COUNT = 12
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def atlas():
    return images.build_atlas([PHOTO, PHOTO[:50]])


def drawn(spec, atlas):
    """What was drawn for the first crops, and the parameters of every row by title, as NumPy arrays by name."""

    @jax.jit
    def draw(atlas):
        keys = jax.random.split(jax.random.key(0), COUNT)
        params = jax.vmap(lambda k: augment.sample_params(k, atlas, spec))(keys)
        rows = augmentations.one_at_a_time(params, atlas, spec)
        corners = [augment.crop_corners(row.geometry, spec.size) for row in rows]
        named = [augmentations.values(row) | {"corners": c} for row, c in zip(rows, corners, strict=True)]
        return augmentations.values(params), named

    before, rows = jax.device_get(draw(atlas))
    return before, dict(zip(augmentations.rows(spec), rows, strict=True))


@pytest.mark.parametrize("spec", [RICH, WILD, AUTHORS], ids=["rich", "wild", "authors"])
def test_only_the_named_augmentation_differs_down_a_column(atlas, spec):
    before, rows = drawn(spec, atlas)
    plain, everything = rows["cropped only"], rows["all of these"]
    active = [one for one in augmentations.AUGMENTATIONS if one.on(spec)]
    assert list(rows) == ["cropped only", *(one.heading(spec) for one in active), "all of these"]
    told = {one.drawn: one.neutral for one in augmentations.AUGMENTATIONS if one.drawn}
    for row in rows.values():
        for name in ("image", "origin", "extent", "area", "order"):
            np.testing.assert_array_equal(row[name], plain[name])
    for name, neutral in told.items():
        assert (plain[name] == neutral).all()
        np.testing.assert_array_equal(everything[name], before[name])
    for one in active:
        row = rows[one.heading(spec)]
        for name, neutral in told.items():
            if name == one.drawn:
                np.testing.assert_array_equal(row[name], before[name])
                assert (row[name] != neutral).any()
            else:
                assert (row[name] == neutral).all()


@pytest.mark.parametrize("spec", [RICH, WILD], ids=["rich", "wild"])
def test_windows_lie_in_the_source_in_every_row(atlas, spec):
    before, rows = drawn(spec, atlas)
    size = np.stack([np.asarray(atlas.height)[:, 0], np.asarray(atlas.width)[:, 0]], axis=-1)
    source = size[before["image"]][:, None]
    for row in rows.values():
        assert (row["corners"] >= -1e-3).all()
        assert (row["corners"] <= source + 1e-3).all()


def test_the_paper_s_windows_are_those_of_the_virtual_data_set(atlas):
    """They fit in every pose as they are: a turned window of that shape takes more room than an upright one."""
    before, rows = drawn(PAPER, atlas)
    for name in ("centre", "extent", "matrix", "origin"):
        np.testing.assert_allclose(rows["all of these"][name], before[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("spec", [RICH, AUTHORS], ids=["inside", "window"])
def test_a_window_in_its_own_pose_is_itself(atlas, spec):
    keys = jax.random.split(jax.random.key(1), COUNT)

    def both(key):
        at = augment.sample_params(key, atlas, spec).geometry
        return at, augment.posed(at, spec, at.angle, at.shear, at.hflip, at.vflip)

    first, second = jax.jit(jax.vmap(both))(keys)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4), first, second)


def test_the_mirrored_row_is_the_plain_one_mirrored(atlas):
    own = augmentations.rows(AUTHORS)
    before, _ = drawn(AUTHORS, atlas)

    @jax.jit
    def draw(atlas):
        keys = jax.random.split(jax.random.key(0), COUNT)
        params = jax.vmap(lambda k: augment.sample_params(k, atlas, AUTHORS))(keys)
        rows = augmentations.one_at_a_time(params, atlas, AUTHORS)
        return [augment.render(atlas, p, spec) for p, (_, spec) in zip(rows, own.values(), strict=True)]

    params = dict(zip(own, map(np.asarray, draw(atlas)), strict=True))
    plain, mirrored = params["cropped only"], params["mirrored left to right, 50 % of crops"]
    expected = np.where(before["hflip"][:, None, None, None], plain[:, :, ::-1], plain)
    # An odd margin of the window can't be halved: the crop's centre may lie half a pixel beside the window's.
    assert np.abs(expected - mirrored).mean() < 0.02
    assert before["hflip"].any()
    assert not before["hflip"].all()


def test_titles_say_the_ranges():
    titles = list(augmentations.rows(RICH))
    assert titles[1] == "turned by up to 35° either way"
    assert "mirrored left to right, 50 % of crops" in titles
    assert "brightness times 0.6 to 1.4, 80 % of crops" in titles
    assert "hue turned by up to 0.1 of the colour circle either way, 80 % of crops" in titles
    assert "blurred over 0.5 to 3 pixels, 50 % of crops" in titles
    assert titles[-2:] == ["noise of standard deviation 0.05", "all of these"]
    assert list(augmentations.rows(augment.CropSpec(32))) == ["cropped only"]
    assert (
        len(augmentations.rows(PAPER.replace(jitter_probability=0.0))) == 4
    )  # cropped, turned, mirrored, all


def test_every_augmentation_of_the_spec_has_its_words():
    known = {field for one in augmentations.AUGMENTATIONS for field in (one.field, one.chance, *one.others)}
    cropping = set(augmentations.cropping(WILD).to_config())
    bare = augment.CropSpec(32).to_config()
    changed = {field for field in cropping if augmentations.cropping(WILD).to_config()[field] != bare[field]}
    fields = set(bare) - {"dtype"}
    assert changed == {"min_area", "area_law", "aspect"}
    assert {field for field in fields - known if field not in augmentations._CROPPING} == set()
    assert not known & set(augmentations._CROPPING)


CROP = {
    "area": 0.0571,
    "angle": -24.2,
    "shear": 0.2,
    "hflip": True,
    "vflip": False,
    "brightness": 1.04,
    "contrast": 0.8,
    "saturation": 1.0,
    "hue": -0.09,
    "blur_sigma": 1.26,
    "extent": np.array([30.0, 40.0]),
}


def test_captions_are_words():
    assert augmentations.words(CROP, RICH) == [
        "area 5.7 %",
        "turned -24°",
        "mirrored",
        "brightness 1.0",
        "contrast 0.8",
        "saturation 1.0",
        "hue -0.09",
        "blur 1.3 px",
        "height/width 0.75",
    ]
    upright = CROP | {"angle": 0.3, "hflip": False}
    assert augmentations.words(upright, PAPER, 3) == [
        "area 5.7 %",
        "upright",
        "hue -0.09",
    ]  # what changed most
    neutral = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
    assert "true colours" in augmentations.words(CROP | neutral, PAPER)
    assert augmentations.words(CROP, augment.CropSpec(32)) == ["area 5.7 %"]  # nothing else is drawn


def test_captions_say_as_much_as_the_tile_has_room_for():
    tiny, small, large = (
        crops.caption(7, CROP, RICH.replace(size=size), scale) for size, scale in ((32, 1), (32, 3), (224, 1))
    )
    assert tiny == "7"
    assert small.split("\n") == ["7: area 5.7 %", "turned -24°", "mirrored"]
    told = large.replace("\n", ", ").split(", ")
    assert told == ["7: area 5.7 %", *augmentations.words(CROP, RICH)[1:]]
    assert large.count("\n") < len(told) - 1  # several in a line


def test_area_is_that_of_the_photograph():
    """The authors' recipe draws a share of an initial crop, which is half as high as the photograph."""
    source = images.SourceImage("photo", PHOTO)
    spec = augment.CropSpec.preset("authors", 16).replace(min_area=1.0, max_area=1.0)
    found, tiles = crops._draw(images.build_atlas([source.pixels]), spec, 2, 0)
    assert tiles.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(found["area"], found["extent"].prod(axis=-1) / (60 * 80), rtol=1e-6)
    assert (found["area"] <= 30 * 30 / (60 * 80)).all()
