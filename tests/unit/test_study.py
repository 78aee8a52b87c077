"""A study: what is done and in which order, what survives a kill, who does what beside others, and what is reported."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import SIDE, labelled, tiny_backbone

from ssl_single_image import datasets
from ssl_single_image.experiments import configs, studying
from ssl_single_image.experiments.study_settings import StudyConfig
from ssl_single_image.experiments.studying import driver, outcome, plan, state
from ssl_single_image.experiments.studying.driver import Driver
from ssl_single_image.runs import workdir
from ssl_single_image.runs.signals import Stopped
from ssl_single_image.types import Halted, InputError

__all__ = ["tiny_backbone"]

TINY: dict[str, Any] = {
    "backbone": "tiny",
    "crop.size": SIDE,
    "batch_size": 4,
    "log_every": 2,
    "eval_every": 0,
    "checkpoint_every": 2,
}
HEADS = {"epochs": 2, "batch_size": 12, "max_features": 64, "dataset": "photos"}
BEHIND = {
    "backbone": "tiny",
    "frozen_layers": 1,
    "crop.size": SIDE,
    "batch_size": 12,
    "steps": 2,
    "eval_every": 2,
    "checkpoint_every": 2,
}


def row(name: str, **fields: Any) -> dict[str, Any]:
    """A row of two steps of RotNet, or what `fields` say."""
    usual: dict[str, Any] = {"method": "RotNet", "images": "image B"}
    if "reference" not in fields:
        usual |= {"pretrain": "rotnet", "source": "b", "fields": TINY, "views": 32}
    return {"name": name, **usual, **fields}


def config(*rows: dict[str, Any], **fields: Any) -> StudyConfig:
    usual: dict[str, Any] = {
        "sources": {"b": "builtin:astronaut", "absent": ""},
        "probe": "photos",
        "probe_fields": HEADS,
        "finetune": "photos",
        "finetune_fields": BEHIND,
    }
    return StudyConfig(**{**usual, **fields}, rows=rows)


class Fakes:
    """Stands for the four stages: writes what marks them as complete, and notes the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.before: Callable[[str, str], None] = lambda stage, name: None

    def pretrain(self, settings: Any, folder: Path, *, devices: int) -> None:
        self._note("pretrain", folder)
        (folder / "checkpoints" / str(settings.steps) / "metrics").mkdir(parents=True)

    def probe(self, settings: Any, references: list[str], folder: Path) -> None:
        self._note("probe", folder)
        layers = {"conv1": {"top1": 50.0, "interval": [49.0, 51.0]}}
        self._write(
            folder, "probe", {"results": [{"checkpoint": name, "layers": layers} for name in references]}
        )

    def finetune(self, settings: Any, reference: str, folder: Path, *, devices: int) -> None:
        self._note("finetune", folder)
        self._write(folder, "finetune", {"results": [{"accuracy": 60.0, "low": 59.0, "high": 61.0}]})

    def analyse(self, references: list[str], folder: Path, **settings: Any) -> None:
        self._note(f"analyse {' '.join(Path(name).name for name in references)}", folder)
        self._write(folder, "analyse", {})

    def _note(self, stage: str, folder: Path) -> None:
        self.before(stage, folder.name)
        self.calls.append((stage, folder.name))

    def _write(self, folder: Path, stage: str, value: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / state.RESULTS[stage]).write_text(json.dumps(value))


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    made = Fakes()
    for stage in ("pretrain", "probe", "finetune", "analyse"):
        monkeypatch.setattr(driver, stage, getattr(made, stage))
    monkeypatch.setattr(
        state.checkpoint, "finished", lambda path: [int(one.name) for one in path.iterdir()]
    )  # no Orbax
    return made


def drive(place: Path, study: StudyConfig, *patterns: str) -> Driver:
    made = Driver(place, plan.units(study, patterns), plan.units(study), poll=0.05)
    made.run()
    return made


def record(place: Path, study: StudyConfig, name: str) -> state.Record:
    (unit,) = (unit for unit in plan.units(study) if unit.name == name)
    return state.read(place, unit)


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


# Beside others


