"""A study: what is done and in which order, and what a failure or a changed recipe does."""

from __future__ import annotations

import errno
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import tiny_backbone
from study_fakes import HEADS, TINY, Fakes, config, drive, fakes, record, row

from ssl_single_image.experiments import studying
from ssl_single_image.experiments.studying import driver, plan, state
from ssl_single_image.runs.signals import Stopped
from ssl_single_image.types import InputError

__all__ = ["fakes", "tiny_backbone"]

# What there is to do


def test_first_seeds_come_before_second_ones_and_rows_without_a_source_are_left_out() -> None:
    study = config(row("a", seeds=2), row("b"), row("c", source="absent"))
    assert [unit.name for unit in plan.units(study)] == ["a-0", "b-0", "a-1"]
    assert plan.left_out(study) == ["c"]
    assert [unit.name for unit in plan.units(study, ["b*", "a-1"])] == ["b-0", "a-1"]


def test_steps_follow_from_views_and_budget() -> None:
    def steps(**fields: Any) -> tuple[int, int, int]:
        (unit,) = plan.units(config(row("a"), **fields))
        return unit.pretraining.steps, unit.crops, unit.views

    assert steps() == (2, 8, 32)  # four crops a step, four views of each
    assert steps(budget=3.0) == (6, 24, 96)
    assert steps(budget=0.001) == (1, 4, 16)
    assert plan.units(config(row("a"), budget=4.0))[0].finetuning.steps == 8


def test_seeds_and_sources_reach_config_and_reference() -> None:
    made = config(
        row("a", seeds=2), row("k", reference="kmeans:tiny,source={source}@{seed}", source="b", seeds=2)
    )
    first, kmeans, second, other = plan.units(made)
    assert (first.pretraining.seed, second.pretraining.seed) == (0, 1)
    assert first.pretraining.source == "builtin:astronaut"
    assert kmeans.references(Path("x")) == ["kmeans:tiny,source=builtin:astronaut@0"]
    assert other.references(Path("x")) == ["kmeans:tiny,source=builtin:astronaut@1"]


