"""Every flag of every command, given every kind of wrong value: status 2, one line that names it, nothing written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from absl import flags

from ssl_single_image.cli import main
from ssl_single_image.cli.flags import COMMANDS, CONFIGURED, define

NUMBERS = ("", "x", "1.5", "nan", "-1", "-7", str(10**30), "1e3", "0x", "[]")
SWITCHES = ("maybe", "2", "None", "-")
WEIGHTS = ("", "x", "nan", "inf", "-1", "1,5")
PLACES = ("", "/dev/null/run", "/proc/run", "taken", "taken/run")
"""Of things to be written; `taken` is a file."""
UNTRAINED = (
    *(f"random:{name}" for name in ("nope", "alexnet32@x", "alexnet32@-1", f"alexnet32@{10**23}")),
    *("random:alexnet32,x=1", "random:alexnet32#x"),
)
BASELINES = (
    "kmeans:",
    "kmeans:alexnet32",
    "kmeans:nope,source=builtin:coffee",
    "kmeans:alexnet32,source=nope.png",
    "scattering:x=1",
    "scattering:J=9",
    "esvm:alexnet32",
    "esvm:alexnet32,alpha=1,source=builtin:coffee",
    "mmcf:resnet18,source=builtin:coffee",
    "patches:alexnet32,source=builtin:coffee",
    "patches:alexnet32,rule=esvm,source=builtin:coffee",
)
FILES = tuple(
    f"file:{name}" for name in ("nope.pth", ".", "taken", "/dev/null", "/dev/zero", "taken,layout=x")
)
TEXTS: dict[tuple[str, str], tuple[str, ...]] = {
    ("pretrain", "workdir"): PLACES,
    ("pretrain", "config"): ("", "nope", "nope.py", "nope.json", "taken", ".", "rotnet:x=1", "cifar10"),
    ("probe", "workdir"): PLACES,
    ("probe", "config"): (
        *("", "nope", "nope.py", "taken", ".", "cifar10:x=1", "rotnet"),
        *(
            "photos:shift=nope,severity=1",
            "photos:shift=jpeg,severity=6",
            "photos:severity=2",
            "photos:retrain=true",
        ),
    ),
    ("probe", "checkpoint"): (
        "",
        ",",
        "nope",
        "taken",
        ".",
        ".@3",
        ".@best",
        ".#x",
        "random:",
        "file:",
        *FILES,
        *UNTRAINED,
        *BASELINES,
    ),
    ("probe", "data_dir"): (),  # `photos` reads none
    ("finetune", "workdir"): PLACES,
    ("finetune", "config"): ("", "nope", "nope.py", "taken", ".", "photos:x=1", "rotnet"),
    ("finetune", "checkpoint"): ("", ",", "nope", "taken", ".", ".@3", "none,none", *UNTRAINED, *BASELINES),
    ("finetune", "data_dir"): (),  # `photos` reads none
    ("study", "workdir"): PLACES,
    ("study", "config"): ("", "nope", "nope.py", "taken", ".", "cifar10:x=1", "rotnet"),
    ("study", "rows"): ("nope", "random,nope", "rotnet-b-9"),
    ("study", "data_dir"): (),  # read when a row's turn comes
    ("study", "keep"): ("taken", "taken/small", "/dev/null/small"),
    ("study", "budget"): ("0", "-1", "nan", "inf", "x"),
    ("analyse", "workdir"): PLACES,
    ("analyse", "what"): ("", "nope", "Layers", "invariances"),
    ("analyse", "checkpoint"): ("", ",", "nope", "taken", ".", ".@3", "random:", *UNTRAINED),
    ("analyse", "data"): ("", "nope", "folder:", "folder:nope", "tfds:", "tfds:nope"),
    ("analyse", "data_dir"): (),  # `photos` reads none
    ("analyse", "layers"): ("nope", "conv1,nope", "conv9"),
    ("analyse", "source"): ("nope.png", "taken", ".", "builtin:nope"),
    ("stylize", "checkpoint"): ("", "nope", "taken", ".", "random:alexnet32,sobel=true", *UNTRAINED),
    ("stylize", "content"): ("", "nope.png", "taken", ".", "builtin:", "builtin:nope"),
    ("stylize", "style"): ("", "nope.png", "taken", ".", "builtin:", "builtin:nope"),
    ("stylize", "out"): ("", ".", "picture", "picture.txt", "taken/a.png", "/dev/null/a.png"),
    ("stylize", "style_layers"): ("nope", "conv1,nope"),
    ("stylize", "content_layer"): ("nope", "conv1,conv2"),
    ("stylize", "style_weight"): WEIGHTS,
    ("stylize", "content_weight"): WEIGHTS,
    ("stylize", "variation_weight"): WEIGHTS,
    ("stylize", "pooling"): ("", "nope", "Max"),
    ("probe", "layers"): ("nope", "conv1,nope"),
    ("sample", "image"): (
        "",
        "nope.png",
        "taken",
        ".",
        "*.nope",
        "builtin:",
        "builtin:nope",
        "/dev/zero",
        "synthetic:nope@0",
        "unlabelled:nope",
    ),
    ("sample", "data_dir"): (),  # photographs are in none
    ("sample", "out"): ("", ".", "sheet", "sheet.txt", "/dev/null/a.png", "/proc/a.png", "taken/a.png"),
    ("sample", "export"): ("taken", "taken/crops", "/dev/null/crops", "/proc/crops"),
    ("sample", "format"): ("gif", "PNG ", "../x"),
    ("sample", "preset"): ("", "nope", "Paper"),
    ("sample", "crop"): ("x", "nope=1", "rotation", "rotation=", "rotation=x", "rotation=nan", "hue=0,hue=x"),
    ("export", "checkpoint"): ("", "nope", "taken", ".@3", "random:", "file:", *FILES, *UNTRAINED),
    ("export", "out"): (
        "",
        ".",
        "net",
        "net.txt",
        "net.npz",
        ".pth",
        "/dev/null/a.pth",
        "/proc/a.pth",
        "taken/a.pth",
    ),
    ("export", "dtype"): ("", "float64", "Float16", "int8"),
    ("export", "licence"): (),  # any text is one
    ("export", "probe"): ("", "nope.json", "taken", ".", "/dev/null"),
    ("pretrain", "profile"): ("5", "5:", ":5", "5:5", "6:5", "-1:5", "a:b", "1:2:3"),
    ("report", "workdir"): PLACES,
    ("report", "every"): ("", "x", "0", "-1", "nan"),
    ("prepare", "dataset"): ("", "nope", "folder:", "folder:nope", "tfds:", "tfds:nope", "cifar10"),
    ("prepare", "data_dir"): ("/dev/null/x", "taken", "nope"),
    ("prepare", "folder"): ("", "nope", "taken", "/dev/null/x"),
    ("prepare", "name"): ("", "a b", "../x", "A-b"),
}
"""(command, flag) -> texts that it does not take."""
LEGAL = [("sample", "max_pixels", str(10**30))]
ANALYSED = {"checkpoint": "random:alexnet32", "workdir": "run"}
BASE: dict[str, dict[str, str]] = {
    "pretrain": {"config": "rotnet:preset=demo,image=builtin:coffee", "workdir": "run"},
    "probe": {"config": "photos", "checkpoint": "random:alexnet32", "workdir": "run"},
    "finetune": {"config": "photos", "checkpoint": "none", "workdir": "run"},
    "study": {"config": "zoo", "workdir": "run"},
    "analyse": ANALYSED,
    "stylize": {
        "checkpoint": "random:alexnet32",
        "content": "builtin:coffee",
        "style": "builtin:chelsea",
        "out": "picture.png",
    },
    "sample": {"image": "builtin:coffee", "out": "sheet.png", "alone": "false"},
    "export": {"checkpoint": "random:alexnet32", "out": "net.pth"},
    "status": {},
    "report": {"workdir": "report"},
    "prepare": {"dataset": "cifar10", "data_dir": "data", "check": "true"},
}
"""What else is given, which is right."""
WITH: dict[tuple[str, str], dict[str, str]] = {
    **{("analyse", flag): ANALYSED | {"what": "invariance"} for flag in ("views", "pairs")},
    **{("analyse", flag): ANALYSED | {"what": "landmarks"} for flag in ("test_images", "steps", "alone")},
    ("analyse", "size"): ANALYSED | {"what": "landmarks"},
    ("sample", "export"): {"image": "builtin:coffee", "count": "1"},
    ("sample", "format"): {"image": "builtin:coffee", "count": "1", "export": "crops"},
    ("prepare", "folder"): {"name": "mine", "data_dir": "data"},
    ("prepare", "name"): {"folder": ".", "data_dir": "data"},
}
"""The same for flags that exclude or need others."""
NEED_NO_VALUE = ("help", "?", "h")


def flags_of(command: str) -> dict[str, flags.Flag]:
    values = flags.FlagValues()
    define(command, values)
    found: dict[str, Any] = {flag.name: flag for flag in values.get_flags_for_module(define.__module__)}
    return found | ({"config": None} if command in CONFIGURED else {})


def cases() -> list[tuple[str, str, str]]:
    found = []
    for command in COMMANDS:
        for name, flag in flags_of(command).items():
            kind = flag.flag_type() if flag is not None else "string"
            values = {"int": NUMBERS, "bool": SWITCHES}.get(kind) or TEXTS[command, name]
            found += [(command, name, value) for value in values]
    return [case for case in found if case not in LEGAL]


CASES = cases()


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 150


@pytest.mark.parametrize("flag", sorted({case[:2] for case in CASES}), ids="-".join)
def test_a_wrong_value_is_refused_by_one_line(
    flag: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, name = flag
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("mine")
    for value in (case[2] for case in CASES if case[:2] == flag):
        given = WITH.get(flag, BASE[command]) | {name: value}
        words = [f"--{key}={text}" for key, text in given.items()]
        with pytest.raises(SystemExit) as caught:
            main.main(["ssl-single-image", command, *words])
        out, errors = capsys.readouterr()
        assert caught.value.code == 2, (value, out, errors)
        lines = [line for line in errors.splitlines() if not line.startswith(("I", "W"))]
        assert len(lines) == 1, (value, errors)
        assert lines[0].startswith(f"ssl-single-image {command}: error: "), (value, lines)
        assert [path.name for path in tmp_path.iterdir()] == ["taken"], value
        assert (tmp_path / "taken").read_text() == "mine"


def test_flags_that_no_command_has(capsys: pytest.CaptureFixture[str]) -> None:
    for command in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main.main(
                ["ssl-single-image", command, *(f"--{k}={v}" for k, v in BASE[command].items()), "--nope=1"]
            )
        assert caught.value.code == 2
        assert "nope" in capsys.readouterr().err
