"""Commands and programs in the documentation work: guides at small size, the others as far as their settings are read.

Every block of bash or Python counts, unless the comment `<!-- not run: REASON -->` stands before it. What this module
does not know how to check fails, so that a page can't drift from the program.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import runpy
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import run_cli
from PIL import Image

import ssl_single_image as ssi
from ssl_single_image import datasets
from ssl_single_image.cli import common
from ssl_single_image.datasets import convert
from ssl_single_image.experiments import configs

ROOT = run_cli.ROOT
SIGNATURES = "docs/architecture.md"
"""A page whose Python blocks are signatures, not programs."""
GUIDES = (
    "README.md",
    "docs/analysis.md",
    "docs/augmentation.md",
    "docs/baselines.md",
    "docs/datasets.md",
    "docs/pretraining.md",
    "docs/probing.md",
    "docs/reports.md",
    "docs/robustness.md",
    "docs/weights.md",
)
"""Pages whose commands are run. Of all others the settings are read."""
TRAINED = {
    "README.md": "cat",
    "docs/analysis.md": "rotnet",
    "docs/baselines.md": "rotnet",
    "docs/datasets.md": "rotnet",
    "docs/probing.md": "rotnet",
    "docs/reports.md": "rotnet",
    "docs/robustness.md": "rotnet",
    "docs/weights.md": "rotnet",
}
"""Guide -> the folder in `runs/` where it finds a pretrained network."""
PAGES = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))]

STEPS = {"steps": 2, "batch_size": 4, "log_every": 1, "eval_batches": 1}
PROBE = {"epochs": 1, "batch_size": 8, "train_images": 16, "test_images": 8, "max_features": 192}
SMALL = {
    "pretrain": ["--devices=1", *(f"--config.{name}={value}" for name, value in STEPS.items())],
    "probe": [f"--config.{name}={value}" for name, value in PROBE.items()],
    "finetune": ["--devices=1", *(f"--config.{name}={value}" for name, value in STEPS.items())],
    "sample": ["--count=4", "--size=16"],
    "analyse": ["--images=8"],
    "stylize": ["--size=32", "--steps=2"],
    "export": [],
    "report": [],
    "status": [],
    "prepare": [],
}
"""Flags that make a command small; the last value of a flag counts."""
READ_ONLY = {
    "--config rotnet:image=cat.jpg --workdir runs/cat": "docs/pretraining.md has such a command",
    "runs/long": "differs from an earlier command in numbers alone",
    "runs/nin": "another network takes long to compile, and tests/unit/test_models.py has it",
    "runs/c10-long": "differs from an earlier command in numbers alone",
    "prepare --dataset cifar10": "downloads",
    "unlabelled:cifar10": "needs the set, and tests/unit/test_sources.py has such a run",
    "kind=knn": "it votes among more images than the small size has, and tests/unit/test_closed_probes.py has it",
    "kind=fewshot": "likewise",
    "options.retrain=true": "fits classifiers 95 times, and tests/unit/test_shifted_probes.py has it",
    "runs/scattering": "it has more channels than the small size keeps, and tests/unit/test_scattering.py has it",
    "esvm:alexnet32": "takes a minute, and tests/unit/test_exemplars.py has it",
    "kmeans:alexnet32": "takes a minute, and tests/unit/test_kmeans_init.py has it",
}
"""Part of a command in a guide -> why only its settings are read."""
CHANGES = {
    "README.md": {"steps=100": "**STEPS", '"photos"': 'ssi.probe_config("photos", **PROBE)'},
    "docs/analysis.md": {"images=64": "images=8", "size=64, steps=4": "size=32, steps=2"},
    "docs/augmentation.md": {"jnp.arange(256)": "jnp.arange(8)"},
    "docs/baselines.md": {"steps=100": "**STEPS"},
    "docs/pretraining.md": {'ssi.pretrain(config, "runs/upright")': 'configs.read("pretrain", config)'},
    "docs/probing.md": {"train_images=5000, test_images=2000": "**PROBE"},
}
"""Page -> what is replaced in its Python blocks to make them small."""


@dataclasses.dataclass(frozen=True)
class Block:
    language: str
    text: str
    reason: str
    """Why it is not run; "" if it is."""

    def commands(self) -> Iterator[list[str]]:
        """The words of each line, continued lines joined and comments left out."""
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    found = re.findall(
        r"(?:^<!-- not run: (.+?) -->\n)?^( *)```(\w*)\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL
    )
    assert len(found) == len(re.findall(r"^ *```", text, re.MULTILINE)) / 2, f"{page}: a block is left open"
    return [Block(language, body, reason) for reason, _, language, body in found]


def read_settings(words: list[str]) -> None:
    """Parses a command and reads its config, as the command does before it begins."""
    command = words[0]
    args = common.parse(command, command, words)
    if command in configs.SCHEMAS:
        configs.read(command, args.config)
    assert command == "report" or not args.positional, f"{words} has words that are no flags"


def made(words: list[str]) -> None:
    """A target of the Makefile, and the settings of the commands in it."""
    done = subprocess.run(
        ["make", "-n", "-o", ".venv/.installed", *words[1:]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.replace("\\\n", " ").splitlines():
        program, _, rest = line.partition(" ")
        if program.endswith("/ssl-single-image"):
            read_settings(shlex.split(rest))


def installed(words: list[str]) -> None:
    """`pip install`: the extras exist."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"\.\[([\w,]+)\]", " ".join(words))
    assert set(asked.split(",")) <= set(extras)


