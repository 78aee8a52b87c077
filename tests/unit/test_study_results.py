"""A study: its tables, pages, small files and plans."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from probe_fakes import labelled, tiny_backbone
from study_fakes import TINY, Fakes, config, fakes, row

from ssl_single_image import datasets
from ssl_single_image.experiments import configs, studying
from ssl_single_image.experiments.study_settings import STAGES, StudyConfig
from ssl_single_image.experiments.studying import gathering, outcome, plan, state
from ssl_single_image.types import Halted, InputError

__all__ = ["fakes", "tiny_backbone"]

ROBUSTNESS: dict[str, Any] = {
    "batch_size": 12,
    "max_features": 64,
    "dataset": "photos",
    "options": {"shifts": ("contrast", "clutter"), "severities": (1, 5)},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StudyConfig, Path, Any]]:
    """A study of four rows with real training on photographs of stripes, and its report; one row fails."""
    place = tmp_path_factory.mktemp("study") / "s"
    study = config(
        row("random", reference="random:tiny@{seed}", method="untrained", images="none", seeds=2),
        row("rotnet-b", stages=STAGES[1:], compared=("random",), untrained=("random",)),
        row("broken", fields=TINY | {"optimizer.learning_rate": 1e30, "steps": 2}),
        row("none", reference="none", stages=("finetune",), tables=("frozen",)),
        analysis={"images": 8, "queries": 1, "neighbours": 1},
        robustness_fields=ROBUSTNESS,
        invariance={"source": "builtin:coffee", "images": 16, "views": 2, "pairs": 2},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load", lambda *args, **options: labelled())
        with pytest.raises(Halted, match=r"1 of 5 rows failed, .*: broken-0 \(the loss is nan") as end:
            studying.study(study, place, devices=1, command="ssl-single-image study --config c --workdir s")
        assert end.value.status == 1
        yield study, place, end


def test_tables_hold_what_the_probes_measured(finished: Any) -> None:
    study, place, _ = finished
    lines = {line.key: line for line in gathering.gather(place, plan.units(study))}
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


def test_tables_beyond_accuracy_hold_what_their_stages_measured(finished: Any) -> None:
    _, place, _ = finished
    layers = json.loads((place / "robustness" / "rotnet-b-0" / "probe.json").read_text())["results"][0][
        "layers"
    ]
    (line,) = (
        line for line in (place / "robustness.md").read_text().splitlines() if line.startswith("| RotNet")
    )
    low, high = layers["conv1"]["mCE_interval"]
    assert f"{layers['conv1']['mCE']:.1f} ±{(high - low) / 2:.1f}" in line.replace("**", "")
    header = next(
        line for line in (place / "shifts.md").read_text().splitlines() if line.startswith("| method")
    )
    cells = [cell.strip() for cell in header.split("|")]
    assert cells[6:-1] == ["clean", "colour", "clutter"]
    found = json.loads((place / "invariance" / "rotnet-b-0" / "invariance.json").read_text())["encoders"][0]
    changed = 100 * found["invariance"]["all"]["conv1"]["variance"]
    assert f" {changed:.1f} ±" in (place / "invariance.md").read_text()
    assert (
        f" {100 * found['shares']['all']['conv1']['within_image']:.1f} ±"
        in (place / "within_image.md").read_text()
    )
    text = (place / "study.md").read_text()
    assert "## Errors after shifts, relative to the untrained network" in text
    assert "Below 100 is better than untrained" in (place / "report" / "index.html").read_text()


def test_small_files_are_enough_to_go_on_elsewhere(finished: Any, tmp_path: Path) -> None:
    study, place, _ = finished
    kept = studying.keep(study, place, tmp_path / "kept")
    sizes = [path.stat().st_size for path in kept.rglob("*") if path.is_file()]
    assert sum(sizes) < 200_000
    assert not list(kept.rglob("checkpoints"))
    assert not (kept / "rows" / "broken-0").exists()
    left = [unit.name for unit, stages in studying.planned(study, kept) if stages]
    assert left == ["broken-0"]
    assert gathering.gather(kept, plan.units(study)) == gathering.gather(place, plan.units(study))
    outcome.write(kept, study, plan.units(study), "study")
    page = outcome.page(kept, plan.units(study))
    assert "rotnet-b" in Path(page).read_text()


def test_a_study_of_other_rows_judges_no_conclusions(finished: Any, tmp_path: Path) -> None:
    study, place, _ = finished
    kept, heading = studying.keep(study, place, tmp_path / "kept"), "What the paper concludes"
    unjudged = study.replace(claims=False)
    outcome.write(kept, unjudged, plan.units(unjudged), "study")
    assert not (kept / "claims.md").exists()
    text = (kept / "study.md").read_text()
    assert "| RotNet" in text
    assert "](headline.png)" in text
    assert heading not in text
    assert heading not in Path(outcome.page(kept, plan.units(unjudged))).read_text()


def test_a_plan_says_what_is_left_and_by_whose_clock(finished: Any) -> None:
    study, place, _ = finished
    more = config(
        *study.rows,
        row("rotnet-c", views=3200),
        analysis=study.analysis,
        robustness_fields=ROBUSTNESS,
        invariance=study.invariance,
    )
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
    argument = "a=builtin:astronaut,b=builtin:coffee,thousand=builtin:chelsea"
    study = configs.read("study", configs.load("study", f"{name}:{argument}"))
    plans = studying.planned(study, tmp_path / "s")
    assert len(plans) > 50
    assert all(stages for _, stages in plans)
    assert plan.left_out(configs.read("study", configs.load("study", name))) != []


def test_further_methods_see_as_many_pixels_as_rotnet(tmp_path: Path) -> None:
    study = configs.read("study", configs.load("study", "others:b=builtin:coffee"))
    pixels = {"jigsaw": 9 * 12**2, "pirl": 32**2 + 9 * 12**2, "simclr": 2 * 32**2}
    seen = {}
    for unit, _ in studying.planned(study, tmp_path / "s"):
        if unit.row.pretrain:
            a_crop = pixels.get(unit.row.pretrain)
            a_view = (
                32**2
                if a_crop is None
                else a_crop / unit.pretraining.entry.make(unit.pretraining.setup(0)).views
            )
            seen[unit.row.name] = unit.views * a_view / 32**2
    assert len(seen) == 11
    for name, images in seen.items():
        assert abs(images - 96_000) < 200, name


def test_harder_images_are_planned_for_every_method_and_patches_for_accuracy_alone(tmp_path: Path) -> None:
    study = configs.read("study", configs.load("study", "harder:b=builtin:coffee,thousand=builtin:chelsea"))
    stages = {
        unit.row.name: [stage for stage, _ in of] for unit, of in studying.planned(study, tmp_path / "s")
    }
    assert stages["simclr"] == ["pretrain", "probe", "robustness", "invariance"]
    assert stages["random"] == ["probe", "robustness", "invariance"]
    assert stages["esvm"] == stages["gaussian"] == ["probe"]
    assert {"rotnet-b", "deepcluster-b", "bigan-b", "pirl", "rotnet-thousand", "supervised"} < stages.keys()


def test_the_zoo_can_be_planned_without_any_argument(tmp_path: Path) -> None:
    study = configs.read("study", configs.load("study", "zoo"))
    names = {unit.row.name for unit, _ in studying.planned(study, tmp_path / "s")}
    assert names >= {
        f"{method}-{source}" for method in ("rotnet", "bigan") for source in ("astronaut", "leaves")
    }
    assert plan.left_out(study) == []
