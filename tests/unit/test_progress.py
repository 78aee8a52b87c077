"""What the progress line says, on a terminal and in a log, and what it counts."""

from __future__ import annotations

import contextlib
import functools
import io
import re
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import pytest

from ssl_single_image import augment, images, objectives
from ssl_single_image.experiments import configs, export, export_crops, pretrain_config, show_crops
from ssl_single_image.runs import progress

SPEC = augment.CropSpec.preset("paper", 8)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """In place of stderr; not a fixture, after which pytest puts its own there."""
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)
    return shown


def test_a_line_of_its_own_vanishes(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    with progress.waiting("thinking"):
        assert shown.getvalue().strip() == "thinking ..."
    assert shown.getvalue().endswith("\r")
    assert shown.getvalue().split("\r")[-2].strip() == ""


def test_a_bar_says_what_it_waits_for_and_goes_on_even_after_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = terminal(monkeypatch)
    with progress.progress_bar(10, 0, "views") as bar:
        bar.set_description("run")
        with contextlib.suppress(OSError), progress.waiting("saving", bar):
            assert bar.desc == "saving: "
            raise OSError
        assert bar.desc == "run: "
    assert "saving:   0%" in shown.getvalue()


def test_a_log_has_two_lines_of_what_is_long_and_none_of_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        with progress.waiting("compiling", done="compiled"):
            pass
        with progress.waiting("decoding a.png"):
            pass
    first, second = (record.getMessage() for record in caplog.records)
    assert first == "compiling ..."
    assert re.fullmatch(r"compiled in [\d.]+ s", second)


def test_a_sheet_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = terminal(monkeypatch)
    show_crops("builtin:coffee", SPEC, count=2)
    assert "decoding builtin:coffee ..." in shown.getvalue()
    assert "drawing 2 crops ..." in shown.getvalue()


def test_an_export_counts_crops_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shown = terminal(monkeypatch)
    export_crops("builtin:coffee", tmp_path, 30, SPEC)
    for what in (
        "decoding builtin:coffee ...",
        "building the atlas ...",
        "compiling: ",
        "30.0/30.0",
        " crops/s",
    ):
        assert what in shown.getvalue()


def test_an_export_tells_a_log_now_and_then(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssl_single_image.experiments.layouts._FOLDER_SHARD", 10)
    for seconds, lines in ((3600.0, 1), (-1.0, 3)):
        monkeypatch.setattr(export, "_SECONDS_BETWEEN_LINES", seconds)
        caplog.clear()
        with caplog.at_level("INFO"):
            export_crops("builtin:coffee", tmp_path / str(lines), 30, SPEC)
        told = [record.getMessage() for record in caplog.records if "crops/s" in record.getMessage()]
        assert len(told) == lines
        assert "30.0/30.0" in told[-1]


@pytest.mark.parametrize(
    "name", sorted(name for name, entry in objectives.OBJECTIVES.items() if not entry.labelled)
)
def test_an_objective_says_how_many_views_its_encoder_sees_of_a_crop(name: str) -> None:
    """Counted by what goes into the backbone while a step is traced."""
    fields = pretrain_config(name, preset="demo", image="builtin:coffee", batch_size=4)
    objective = objectives.find(name).make(configs.read("pretrain", fields).setup())
    atlas = images.build_atlas([images.load_source("builtin:coffee")[0].pixels])
    seen = []

    def look(call: Any, args: Any, keywords: Any, context: nn.module.InterceptorContext) -> Any:
        if context.module.name == "backbone" and context.method_name == "__call__":
            seen.append(len(args[0]))
        return call(*args, **keywords)

    key = jax.random.key(0)
    state = jax.eval_shape(objective.init, key, atlas)
    with nn.intercept_methods(look):
        jax.eval_shape(functools.partial(objective.step, axis_name=None), state, key, atlas)
    assert sum(seen) == 4 * objective.views