def launched(words: list[str]) -> None:
    """A launcher, and the settings of the command that it starts."""
    place = next(i for i, word in enumerate(words) if word.startswith("launch/"))
    assert (ROOT / words[place]).exists()
    rest = words[place + 1 :]
    read_settings(rest[rest.index("--") + 1 :] if "--" in rest else rest)


def swept(words: list[str]) -> None:
    """A sweep: its flags, and the settings of every point."""
    assert words[1] == "launch/sweep.py"
    names = runpy.run_path(str(ROOT / words[1]))
    args = names["options"]()
    command = args(words[1:])[1:]
    if command[0] == "study":
        read_settings(command)
        return
    for more in names["settings_of"](args):
        read_settings([*command, *more, f"--workdir={args.workdir}"])


def on_a_pod(words: list[str]) -> None:
    """launch/tpu_pod.sh: its options, and the settings of the command."""
    place = words.index("--")
    done = subprocess.run(
        [*words[:place], "--dry_run", *words[place:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    read_settings(words[place + 1 :])


READERS: dict[str, Callable[[list[str]], None]] = {
    "ssl-single-image": lambda words: read_settings(words[1:]),
    "make": made,
    "pip": installed,
    "launch/local.sh": launched,
    "launch/tpu_pod.sh": on_a_pod,
    "python": swept,
    "sbatch": launched,
}
"""First word of a line -> how it is checked without being run."""


def read(page: str, words: list[str]) -> None:
    assert words[0] in READERS, f"{page}: no test knows how to check {' '.join(words)!r}"
    READERS[words[0]](words)


def small_photograph() -> Image.Image:
    return Image.fromarray(ssi.load_source("builtin:coffee")[0].pixels[:200, :300])


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: a photograph, a labelled set under CIFAR-10's name, a pretrained network."""
    place = tmp_path_factory.mktemp("home")
    small_photograph().save(place / "cat.jpg")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = place / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(8):
                pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    convert.prepare_folder(str(place / "images"), "cifar10", str(place / "tensorflow_datasets"))
    (place / "data").symlink_to("tensorflow_datasets")
    ssi.pretrain(
        ssi.pretrain_config("rotnet", preset="demo", image="builtin:coffee", **STEPS), place / "rotnet"
    )
    return place


@pytest.fixture
def workplace(
    home: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """An empty folder with the photograph and, where a guide begins with one, a pretrained network."""
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    shutil.copy(home / "cat.jpg", tmp_path)
    folder = TRAINED.get(request.getfixturevalue("page"))
    if folder:
        shutil.copytree(home / "rotnet", tmp_path / "runs" / folder)
    return tmp_path


def run_python(page: str, text: str, names: dict[str, Any]) -> None:
    for old, new in CHANGES.get(page, {}).items():
        text = text.replace(old, new)
    exec(compile(text, page, "exec"), names)


@pytest.mark.parametrize("page", GUIDES)
def test_guides_run(page: str, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"STEPS": STEPS, "PROBE": PROBE, "configs": configs}
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "python":
            with contextlib.chdir(workplace), jax.numpy_dtype_promotion("standard"):
                run_python(page, block.text, names)
        for words in block.commands() if block.language == "bash" else ():
            line = " ".join(words)
            if words[0] != "ssl-single-image" or any(part in line for part in READ_ONLY):
                read(page, words)
            else:
                status = run_cli.call([*words[1:], *SMALL[words[1]]], workplace)
                assert status == 0, f"{line}: {capsys.readouterr().err}"
    if page == "docs/augmentation.md":
        check_crops(names, workplace)


def check_crops(names: dict[str, Any], workplace: Path) -> None:
    """The crops that the guide renders are those that an export of seed 0 writes, to the rounding of colours."""
    target = ssi.export_crops("builtin:coffee", workplace / "seed0", 8, names["spec"], seed=0)
    written = np.stack([np.asarray(Image.open(path)) for path in sorted(target.glob("*/*.png"))])
    np.testing.assert_allclose(255 * np.asarray(names["crops"]), written, atol=0.51 + 255 / 1020)


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(GUIDES)))
def test_settings_of_other_pages_are_read(page: str) -> None:
    for block in blocks(page):
        if block.language == "bash" and not block.reason:
            for words in block.commands():
                read(page, words)
        elif block.language == "python" and page != SIGNATURES:
            assert block.reason or re.fullmatch(r"import .*\n", block.text), f"{page}: {block.text}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_in_blocks_that_are_checked(page: str) -> None:
    for block in blocks(page):
        command = re.search(rf"^({'|'.join(READERS)}) ", block.text, re.MULTILINE)
        assert block.language == "bash" or not command, f"{page}: {block.text}"


def test_tables_of_this_module_name_what_there_is() -> None:
    guides = {page: (ROOT / page).read_text() for page in GUIDES}
    for part in READ_ONLY:
        assert any(part in " ".join(text.split()) for text in guides.values()), part
    for page, changes in CHANGES.items():
        for old in changes:
            assert old in guides[page], f"{page}: {old}"
    assert datasets.ALIASES["cifar10"] == "tfds:cifar10"  # so that no test downloads it


@pytest.mark.parametrize("page", PAGES)
def test_scripts_that_pages_name_have_these_flags(page: str) -> None:
    shared = (ROOT / "benchmarks" / "common.py").read_text()
    for script, rest in re.findall(
        r"python\s+((?:benchmarks|examples)/\w+\.py)([^`]*)`", (ROOT / page).read_text()
    ):
        source = (ROOT / script).read_text() + shared
        for flag in re.findall(r"--[\w-]+", rest):
            assert f'"{flag}"' in source, f"{page}: {script} has no {flag}"


@pytest.mark.slow
def test_the_gallery_draws_its_page(tmp_path: Path) -> None:
    small_photograph().save(tmp_path / "cat.jpg")
    gallery = runpy.run_path(str(ROOT / "examples" / "gallery.py"))
    with jax.numpy_dtype_promotion("standard"):
        gallery["main"](str(tmp_path / "cat.jpg"), str(tmp_path / "gallery"))
    page = (tmp_path / "gallery" / "index.html").read_text()
    pictures = re.findall(r'src="(\d\.png)"', page)
    assert len(pictures) == 5
    assert all((tmp_path / "gallery" / name).exists() for name in pictures)
