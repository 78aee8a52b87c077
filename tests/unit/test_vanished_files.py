"""A data file that vanishes while a run trains: the run ends with its name, and goes on once it is back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loop_fakes import data, lines, make_objective, run
from PIL import Image

from ssl_single_image import datasets
from ssl_single_image.datasets import records
from ssl_single_image.runs import checkpoint
from ssl_single_image.types import InputError


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A set of 12 images that are each a colour of their own."""
    for number in range(12):
        for part in ("train", "test"):
            file = tmp_path / "pictures" / part / "ab"[number % 2] / f"{number}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((16, 16, 3), 20 * number, np.uint8)).save(file)
    return tmp_path / "pictures"


@pytest.mark.parametrize("change", ["deleted", "cut"])
def test_a_run_ends_with_the_name_of_a_file_and_goes_on_once_it_is_back(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr(
        records, "MEMORY_LIMIT", 0
    )  # as of a set too large for memory: files are read in turn
    split = datasets.load(f"folder:{pictures}", size=16).train

    def train(step: int) -> Iterator[Any]:
        return (float(batch.image.mean()) / 255 for batch in split.batches(4, seed=3, start=step))

    inputs = dataclasses.replace(data(), train=train)
    whole = run(tmp_path / "whole", steps=40, inputs=inputs)
    victim = pictures / "train" / "a" / "6.png"
    content = victim.read_bytes()

    def damage(step: int) -> None:
        if step == 6:
            victim.unlink() if change == "deleted" else victim.write_bytes(content[:40])

    place = tmp_path / "parts"
    with pytest.raises(InputError, match=r"6\.png"):
        run(place, steps=40, inputs=inputs, objective=make_objective(on_step=damage))
    saved = checkpoint.finished(place / checkpoint.CHECKPOINTS)
    assert saved
    assert 4 <= saved[-1] < 40
    victim.write_bytes(content)
    resumed = run(place, steps=40, inputs=inputs)
    np.testing.assert_array_equal(resumed.params["w"], whole.params["w"])
    assert lines(place) == lines(tmp_path / "whole")
