"""A disk that is really full: a small one in memory, mounted for one process in a namespace of its own.

Each test fills the disk, looks at what is left, makes it larger and gives the same command again.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds
from run_cli import ROOT, environment, pretrain_command, run

NAMESPACE = ["unshare", "--map-root-user", "--mount", "bash", "-c"]
COMMAND = f"{sys.executable} -m ssl_single_image"


@pytest.fixture(scope="module", autouse=True)
def _namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("disk")
    try:
        in_a_small_disk(folder, "1m", "true")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"this host lets no user mount a disk in a namespace ({error})")


def in_a_small_disk(folder: Path, size: str, script: str) -> tuple[list[str], str]:
    """Runs a script with a disk of `size` at `folder`; returns lines of its stdout, and its stderr."""
    done = subprocess.run(
        [*NAMESPACE, f"mount -t tmpfs -o size={size} none {folder} || exit 9; cd {ROOT}; {script}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return done.stdout.splitlines(), done.stderr


def test_a_run_keeps_its_last_checkpoint_and_is_resumed(tmp_path: Path) -> None:
    place, kept, whole = tmp_path / "disk", tmp_path / "kept", tmp_path / "whole"
    place.mkdir()
    words = ["--config.steps=4", "--config.checkpoint_every=1"]
    command = " ".join(pretrain_command(place / "run", *words))
    report = f"{COMMAND} report --workdir {place}/report {place}/run"
    script = (
        f"{command}; echo $?; echo ---- >&2; cat /dev/zero 2>/dev/null > {place}/fill; {report}; echo $?;"
        f" echo ---- >&2; rm {place}/fill; ls -A {place} {place}/report;"
        f" mount -o remount,size=200m {place}; {command}; echo $?; cp -r {place}/run {kept}"
    )
    out, errors = in_a_small_disk(place, "30m", script)
    first, reported, second = errors.split("----\n")
    assert out[:2] == ["1", "1"]
    assert "Traceback" not in errors
    assert "No space left on device" in reported.splitlines()[-1]
    assert not [name for name in out if name.endswith(".tmp")]
    assert first.splitlines()[-1].endswith(
        "a checkpoint could not be written (the disk is full); the state of step 1 is saved"
    )
    assert out[-1] == "0", second
    assert run(pretrain_command(whole, *words)).returncode == 0
    assert (kept / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


@pytest.mark.parametrize(
    ("name", "form", "size"),
    [("crops", "png", "700k"), ("crops", "array_record", "64k"), ("crops.array_record", "png", "64k")],
)
def test_an_export_is_continued(tmp_path: Path, name: str, form: str, size: str) -> None:
    place, kept = tmp_path / "disk", tmp_path / "kept"
    place.mkdir()
    words = f"sample --image builtin:coffee --size 8 --format {form}"
    command = f"{COMMAND} {words} --count 200 --export {place}/{name}"
    script = (
        f"{command}; echo $?; ls -A {place}; mount -o remount,size=20m {place}; {command}; echo $?;"
        f" cp -r {place} {kept}"
    )
    out, errors = in_a_small_disk(place, size, script)
    assert out[0] == "1"
    assert out[-1] == "0"
    assert "Traceback" not in errors
    assert "the disk is full: 0 crops are written; the same command continues from there" in errors
    assert (
        run(
            [*COMMAND.split(), *words.split(), "--count=200", f"--export={tmp_path / 'whole' / name}"]
        ).returncode
        == 0
    )
    if form == "array_record":  # protocol buffers write their maps in any order
        grown, whole = (
            tfds.builder_from_directory(str(f / name)).as_data_source("train")
            for f in (kept, tmp_path / "whole")
        )
        assert len(grown) == 200
        assert all((grown[i]["image"] == whole[i]["image"]).all() for i in range(200))
    else:
        assert files(kept) == files(tmp_path / "whole")


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".json"
    }


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir()
    sheet = f"{COMMAND} sample --image builtin:coffee --out {place}/sheet.png --noalone"
    out, errors = in_a_small_disk(place, "16k", f"{sheet}; echo $?; ls -A {place}")
    assert out == ["1"]
    assert "sheet.png: the disk is full, nothing is written" in errors.splitlines()[-1]
