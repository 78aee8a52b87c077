"""Damaged checkpoints: a run goes on from the newest whole one, says so, and loses nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import jax
import pytest
from checkpoint_fakes import encoder, make_state, save

from ssl_single_image.runs import rescue
from ssl_single_image.runs.checkpoint import CheckpointStore, finished
from ssl_single_image.types import EncoderVariables, InputError

__all__ = ["encoder"]


def truncate(place: Path) -> None:
    largest = max((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: largest.stat().st_size // 2])


def flip(place: Path) -> None:
    largest = max((path for path in place.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)


def empty(place: Path) -> None:
    shutil.rmtree(place)
    place.mkdir()


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "corrupted": flip,
    "an item is missing": lambda place: shutil.rmtree(place / "state"),
    "the meta item is missing": lambda place: (place / "meta" / "metadata").unlink(),
    "empty": empty,
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, encoder: EncoderVariables) -> Path:
    """Checkpoints of steps 3, 6 and 9."""
    folder = tmp_path_factory.mktemp("run")
    save(folder, encoder, 3, 6, 9)
    return folder


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_run_goes_on_from_the_newest_whole_checkpoint(
    run: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    DAMAGES[damage](run / "checkpoints" / "9")
    assert rescue.set_aside(run) == [9]
    assert finished(run / "checkpoints") == [3, 6]
    assert (run / rescue.DAMAGED / "9").is_dir()
    assert caplog.messages[-1] == "the run goes on from step 6"
    assert str(run / rescue.DAMAGED / "9") in caplog.messages[-2]
    store = CheckpointStore(run)
    assert int(store.restore(jax.eval_shape(make_state)).step) == 6
    store.close()


def test_older_damage_is_left_alone(run: Path) -> None:
    truncate(run / "checkpoints" / "6")
    assert rescue.set_aside(run) == []
    assert finished(run / "checkpoints") == [3, 6, 9]


def test_several_are_set_aside_and_none_is_overwritten(run: Path) -> None:
    (run / rescue.DAMAGED / "9").mkdir(parents=True)
    for step in ("6", "9"):
        truncate(run / "checkpoints" / step)
    assert rescue.set_aside(run) == [9, 6]
    assert sorted(path.name for path in (run / rescue.DAMAGED).iterdir()) == ["6", "9", "9-2"]


def test_nothing_is_touched_where_none_is_whole(run: Path) -> None:
    for step in ("3", "6", "9"):
        truncate(run / "checkpoints" / step)
    with pytest.raises(InputError, match=r"no older one is whole: begin anew in another workdir"):
        rescue.set_aside(run)
    assert finished(run / "checkpoints") == [3, 6, 9]


def test_a_run_without_checkpoints_begins(tmp_path: Path) -> None:
    assert rescue.set_aside(tmp_path) == []


def test_checkpoints_in_a_folder_named_from_the_current_one_are_whole(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    assert rescue.set_aside(Path(run.name)) == []
    assert finished(Path(run.name) / "checkpoints")[-1] == 9
