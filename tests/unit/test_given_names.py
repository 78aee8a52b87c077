"""Names as users give them: with ~ for the home folder, with commas, and of images with very many pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import ssl_single_image as ssi
from ssl_single_image.cli import common
from ssl_single_image.cli.probe import references
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, presets

TINY = {"steps": 1, "batch_size": 4, "eval_every": 0}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with an image in it; what is written into a folder named ~ would be seen beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    Image.effect_noise((300, 200), 80).convert("RGB").save(tmp_path / "home" / "cat.png")
    return tmp_path / "home"


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        common.run(words[0], list(words))
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_a_synthetic_source_keeps_its_comma() -> None:
    parsed = presets.parse_arg("image=synthetic:fractal,size=512@3,preset=demo", preset="", image="")
    assert parsed.to_dict() == {"preset": "demo", "image": "synthetic:fractal,size=512@3"}


def test_a_run_and_what_follows_it_take_the_home_folder(home: Path) -> None:
    words = [f"--config.{name}={value}" for name, value in TINY.items()]
    assert call("pretrain", "--config=rotnet:preset=demo,image=~/cat.png", "--workdir=~/run", *words) == 0
    assert (home / "run" / "checkpoints").is_dir()
    assert ssi.load_encoder("~/run@1").step == 1
    read = configs.read("pretrain", configs.load("pretrain", "~/run/config.json"))
    assert read.source == "~/cat.png"
    page = ssi.report(["~/run"], "~/report")
    assert Path(page) == home / "report" / "index.html"
    assert list(Path().iterdir()) == []


def test_sheets_and_exports_take_the_home_folder(home: Path) -> None:
    small = ["--image=~/cat.png", "--count=2", "--size=8"]
    assert call("sample", *small, "--out=~/sheet.png", "--noalone") == 0
    assert call("sample", *small, "--export=~/crops") == 0
    assert (home / "sheet.png").is_file()
    assert len(list((home / "crops").glob("*/*.png"))) == 2
    assert call("sample", *small, "--out=~/cat.png") == 2  # the source itself
    assert list(Path().iterdir()) == []


def test_max_pixels_reaches_every_place_that_reads_a_source(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 25_000)  # the image has 60,000
    run = ["pretrain", "--config=rotnet:preset=demo,image=~/cat.png", "--workdir=~/run"]
    run += [f"--config.{name}={value}" for name, value in TINY.items()]
    sheet = ["sample", "--image=~/cat.png", "--count=2", "--size=8"]
    for words in (run, [*sheet, "--out=~/sheet.png"], [*sheet, "--export=~/crops"]):
        assert call(*words) == 2
        assert "raise max_pixels" in capsys.readouterr().err
    assert call(*run, "--config.max_pixels=60000") == 0
    assert (home / "run" / "samples.png").exists()
    assert call(*run, "--config.max_pixels=70000") == 0  # the same run
    assert call(*sheet, "--out=~/sheet.png", "--max_pixels=60000") == 0
    assert call(*sheet, "--export=~/crops", "--max_pixels=60000") == 0
    assert call(*sheet, "--export=~/crops", "--max_pixels=-1") == 2
    assert "max_pixels = -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "defaults", "hint"),
    [
        ("image=a,b.jpg", {"image": "", "preset": ""}, "give --config.source=a,b.jpg"),
        (
            "preset=demo,image=a, b c,d.jpg,preset=x",
            {"image": "", "preset": ""},
            "give '--config.source=a,b c,d.jpg'",
        ),
        ("path=~/a,b", {"path": ""}, "give '--config.dataset=folder:~/a,b'"),
    ],
)
def test_a_name_that_was_cut_at_its_comma_is_told_how_to_be_given(
    argument: str, defaults: dict[str, str], hint: str
) -> None:
    with pytest.raises(InputError) as caught:
        presets.parse_arg(argument, **defaults)
    assert hint in str(caught.value)


def test_other_words_without_a_value_get_no_such_hint() -> None:
    for argument in ("demo", "preset=demo,cat"):
        with pytest.raises(InputError, match="expected key=value") as caught:
            presets.parse_arg(argument, preset="", image="")
        assert "comma" not in str(caught.value)


def test_a_source_with_a_comma_can_be_given(home: Path) -> None:
    (home / "cat.png").rename(home / "a,b.png")
    args = common.parse("x", "pretrain", ["x", "--config=rotnet", "--config.source=~/a,b.png", "--workdir=w"])
    assert len(ssi.load_source(configs.read("pretrain", args.config).source)) == 1


def test_a_checkpoint_with_a_comma_is_told_how_to_be_given(home: Path) -> None:
    (home / "a,b").mkdir()
    with pytest.raises(InputError, match=r"""is cut at a comma; .* --checkpoint='"~/a,b@best"'"""):
        references(["random:nin", "~/a", "b@best"])
    (home / "a,b.pth").touch()
    with pytest.raises(InputError, match=r"""is cut at a comma; .* --checkpoint='"file:~/a,b.pth"'"""):
        references(["random:nin", "file:~/a", "b.pth", "layout=rotnet"])
    given = ["x", "--config=cifar10", '--checkpoint="~/a,b",random:alexnet,variant=bigan', "--workdir=w"]
    words = common.parse("x", "probe", given).checkpoint
    assert references(words) == ["~/a,b", "random:alexnet,variant=bigan"]


def test_a_step_before_a_comma_ends_a_name(home: Path) -> None:
    (home / "run").mkdir()
    assert references(["~/run@all", "random:alexnet32"]) == ["~/run@all", "random:alexnet32"]