def _slow_driver(place: Path, notes: Path) -> None:
    """Another process's driver, whose stages take a while."""
    made = Fakes()

    def before(stage: str, name: str) -> None:
        with notes.open("a") as file:
            file.write(f"{stage} {name} {os.getpid()}\n")
        time.sleep(0.2)

    made.before = before
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("pretrain", "probe"):
            patch.setattr(driver, stage, getattr(made, stage))
        patch.setattr(state.checkpoint, "finished", lambda path: [int(one.name) for one in path.iterdir()])
        drive(place, config(*(row(name) for name in "abcd")))


@pytest.fixture
def fork() -> Any:
    """Processes that begin at once; they compute nothing with JAX."""
    return multiprocessing.get_context("fork")


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_two_drivers_share_the_rows_and_do_none_twice(tmp_path: Path, fork: Any) -> None:
    notes = tmp_path / "notes"
    pair = [fork.Process(target=_slow_driver, args=(tmp_path / "s", notes)) for _ in range(2)]
    for process in pair:
        process.start()
    for process in pair:
        process.join(60)
    assert [process.exitcode for process in pair] == [0, 0]
    done = [line.split() for line in notes.read_text().splitlines()]
    assert sorted(line[:2] for line in done) == sorted(
        [stage, f"{name}-0"] for name in "abcd" for stage in ("pretrain", "probe")
    )
    assert len({pid for *_, pid in done}) == 2  # both had work


@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_a_killed_driver_held_is_taken_over(tmp_path: Path, fork: Any) -> None:
    notes = tmp_path / "notes"
    first = fork.Process(target=_slow_driver, args=(tmp_path / "s", notes))
    first.start()
    while not (notes.exists() and "probe a-0" in notes.read_text()):
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.join(10)
    study = config(*(row(name) for name in "abcd"))
    assert record(tmp_path / "s", study, "a-0").state == state.WORKING
    second = fork.Process(target=_slow_driver, args=(tmp_path / "s", notes))
    second.start()
    second.join(60)
    assert second.exitcode == 0
    names = [line.split()[:2] for line in notes.read_text().splitlines()]
    assert names.count(["pretrain", "a-0"]) == 1  # its checkpoint was whole
    assert names.count(["probe", "a-0"]) == 2
    assert all(record(tmp_path / "s", study, f"{name}-0").state == state.DONE for name in "abcd")


def test_a_held_folder_is_refused_at_once_where_nobody_waits(tmp_path: Path) -> None:
    refused = pytest.raises(workdir.InUse, match="is in use by process")
    with workdir.held(tmp_path), refused, workdir.held(tmp_path, wait=False):
        pass


# What comes of it


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyConfig, Path, Any]]:
    """A study of four rows with real training on photographs of stripes, and its report; one row fails."""
    place = tmp_path_factory.mktemp("study") / "s"
    study = config(
        row("random", reference="random:tiny@{seed}", method="untrained", images="none", seeds=2),
        row("rotnet-b", stages=("probe", "finetune", "analyse"), compared=("random",)),
        row("broken", fields=TINY | {"optimizer.learning_rate": 1e30, "steps": 2}),
        row("none", reference="none", stages=("finetune",), tables=("frozen",)),
        analysis={"images": 8, "queries": 1, "neighbours": 1},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda *args, **options: labelled())
        with pytest.raises(Halted, match=r"1 of 5 rows failed, .*: broken-0 \(the loss is nan") as end:
            studying.study(study, place, devices=1, command="ssl-single-image study --config c --workdir s")
        assert end.value.status == 1
        yield study, place, end


def test_tables_hold_what_the_probes_measured(finished: Any) -> None:
    study, place, _ = finished
    lines = {line.key: line for line in outcome.gather(place, plan.units(study))}
    assert lines.keys() == {"random", "rotnet-b", "none"}
    probed = json.loads((place / "probe" / "rotnet-b-0" / "probe.json").read_text())["results"][0]["layers"]
    assert [score.value for score in lines["rotnet-b"].layers.values()] == [
        one["top1"] for one in probed.values()
    ]
    seeds = [
        json.loads((place / "probe" / f"random-{seed}" / "probe.json").read_text())["results"][0]["layers"]
        for seed in (0, 1)
    ]
    first = [one["conv1"]["top1"] for one in seeds]
    assert lines["random"].layers["conv1"].value == pytest.approx(sum(first) / 2)
    assert lines["random"].seeds == 2
    behind = json.loads((place / "finetune" / "none-0" / "finetune.json").read_text())["results"][0]
    assert lines["none"].finetuned is not None
    assert lines["none"].finetuned.value == behind["accuracy"]
    rows = (place / "lines.csv").read_text().splitlines()
    assert rows[0] == "row,encoder,method,images,tables,seeds,crops,views,layer,value,half"
    assert len(rows) == 1 + 2 + 3 + 1