def test_a_run_with_two_encoders_has_two_references() -> None:
    unit = plan.units(config(row("a", encoders=("discriminator", ""), frozen="discriminator")))[0]
    assert unit.references(Path("S")) == ["S/pretrain/a-0#discriminator", "S/pretrain/a-0"]
    assert unit.frozen_from(Path("S")) == "S/pretrain/a-0#discriminator"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([row("a"), row("a")], "two rows have the same name"),
        ([row("A")], "name 'A' must be of small letters"),
        ([row("a", reference="none", pretrain="rotnet")], "a must have either pretrain or reference"),
        ([row("a", source="c")], "source of a = 'c': unknown; there are absent, b"),
        ([row("a", stages=("probed",))], "must be one of probe, finetune, analyse"),
        ([row("a", tables=("table",))], "must be one of headline"),
        ([row("a", compared=("b",), stages=("analyse",))], "compared of a = 'b': unknown"),
        ([row("a", compared=("a",))], "analyse is not among its stages"),
        ([row("a", fields=3)], "fields of a must be a mapping"),
    ],
)
def test_bad_rows_are_refused(rows: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        config(*rows)


def test_what_would_fail_later_is_said_at_once(tmp_path: Path) -> None:
    def refused(words: str, *rows: dict[str, Any], **more: Any) -> None:
        patterns = more.pop("rows", ())
        with pytest.raises(InputError, match=words):
            studying.study(config(*rows, **more), tmp_path / "s", rows=patterns)
        assert not (tmp_path / "s").exists()

    refused("row a: stepz: no such field", row("a", fields={"stepz": 3}))
    refused(r"sources.b: /nowhere.jpg: no such file", row("a"), sources={"b": "/nowhere.jpg"})
    refused(
        "no row is left: a need a source", row("a", source="absent"), row("b", reference="none"), rows=["a"]
    )
    refused(r"--rows=x\*: matches no row; there are a", row("a"), rows=["x*"])
    refused("rows: the study has none")
    refused("epochz: no such field", row("a"), probe_fields={"epochz": 1})


# Doing it


def test_every_stage_is_done_once_and_a_second_call_does_nothing(tmp_path: Path, fakes: Fakes) -> None:
    study = config(row("a", stages=("probe", "finetune"), seeds=2), row("r", reference="random:tiny"))
    drive(tmp_path, study)
    expected = [("pretrain", "a-0"), ("probe", "a-0"), ("finetune", "a-0"), ("probe", "r-0")]
    assert fakes.calls == [
        *expected,
        ("pretrain", "a-1"),
        ("probe", "a-1"),
    ]  # fine-tuning for the first seed alone
    drive(tmp_path, study)
    assert len(fakes.calls) == 6
    found = record(tmp_path, study, "a-0")
    assert (found.state, found.tried, found.crops, found.views) == (state.DONE, 1, 8, 32)
    assert found.seconds.keys() == {"pretrain", "probe", "finetune"}


def test_a_failed_row_is_recorded_and_tried_again_last(tmp_path: Path, fakes: Fakes) -> None:
    study = config(row("a"), row("b"))

    def fail(stage: str, name: str) -> None:
        if (stage, name) == ("probe", "a-0"):
            raise ZeroDivisionError("three\nlines\nof text")

    fakes.before = fail
    made = drive(tmp_path, study)
    assert made.failed == {"a-0": "ZeroDivisionError: three lines of text"}
    found = record(tmp_path, study, "a-0")
    assert (found.state, found.stage, found.reason) == (state.FAILED, "probe", made.failed["a-0"])
    assert "Traceback" in (tmp_path / "rows" / "a-0" / "error.txt").read_text()
    assert fakes.calls == [("pretrain", "a-0"), ("pretrain", "b-0"), ("probe", "b-0")]
    fakes.before, fakes.calls = (lambda stage, name: None), []
    assert drive(tmp_path, config(row("a"), row("b"), row("c"))).failed == {}
    assert fakes.calls == [
        ("pretrain", "c-0"),
        ("probe", "c-0"),
        ("probe", "a-0"),
    ]  # its checkpoint was there
    assert record(tmp_path, study, "a-0").state == state.DONE
    assert not (tmp_path / "rows" / "a-0" / "error.txt").exists()


def test_a_row_that_may_bring_drivers_down_comes_last(tmp_path: Path, fakes: Fakes) -> None:
    """As one that takes more memory than there is: the process is killed, and nothing can be recorded."""
    study = config(row("a"), row("b"))
    unit = plan.units(study)[0]
    state.folder(tmp_path, unit).mkdir(parents=True)
    state.write(tmp_path, unit, state.Record(state.WORKING, "pretrain", tried=driver.TRIES))
    drive(tmp_path, study)
    assert [name for _, name in fakes.calls] == ["b-0", "b-0", "a-0", "a-0"]


def test_a_full_disk_ends_the_driver(tmp_path: Path, fakes: Fakes) -> None:
    def fail(stage: str, name: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    fakes.before = fail
    with pytest.raises(OSError, match="No space left"):
        drive(tmp_path, config(row("a"), row("b")))
    assert record(tmp_path, config(row("a")), "a-0").state == state.WORKING  # and is done first by the next


@pytest.mark.parametrize("raised", [Stopped(signal.SIGTERM, 3), KeyboardInterrupt()])
def test_a_signal_ends_the_driver_and_the_next_goes_on(
    tmp_path: Path, fakes: Fakes, raised: BaseException
) -> None:
    study = config(row("a"), row("b"))

    def stop(stage: str, name: str) -> None:
        if (stage, name) == ("probe", "a-0"):
            raise raised

    fakes.before = stop
    with pytest.raises(type(raised)):
        drive(tmp_path, study)
    assert record(tmp_path, study, "a-0").state == state.WAITING
    fakes.before = lambda stage, name: None
    drive(tmp_path, study)
    assert fakes.calls == [("pretrain", "a-0"), ("probe", "a-0"), ("pretrain", "b-0"), ("probe", "b-0")]


def test_a_row_is_compared_with_rows_that_were_trained_before(tmp_path: Path, fakes: Fakes) -> None:
    study = config(row("a", stages=("analyse",), compared=("b",)), row("b", seeds=2))
    drive(tmp_path, study, "a")
    assert fakes.calls == [
        ("pretrain", "b-0"),
        ("probe", "b-0"),
        ("pretrain", "a-0"),
        ("analyse a-0 b-0", "a-0"),
    ]


def test_a_row_whose_partner_fails_fails_with_it(tmp_path: Path, fakes: Fakes) -> None:
    def fail(stage: str, name: str) -> None:
        if (stage, name) == ("pretrain", "b-0"):
            raise InputError("no such image")

    fakes.before = fail
    made = drive(tmp_path, config(row("a", stages=("analyse",), compared=("b",)), row("b")))
    assert made.failed == {"b-0": "no such image", "a-0": "it is compared with b-0, which failed"}


def test_the_encoder_of_a_row_without_checkpoint_is_trained_again_where_another_row_needs_it(
    tmp_path: Path, fakes: Fakes
) -> None:
    """As of rows whose small files alone were kept."""
    drive(tmp_path, config(row("b")))
    unit = plan.units(config(row("b")))[0]
    for path in sorted((tmp_path / "pretrain").rglob("*"), reverse=True):
        path.rmdir()
    assert not state.trained(tmp_path, unit)
    drive(tmp_path, config(row("b")))
    assert fakes.calls == [("pretrain", "b-0"), ("probe", "b-0")]  # complete without it
    drive(tmp_path, config(row("b"), row("a", stages=("analyse",), compared=("b",))))
    assert fakes.calls[2:] == [("pretrain", "b-0"), ("pretrain", "a-0"), ("analyse a-0 b-0", "a-0")]


def test_another_recipe_is_refused_and_fields_without_effect_are_not_part_of_it(
    tmp_path: Path, fakes: Fakes
) -> None:
    study = config(row("a"))
    drive(tmp_path, study)
    drive(tmp_path, config(row("a", method="another name", fields=TINY | {"log_every": 1}), title="other"))
    assert len(fakes.calls) == 2
    with pytest.raises(
        InputError, match=r"row a-0: probe was done by another recipe \(pretrain.steps was 2, is 4\)"
    ):
        drive(tmp_path, config(row("a"), budget=2.0))
    with pytest.raises(InputError, match=r"probe.epochs was 2, is 3"):
        drive(tmp_path, config(row("a"), probe_fields=HEADS | {"epochs": 3}))


def test_a_recipe_of_before_a_field_was_there_counts_with_its_default(tmp_path: Path, fakes: Fakes) -> None:
    study = config(row("a"))
    drive(tmp_path, study)
    path = tmp_path / "rows" / "a-0" / "row.json"
    stored = json.loads(path.read_text())
    del stored["recipes"]["probe"]["pretrain"]["view_hflip"]
    path.write_text(json.dumps(stored))
    drive(tmp_path, study)
    assert len(fakes.calls) == 2
    with pytest.raises(InputError, match=r"view_hflip was 0.0, is 0.5"):
        drive(tmp_path, config(row("a", fields=TINY | {"view_hflip": 0.5})))
