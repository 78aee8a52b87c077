"""Image decoding against what Pillow and arithmetic say, format by format; every kind of bad file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import images
from ssl_single_image.images import decode as decode_module
from ssl_single_image.types import InputError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def decode(image: Image.Image, form: str = "PNG", **options: object) -> np.ndarray:
    pixels = images.decode_image(encoded(image, form, **options), "x")
    assert pixels.dtype == np.uint8
    assert pixels.shape == (image.height, image.width, 3)
    return pixels


def test_rgb_is_left_alone() -> None:
    np.testing.assert_array_equal(decode(Image.fromarray(RGB)), RGB)


def test_grey_fills_three_channels() -> None:
    np.testing.assert_array_equal(decode(Image.fromarray(RGB[..., 0])), np.repeat(RGB[..., :1], 3, axis=-1))
    bilevel = Image.fromarray(RGB[..., 0] > 127)
    np.testing.assert_array_equal(decode(bilevel)[..., 2], (RGB[..., 0] > 127) * 255)


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    assert decode(image).tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert decode(image, transparency=1).tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_alpha_is_composited_on_white() -> None:
    alpha = np.array([[0, 51, 255]], np.uint8)
    grey = np.array([[100, 100, 100]], np.uint8)
    expected = np.rint(grey * (alpha / 255) + 255 * (1 - alpha / 255))
    for layers, mode in (([grey, alpha], "LA"), ([grey, grey, grey, alpha], "RGBA")):
        image = Image.merge(mode, [Image.fromarray(layer) for layer in layers])
        np.testing.assert_allclose(decode(image)[..., 1], expected, atol=1)


def test_cmyk() -> None:
    ink = Image.merge("CMYK", [Image.new("L", (1, 1), v) for v in (255, 0, 0, 0)])
    assert decode(ink, "TIFF").tolist() == [[[0, 255, 255]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled(form: str) -> None:
    values = np.array([[0, 257, 32768, 65535 - 257, 65535]], np.uint16)
    pixels = decode(Image.fromarray(values), form)
    np.testing.assert_array_equal(pixels[..., 0], np.rint(values / 257).astype(np.uint8))


def test_32_bit_integers_within_16_bits_are_scaled_and_others_refused() -> None:
    assert decode(Image.fromarray(np.array([[0, 65535]], np.int32)), "TIFF")[0, :, 0].tolist() == [0, 255]
    with pytest.raises(InputError, match="outside"):
        decode(Image.fromarray(np.array([[0, 65536]], np.int32)), "TIFF")


def test_floats_are_taken_in_the_unit_range_only() -> None:
    assert decode(Image.fromarray(np.array([[0, 0.5, 1]], np.float32)), "TIFF")[0, :, 0].tolist() == [
        0,
        128,
        255,
    ]
    with pytest.raises(InputError, match="floating-point"):
        decode(Image.fromarray(np.array([[0, 2]], np.float32)), "TIFF")


@pytest.mark.parametrize(("orientation", "turned"), [(1, RGB), (3, RGB[::-1, ::-1]), (6, np.rot90(RGB, -1))])
def test_exif_orientation(orientation: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = images.decode_image(encoded(Image.fromarray(RGB), exif=exif), "x")
    np.testing.assert_array_equal(pixels, turned)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    pixels = images.decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), "x")
    assert pixels[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_truncated(form: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), form)
    path = tmp_path / "half"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"half: truncated or damaged"):
        images.read_image(path)


@pytest.mark.filterwarnings("default:Image size:PIL.Image.DecompressionBombWarning")
def test_decompression_bomb() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for side in (10_000, 40_000):  # Pillow warns of the first and refuses the second
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
        bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
        with pytest.raises(InputError, match="decompression bomb"):
            images.decode_image(bomb, "bomb.png")


def test_bad_files_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image at all")
    for name, message in (
        ("empty.png", "empty"),
        ("text.png", "not an image"),
        ("none.png", "cannot be read"),
    ):
        with pytest.raises(InputError, match=rf"{name}: .*{message}") as caught:
            images.read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("mode", ["L", "La", "LA", "PA", "RGBX", "RGBa", "YCbCr", "HSV", "LAB", "CMYK"])
def test_every_mode_becomes_rgb_or_is_refused_by_name(mode: str) -> None:
    try:
        pixels = decode_module._to_rgb(Image.new(mode, (3, 2)), "x")
    except InputError as error:
        assert mode in str(error)  # noqa: PT017
    else:
        assert pixels.shape == (2, 3, 3)
        assert pixels.dtype == np.uint8
