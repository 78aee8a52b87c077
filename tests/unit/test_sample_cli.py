"""The `sample` command: the grid it writes, its list, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_single_image import augment, images
from ssl_single_image.analysis import crops as sheets
from ssl_single_image.cli import common
from ssl_single_image.objectives.common import crops_key


def command(*words: str) -> int:
    with pytest.raises(SystemExit) as caught:
        common.run("sample", ["sample", *words])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_writes_a_labelled_grid_with_the_source(tmp_path: Path) -> None:
    out = tmp_path / "grid.png"
    words = ["--image=builtin:chelsea", f"--out={out}", "--count=6", "--size=16", "--scale=3"]
    assert command(*words) == 0
    first = np.asarray(Image.open(out))
    assert first.shape[1] > 640 + 4 * 48
    assert command(*words) == 0
    np.testing.assert_array_equal(first, np.asarray(Image.open(out)))
    assert command(*words, "--seed=1") == 0
    assert not np.array_equal(first, np.asarray(Image.open(out)))


@pytest.mark.usefixtures("float64")
def test_crops_shown_are_those_of_the_virtual_data_set() -> None:
    import jax
    import jax.numpy as jnp

    source = images.load_source("builtin:coffee")[0]
    spec = augment.CropSpec.preset("paper", 16)
    sheet = np.asarray(sheets.crop_sheet([source, source], spec, 4, seed=3, scale=1))
    atlas = images.build_atlas([source.pixels] * 2)
    crops = jax.jit(lambda a: augment.render_crops(a, crops_key(3), jnp.arange(4), spec))(atlas)
    for crop in np.rint(np.asarray(crops) * 255).astype(np.uint8):
        rows, columns = np.nonzero((sheet == crop[0, 0]).all(axis=-1))
        windows = (sheet[y : y + 16, x : x + 16] for y, x in zip(rows, columns, strict=True))
        assert any(w.shape == crop.shape and (w == crop).all() for w in windows)


def test_lists_photographs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--image=builtin:list") == 0
    text = capsys.readouterr().out
    assert "builtin:coffee" in text
    assert "400 x 600" in text
    assert "CC0" in text


def test_lists_synthetic_images(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--image=synthetic:list") == 0
    text = capsys.readouterr().out
    for name in (
        "synthetic:dead_leaves",
        "synthetic:pink_noise",
        "synthetic:white_noise",
        "synthetic:fractal",
    ):
        assert name in text


def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small, empty = tmp_path / "small.png", tmp_path / "empty.png"
    Image.new("RGB", (20, 20)).save(small)
    empty.touch()
    out = tmp_path / "new" / "grid.png"
    cases = {
        ("--image=builtin:coffee",): "--out: missing",
        (f"--out={out}",): "image",
        (f"--image={small}", f"--out={out}"): "small.png (20 x 20 pixels): too small",
        (f"--image={empty}", f"--out={out}"): "empty",
        (f"--image={tmp_path}/*.gif", f"--out={out}"): "no file matches",
        ("--image=builtin:nothing", f"--out={out}"): "no such photograph",
        ("--image=builtin:coffee", f"--out={out}", "--preset=best"): "paper, authors",
        ("--image=builtin:coffee", f"--out={out}", "--size=2"): "size = 2",
        ("--image=builtin:coffee", f"--out={out}", "--count=0"): "count = 0",
        ("--image=builtin:coffee", f"--out={out}", "--scale=99"): "scale = 99",
        ("--image=builtin:coffee", f"--out={out}", "--seed=-1"): "seed = -1",
        ("--image=builtin:coffee", f"--out={out}", "--sizes=3"): "sizes",
        ("--image=builtin:coffee", f"--out={out}", "--shrink=0"): "shrink = 0",
        (
            "--image=builtin:coffee",
            f"--out={out}",
            "--shrink=40",
        ): "builtin:coffee (10 x 15 pixels): too small",
        ("--image=synthetic:fractal", f"--out={out}"): "has no seed",
        ("--image=unlabelled:", f"--out={out}"): "unknown data set ''",
        ("--image=unlabelled:cifar10", f"--out={out}", f"--data_dir={tmp_path}"): "cifar10 is not in",
        ("--image=unlabelled:photos", f"--out={out}"): "set min_area to 0.004 or more",
    }
    for words, message in cases.items():
        assert command(*words) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert len(error) == 1
        assert message in error[0]
    assert not out.parent.exists()


def test_bad_extension_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--image=builtin:coffee", f"--out={tmp_path}/grid.xyz", "--count=1", "--size=8") == 2
    assert "use .png" in capsys.readouterr().err
