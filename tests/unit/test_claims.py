"""Verdicts on the paper's conclusions, and the lines that they are made of."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import pytest

from ssl_single_image.analysis import claims, study_figures, study_lines
from ssl_single_image.analysis.claims import DOES_NOT, HOLDS, UNTOLD
from ssl_single_image.analysis.study_lines import Line, Score


def line(
    key: str, top1: Sequence[float], half: float = 1.0, finetuned: float | None = None, **fields: object
) -> Line:
    row, _, encoder = key.partition("#")
    layers = {f"conv{number}": Score(value, half) for number, value in enumerate(top1, 1)}
    behind = None if finetuned is None else Score(finetuned, half)
    usual = {"method": row, "images": "image B", "tables": ("headline",), "seeds": 1, "crops": 8, "views": 32}
    usual["untrained"] = "random-leaky" if row.startswith("bigan") else "random"
    return Line(row, encoder, layers=layers, finetuned=behind, **{**usual, **fields})  # type: ignore[arg-type]


def methods(
    source: str, top1: Sequence[float], half: float = 1.0, finetuned: float | None = None
) -> list[Line]:
    return [line(key.format(source), top1, half, finetuned) for key in claims.METHODS.values()]


UNTRAINED = [line("random", (60, 60, 60, 60, 60)), line("random-leaky", (60, 60, 60, 60, 60))]


def verdict(name: str, *lines: Line) -> str:
    return next(one for one in claims.judge(lines) if one.claim.name == name).verdict


def test_without_rows_nothing_can_be_told() -> None:
    assert {one.verdict for one in claims.judge([])} == {UNTOLD}


def test_intervals_decide_and_not_values() -> None:
    """Of ±1 each, around 60 and the given values."""
    above, near, below = (60, 62.1, 63, 64, 60), (60, 63, 63, 61.9, 60), (60, 63, 63, 57.9, 60)
    assert verdict("one image", *UNTRAINED, *methods("b", above)) == HOLDS
    assert verdict("one image", *UNTRAINED, *methods("b", near)) == UNTOLD
    assert verdict("one image", *UNTRAINED, *methods("b", below)) == DOES_NOT
    assert verdict("one image", *UNTRAINED, *methods("b", above)[:2]) == UNTOLD  # a method is missing


def test_the_longest_training_counts_where_there_is_one() -> None:
    short, long = methods("b", (60, 60, 60, 60, 60)), methods("b-long", (60, 63, 63, 63, 60))
    assert verdict("one image", *UNTRAINED, *short, *long) == HOLDS


@pytest.mark.parametrize(("one", "expected"), [(66, HOLDS), (64.2, UNTOLD), (61, DOES_NOT)])
def test_first_layers_of_one_image_are_as_good_as_those_of_all(one: float, expected: str) -> None:
    """Within two points; later layers do not count."""
    lines = [*methods("b", (one, one, 30, 30, 30)), *methods("all", (65, 65, 80, 80, 80))]
    assert verdict("first layers", *lines) == expected


def test_scale_must_beat_both_others() -> None:
    scale, jitter = methods("b-scale", (65,) * 5), methods("b-jitter", (60,) * 5)
    assert verdict("scale", *scale, *jitter, *methods("b-rotation", (61,) * 5)) == HOLDS
    assert verdict("scale", *scale, *jitter, *methods("b-rotation", (64.5,) * 5)) == UNTOLD
    assert verdict("scale", *scale, *jitter, *methods("b-rotation", (68,) * 5)) == DOES_NOT
    assert verdict("scale", *scale, *jitter) == UNTOLD


def test_the_gap_to_supervision() -> None:
    labels = line("supervised", (66, 70, 75, 80, 82))
    assert verdict("gap", labels, *methods("b", (65, 68, 68, 67, 64))) == HOLDS
    assert verdict("gap", labels, *methods("b", (60, 62, 74, 79, 81))) == DOES_NOT
    assert verdict("unlabelled data", labels, *methods("all", (65, 68, 68, 67, 64))) == HOLDS
    assert verdict("unlabelled data", labels, *methods("all", (65, 68, 80, 85, 90))) == DOES_NOT


def test_more_images_help_rotnet_and_not_bigan() -> None:
    one, more = (60,) * 5, (65,) * 5
    rotnet = [line("rotnet-b", one), line("rotnet-thousand", more)]
    bigan = [line("bigan-b#discriminator", one), line("bigan-thousand#discriminator", one)]
    assert verdict("more images", *rotnet, *bigan) == HOLDS
    assert verdict("more images", *rotnet, bigan[0], line("bigan-thousand#discriminator", more)) == DOES_NOT
    assert (
        verdict("more images", *rotnet, bigan[0], line("bigan-thousand#discriminator", (61,) * 5)) == UNTOLD
    )
    assert verdict("more images", line("rotnet-b", more), line("rotnet-thousand", one), *bigan) == DOES_NOT


@pytest.mark.parametrize(("frozen", "expected"), [(80.0, HOLDS), (77.5, UNTOLD), (75.0, DOES_NOT)])
def test_training_behind_frozen_layers(frozen: float, expected: str) -> None:
    full = line("none", (), finetuned=80.0)
    assert verdict("frozen layers", full, *methods("b", (60,) * 5, finetuned=frozen)) == expected


def test_a_photograph_is_compared_with_the_best_of_all_made_images() -> None:
    photograph = methods(claims.WHOLE, (60, 65, 65, 65, 60))
    made = [methods(name, (60,) * 5) for name in claims.SYNTHETIC]
    assert verdict("photograph", *photograph, *(one for of_name in made for one in of_name)) == HOLDS
    made[1] = methods("pink", (60, 70, 70, 70, 60))
    assert verdict("photograph", *photograph, *(one for of_name in made for one in of_name)) == DOES_NOT
    assert verdict("photograph", *photograph, *(one for of_name in made[:3] for one in of_name)) == UNTOLD


def test_the_page_of_claims_shows_numbers_and_commands() -> None:
    judged = claims.judge([*UNTRAINED, *methods("b", (60, 62.5, 62.5, 62.5, 60))])
    text = claims.markdown(judged, lambda rows: f"study --rows='{','.join(rows)}'")
    assert text.count("```bash\nstudy --rows='") == len(claims.CLAIMS)
    assert "**Holds.** It holds where each of conv2 to conv4" in text
    assert f"+2.5 ±{math.sqrt(2):.1f}" in text
    assert "row missing" in text


# Lines


def test_a_score_of_seeds_has_the_wider_interval() -> None:
    def seed(top1: float, low: float, high: float) -> dict[str, object]:
        return {"top1": top1, "interval": [low, high]}

    near = study_lines.score([seed(60.0, 59.0, 61.0), seed(60.4, 59.5, 61.3)], "top1")
    assert (near.value, near.half) == (pytest.approx(60.2), pytest.approx(1.0))
    far = study_lines.score([seed(60.0, 59.0, 61.0), seed(66.0, 65.0, 67.0)], "top1")
    assert (far.value, far.half) == (pytest.approx(63.0), pytest.approx(3.0))
    repeated = study_lines.score(
        [{"top1": 60.0, "interval": [59.5, 60.5], "over_repeats": [58.0, 62.0]}], "top1"
    )
    assert repeated.half == pytest.approx(2.0)
    assert study_lines.score([{"mAP": 40.0, "interval": [38.0, 42.0]}], "mAP") == (40.0, 2.0)


def test_tables_put_layers_side_by_side_by_depth_and_mark_the_best() -> None:
    short = line("scattering", (64.9, 62.7), half=0.5, method="scattering", images="none", views=0, crops=0)
    scattering = Line(
        **{**vars(short), "layers": {"scattering1": Score(64.9, 0.5), "scattering2": Score(62.7, 0.5)}}
    )
    deep = line("rotnet-b", (65.0, 67.0, 68.0), finetuned=80.1, method="RotNet")
    text = study_lines.markdown([deep, scattering])
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in text.splitlines()]
    assert cells[0] == [
        "method", "trained on", "seeds", "crops", "views", "conv1", "conv2", "conv3", "behind two frozen layers"
    ]  # fmt: skip
    assert cells[2][5:] == ["**65.0** ±1.0", "**67.0** ±1.0", "**68.0** ±1.0", "**80.1** ±1.0"]
    assert cells[3][5:] == ["64.9 ±0.5", "62.7 ±0.5", "", ""]


def test_csv_has_every_number() -> None:
    found = [line("bigan-b#discriminator", (61.234567, 62.0), finetuned=70.0, tables=("headline", "frozen"))]
    rows = list(csv.DictReader(io.StringIO(study_lines.to_csv(found))))
    assert [row["layer"] for row in rows] == ["conv1", "conv2", "finetuned"]
    assert rows[0]["value"] == "61.235"
    assert {row["encoder"] for row in rows} == {"discriminator"}
    assert rows[0]["tables"] == "headline frozen"


def test_the_figure_has_a_panel_for_each_method() -> None:
    shown = [
        line("random", (60, 60, 60), method="untrained", views=0),
        line("rotnet-b", (60, 63, 62), method="RotNet"),
        line("rotnet-a", (61, 64, 62), method="RotNet", images="image A"),
        line("bigan-b#discriminator", (61, 64, 62), method="BiGAN"),
        line("random-leaky", (58, 58, 58), method="untrained, as D", views=0),
    ]
    figure = study_figures.headline_figure(shown)
    assert [axes.get_title() for axes in figure.axes] == ["RotNet", "BiGAN, discriminator"]
    grey = [
        next(np.asarray(one.get_ydata()).tolist() for one in axes.lines if one.get_label() == "untrained")
        for axes in figure.axes
    ]
    assert grey == [[60, 60, 60], [58, 58, 58]]  # each of its own architecture
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert labels == {"untrained", "image B", "image A"}
    assert study_figures.headline(shown)[:4] == b"\x89PNG"