def test_pages_say_what_was_found_and_what_failed(finished: Any) -> None:
    _, place, _ = finished
    text = (place / "study.md").read_text()
    assert "4 of 5 rows are done" in text
    assert "| RotNet" in text
    assert "**Cannot be told at this budget.**" in text
    claims = (place / "claims.md").read_text()
    assert "ssl-single-image study --config c --workdir s --rows=" in claims
    told = json.loads((place / "study.json").read_text())
    (broken,) = (line for line in told["rows"]["rows"] if line[0] == "broken-0")
    assert broken[1] == state.FAILED
    assert broken[-1].startswith("the loss is nan at step 2")
    page = (place / "report" / "index.html").read_text()
    assert "What the paper concludes, and what was found" in page
    assert "broken-0" in page


def test_small_files_are_enough_to_go_on_elsewhere(finished: Any, tmp_path: Path) -> None:
    study, place, _ = finished
    kept = studying.keep(study, place, tmp_path / "kept")
    sizes = [path.stat().st_size for path in kept.rglob("*") if path.is_file()]
    assert sum(sizes) < 200_000
    assert not list(kept.rglob("checkpoints"))
    assert not (kept / "rows" / "broken-0").exists()
    left = [unit.name for unit, stages in studying.planned(study, kept) if stages]
    assert left == ["broken-0"]
    assert outcome.gather(kept, plan.units(study)) == outcome.gather(place, plan.units(study))


def test_a_plan_says_what_is_left_and_by_whose_clock(finished: Any) -> None:
    study, place, _ = finished
    more = config(*study.rows, row("rotnet-c", views=3200), analysis=study.analysis)
    plans = {unit.name: stages for unit, stages in studying.planned(more, place)}
    assert plans["rotnet-b-0"] == []
    (stage, estimate), (probing, of_probe) = plans["rotnet-c-0"]
    assert (stage, probing) == ("pretrain", "probe")
    assert estimate.basis == of_probe.basis == "measured"
    assert estimate.disk > 1000
    assert not (place / "pretrain" / "rotnet-c-0").exists()
    ((_, unknown), _) = next(
        stages for unit, stages in studying.planned(more, place / "no") if unit.name == "rotnet-c-0"
    )
    assert (unknown.seconds, unknown.basis) == (None, "unknown")


def test_a_study_has_a_folder_of_its_own(tmp_path: Path, fakes: Fakes) -> None:
    (tmp_path / "config.json").write_text('{"objective": "rotnet"}')
    with pytest.raises(InputError, match="holds another kind of run"):
        studying.study(config(row("a")), tmp_path)
    assert fakes.calls == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet"])
def test_the_papers_studies_can_be_planned(name: str, tmp_path: Path) -> None:
    """Their sources need not be there for that."""
    argument = "a=a.jpg,b=b.jpg,thousand=folder"
    study = configs.read("study", configs.load("study", f"{name}:{argument}"))
    plans = studying.planned(study, tmp_path / "s")
    assert len(plans) > 50
    assert all(stages for _, stages in plans)
    assert plan.left_out(configs.read("study", configs.load("study", name))) != []


def test_the_zoo_can_be_planned_without_any_argument(tmp_path: Path) -> None:
    study = configs.read("study", configs.load("study", "zoo"))
    names = {unit.row.name for unit, _ in studying.planned(study, tmp_path / "s")}
    assert names >= {
        f"{method}-{source}" for method in ("rotnet", "bigan") for source in ("astronaut", "leaves")
    }
    assert plan.left_out(study) == []
