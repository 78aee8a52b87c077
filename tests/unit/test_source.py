"""What a source string means: file, folder, pattern, built-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import images
from ssl_single_image.images import builtin
from ssl_single_image.types import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deeper").mkdir()
    for i, name in enumerate(["b.png", "a.jpg", "c[1].png", ".hidden.png", "deeper/d.png"]):
        Image.new("RGB", (6 + i, 5)).save(tmp_path / name)
    (tmp_path / "README.txt").write_text("about")
    return tmp_path


def names(source: str) -> list[str]:
    return [Path(image.name).name for image in images.load_source(source)]


def test_folder_in_order_of_name_without_depth(folder: Path) -> None:
    assert names(str(folder)) == ["a.jpg", "b.png", "c[1].png"]


def test_file_even_with_brackets_in_its_name(folder: Path) -> None:
    loaded = images.load_source(str(folder / "c[1].png"))
    assert [image.pixels.shape for image in loaded] == [(5, 8, 3)]
    assert loaded[0].name == str(folder / "c[1].png")


def test_patterns(folder: Path) -> None:
    assert names(f"{folder}/*.png") == ["b.png", "c[1].png"]
    assert names(f"{folder}/**/*.png") == ["b.png", "c[1].png", "d.png"]


def test_home_is_expanded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/b.png") == ["b.png"]


def test_a_user_that_is_none_is_a_name_like_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (6, 5)).save("~nobody-of-this-name.png")
    assert names("~nobody-of-this-name.png") == ["~nobody-of-this-name.png"]


def test_files_are_named_without_being_read(folder: Path) -> None:
    assert [path.name for path in images.source_files(str(folder))] == ["a.jpg", "b.png", "c[1].png"]
    assert images.source_files("builtin:coffee") == []


def test_more_pixels_are_read_where_they_are_allowed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12)  # 6 x 5 pixels are more than twice as many
    with pytest.raises(InputError, match=r"b.png: more than 12 pixels .* raise max_pixels"):
        images.load_source(str(folder / "b.png"))
    (image,) = images.load_source(str(folder / "b.png"), max_pixels=30)
    assert image.pixels.shape == (5, 6, 3)
    with pytest.raises(InputError, match="more than 29 pixels"):
        images.load_source(str(folder / "b.png"), max_pixels=29)
    assert Image.MAX_IMAGE_PIXELS == 12


def test_builtin() -> None:
    (image,) = images.load_source("builtin:chelsea")
    assert image.name == "builtin:chelsea"
    assert image.pixels.shape == (300, 451, 3)
    assert image.pixels.dtype == np.uint8


def test_several_photographs() -> None:
    assert [image.name for image in images.load_source("builtin:rocket+coffee")] == [
        "builtin:rocket",
        "builtin:coffee",
    ]
    assert images.source_files("builtin:rocket+coffee") == []
    assert builtin.names_in("builtin:rocket+coffee") == ("rocket", "coffee")
    assert builtin.names_in("rocket+coffee") == builtin.names_in("synthetic:fractal@0") == ()


def test_shrunk_pixels_are_means() -> None:
    (image,) = images.load_source("builtin:chelsea")
    shrunk = image.shrunk(4)
    assert shrunk.name == image.name
    assert shrunk.record()["shape"] == [75, 113, 3]
    whole = image.pixels[:300, :448].reshape(75, 4, 112, 4, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(shrunk.pixels[:, :112], whole, atol=0.51)
    rest = image.pixels[:, 448:].reshape(75, 4, 3, 3).mean(axis=(1, 2))  # the last 3 of 451 columns
    np.testing.assert_allclose(shrunk.pixels[:, 112], rest, atol=0.51)
    assert image.shrunk(1) is image
    assert image.shrunk(65535).pixels.shape == (1, 1, 3)


def test_bad_sources(folder: Path) -> None:
    (folder / "void").mkdir()
    cases = {
        "": "no source image",
        f"{folder}/void": "no images in it",
        f"{folder}/*.gif": "no file matches",
        f"{folder}/absent.png": "no such file",
        f"{folder}/README.txt": "not an image",
        "builtin:mona_lisa": "astronaut",
        "builtin:coffee+mona_lisa": "builtin:mona_lisa: no such photograph",
        "builtin:coffee+": "builtin:: no such photograph",
        "builtin:coffee+rocket+coffee": "names coffee twice",
    }
    for source, message in cases.items():
        with pytest.raises(InputError, match=message):
            images.load_source(source)


def test_a_pattern_counts_a_file_behind_loops_of_links_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "a" / "x.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "y.png").symlink_to(tmp_path / "a" / "x.png")
    assert [image.name for image in images.load_source(f"{tmp_path}/**/*.png")] == [f"{tmp_path}/a/x.png"]
