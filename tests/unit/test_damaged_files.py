"""Every kind of file that the program reads, damaged in every way: one line, or a correct result; never a traceback."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from probe_fakes import tiny_backbone, tiny_encoder  # noqa: F401
from test_tables import probe, result

from ssl_single_image import images
from ssl_single_image.analysis import report
from ssl_single_image.errors import InputError
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.runs import load_encoder, workdir
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import State

EXAMPLES = 40
"""Damaged files of each kind."""
bounded = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A way of damaging a file: flipped bits, a cut, nothing left, other bytes in between."""
    kind = draw(st.sampled_from(["flip", "cut", "insert", "zero"]))
    at = draw(st.floats(0, 1, exclude_max=True))
    noise = draw(st.binary(min_size=1, max_size=8))

    def apply(content: bytes) -> bytes:
        place = int(at * max(1, len(content)))
        if kind == "flip":
            return content[:place] + bytes([content[place] ^ (noise[0] | 1)]) + content[place + 1 :]
        if kind == "cut":
            return content[:place]
        if kind == "insert":
            return content[:place] + noise + content[place:]
        return content[:place] + bytes(min(16, len(content) - place)) + content[place + 16 :]

    return apply


@st.composite
def retyped(draw: st.DrawFn) -> Callable[[Any], Any]:
    """A way of damaging JSON: one value somewhere in it becomes another, of any type, or is gone."""
    other: Any = draw(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=4)
        | st.just([])
        | st.just({})
    )
    steps = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5))
    gone = draw(st.booleans())

    def apply(value: Any) -> Any:
        value = json.loads(json.dumps(value))
        inside = value
        for number, step in enumerate(steps):
            keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
            if not keys:
                return value
            key = keys[int(step * len(keys))]
            if number == len(steps) - 1 or not isinstance(inside[key], dict | list):
                if gone and isinstance(inside, dict):
                    del inside[key]
                else:
                    inside[key] = other
                return value
            inside = inside[key]
        return value

    return apply


def one_line_or_a_result(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except InputError as error:
        assert "\n" not in str(error)  # noqa: PT017 (a result is as good)
        return None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pretraining run as the report reads it, of the tiny backbone."""
    folder = tmp_path_factory.mktemp("runs") / "rotnet"
    folder.mkdir()
    config = {"objective": "rotnet", "source": "a.png", "backbone": "tiny", "steps": 20, "batch_size": 4}
    (folder / workdir.CONFIG).write_text(json.dumps(config))
    lines = [{"step": step, "train/loss": 1.0 / step, "eval/loss": 2.0} for step in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    store = CheckpointStore(folder)
    store.save(State(np.int32(20), {}, {}, {}, {}), tiny_encoder(), config, {"eval/loss": 1.2})  # type: ignore[arg-type]
    store.close()
    return folder


def with_file(folder: Path, place: Path, name: str, content: bytes) -> Path:
    """A copy of a run's folder in which one file has another content."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place)
    (place / name).write_bytes(content)
    return place


@bounded
@given(damaged=damage())
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF"])
def test_images(form: str, damaged: Callable[[bytes], bytes]) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)).save(out, form)
    pixels = one_line_or_a_result(lambda: images.decode_image(damaged(out.getvalue()), "a.png"))
    assert pixels is None or (pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3)


@bounded
@given(damaged=damage())
@pytest.mark.parametrize("name", ["metrics.jsonl", workdir.CONFIG, "checkpoints/20/meta/metadata"])
def test_files_of_a_run(run: Path, tmp_path: Path, name: str, damaged: Callable[[bytes], bytes]) -> None:
    place = with_file(run, tmp_path / "run", name, damaged((run / name).read_bytes()))
    one_line_or_a_result(lambda: report.build(tmp_path / "report", [place]))


@bounded
@given(change=retyped())
def test_the_meta_of_a_checkpoint(run: Path, tmp_path: Path, change: Callable[[Any], Any]) -> None:
    name = "checkpoints/20/meta/metadata"
    meta = change(json.loads((run / name).read_text()))
    place = with_file(run, tmp_path / "run", name, json.dumps(meta).encode())
    loaded = one_line_or_a_result(lambda: load_encoder(str(place)))
    if loaded is not None and meta.get("sha256"):
        assert dataclasses.asdict(loaded.encoder.spec)["backbone"] == "tiny"


@pytest.mark.filterwarnings("ignore:Glyph")  # the name of a checkpoint may be no text at all
@bounded
@given(change=retyped())
def test_the_results_of_a_probe(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    folder = tmp_path / "probe"
    folder.mkdir(exist_ok=True)
    (folder / workdir.CONFIG).write_text("{}")
    whole = probe(result("runs/a", 61.0, 64.0), result("random:alexnet32", 60.0, 58.0))
    (folder / report.PROBE).write_text(json.dumps(change(whole)))
    one_line_or_a_result(lambda: report.build(tmp_path / "report", [folder]))


@bounded
@given(change=retyped())
def test_the_record_of_a_run_as_a_config(tmp_path: Path, change: Callable[[Any], Any]) -> None:
    record = configs.read("pretrain", pretrain_config("rotnet", preset="demo")).to_config()
    path = tmp_path / "config.json"
    path.write_text(json.dumps(change(record)))
    one_line_or_a_result(lambda: configs.read("pretrain", configs.load("pretrain", str(path))))
