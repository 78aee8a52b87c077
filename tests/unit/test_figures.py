"""Figures: which metrics share axes, what the axes show, and what the legend calls it."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
from PIL import Image
from test_tables import probe, result

from ssl_single_image.analysis import figures, panels

BIGAN = [
    "step",
    *(f"train/{name}" for name in ("d_fake", "d_real", "diversity", "grad_norm", "grad_norm_encoder")),
    *(f"train/{name}" for name in ("grad_norm_generator", "loss", "loss_pair", "learning_rate", "warning")),
    *(f"eval/{name}" for name in ("accuracy", "diversity", "latent", "latent_shuffled", "loss")),
    *(f"eval/{name}" for name in ("reconstruction", "reconstruction_shuffled")),
]


def drawn(figure):
    """Axes with something on them, by title."""
    return {axes.get_title("left"): axes for axes in figure.axes if axes.get_visible()}


def test_metrics_that_are_compared_share_axes():
    lines = {panel.name: panel.lines for panel in panels.arrange(BIGAN)}
    assert lines["latent"] == ("eval/latent", "eval/latent_shuffled")
    assert lines["reconstruction"] == ("eval/reconstruction", "eval/reconstruction_shuffled")
    assert lines["loss"] == ("train/loss", "eval/loss", "train/loss_pair")
    assert lines["grad_norm"] == ("train/grad_norm", "train/grad_norm_encoder", "train/grad_norm_generator")
    assert lines["d"] == ("train/d_fake", "train/d_real")
    assert lines["learning_rate"] == ("train/learning_rate",)
    assert sorted(itertools.chain.from_iterable(lines.values())) == sorted(BIGAN[1:])  # each once


def test_the_order_does_not_depend_on_that_of_the_file():
    for names in (BIGAN, BIGAN[::-1]):
        order = [panel.name for panel in panels.arrange(names)]
        assert order[:2] == ["loss", "accuracy"]
        assert order[-3:] == ["grad_norm", "learning_rate", "warning"]
    assert [panel.name for panel in panels.arrange(["train/seconds", "train/mine"])] == ["mine", "seconds"]


def test_unknown_metrics_find_their_place():
    arranged = panels.arrange(["train/mine_shuffled", "train/other", "train/mine", "eval/mine"])
    assert [panel.lines for panel in arranged] == [
        ("train/mine", "eval/mine", "train/mine_shuffled"),
        ("train/other",),
    ]
    mine = arranged[0]
    assert [mine.label(line) for line in mine.lines] == ["mine, train", "mine, eval", "mine shuffled, train"]
    assert panels.stem("learning_rate", ["learning_rate", "learner"]) == "learning_rate"  # whole words only


def test_curves_show_every_point_and_say_where_there_is_none():
    rows = [
        {"step": 10 * i, "train/loss": 1 / i, "train/top": math.nan, "train/accuracy": 0.3} for i in (1, 2)
    ]
    rows.append({"step": 30, "train/loss": math.inf, "eval/loss": 0.7})
    axes = drawn(figures.curves_figure(rows))
    assert list(axes) == ["loss", "accuracy", "top"]
    train, evaluated = axes["loss"].lines
    np.testing.assert_array_equal(train.get_xdata(), [10, 20, 30])
    np.testing.assert_array_equal(train.get_ydata(), [1, 0.5, math.nan])
    np.testing.assert_array_equal(evaluated.get_xydata(), [[30, 0.7]])
    assert [text.get_text() for text in axes["loss"].get_legend().get_texts()] == ["train", "eval"]
    assert [text.get_text() for text in axes["top"].get_legend().get_texts()] == ["train (no finite value)"]
    assert [one.get_title("right") for one in axes.values()] == ["", "train", "train"]
    low, high = axes["accuracy"].get_ylim()
    assert low <= 0 < 1 <= high
    assert len({one.get_xlim() for one in axes.values()}) == 1
    figures.training_curves([])  # nothing to show is no error


def test_chance_is_dashed_and_the_legend_reads_from_the_top():
    rows = [{"step": 1, "eval/latent": 0.2, "eval/latent_shuffled": 0.9, "eval/latent_mean": 0.5}]
    (axes,) = drawn(figures.curves_figure(rows)).values()
    styles = {line.get_label(): line.get_linestyle() for line in axes.lines}
    assert styles == {"latent": "-", "latent shuffled": "--", "latent mean": "-"}
    order = [text.get_text() for text in axes.get_legend().get_texts()]
    assert order == ["latent shuffled", "latent mean", "latent"]


@pytest.mark.parametrize(
    "top1", [(61.4, 63.5, 52.0), (61.4,), (0.0, 0.3), (99.9, 100.0), (9.0, 30.0), (50.0, math.nan)]
)
def test_the_axis_of_accuracies_begins_where_they_do(top1):
    (axes,) = drawn(figures.accuracy_figure(probe(result("a", *top1), chance=10.0))).values()
    finite = [value for value in top1 if math.isfinite(value)]
    low, high = axes.get_ylim()
    assert low <= min(finite) <= max(finite) <= high
    span = max(max(finite) - min(finite), figures.LEAST_SPAN)
    assert min(finite) - low < 0.75 * span
    chance_lines = [line for line in axes.lines if line.get_label() == "chance, 10.0 %"]
    notes = [text.get_text() for text in axes.texts]
    inside = low <= 10 <= high
    assert len(chance_lines) == inside
    assert notes == ([] if inside else ["chance, 10.0 %"])


def test_chance_below_has_room_below_the_data():
    (axes,) = drawn(figures.accuracy_figure(probe(result("a", 60.0, 40.0)))).values()
    low, high = axes.get_ylim()
    (note,) = axes.texts
    assert note.xy[1] == 0  # at the lower border
    assert (40 - low) / (high - low) > note.xyann[1]


def test_figures_name_the_kind_of_probe_and_the_data():
    nearest = probe(result("a", 50.0), kind="nearest", title="nearest-neighbour probes")
    assert "Nearest-neighbour probes on cifar10, 10,000 test images" in drawn(
        figures.accuracy_figure(nearest)
    )


def test_long_names_are_told_in_full():
    name = "runs/" + "a-long-name/" * 20 + "end"
    figure = figures.accuracy_figure(probe(result(name, 50.0), result("random:alexnet", 40.0)))
    (legend,) = figure.legends
    first, second = (text.get_text() for text in legend.get_texts()[:2])
    assert "".join(first.split()) == f"{name}(step0)"
    assert max(map(len, first.split("\n"))) <= figures.LEGEND_WIDTH
    assert second == "random:alexnet (step 0)"
    with Image.open(io.BytesIO(figures.png(figure))) as picture:
        assert picture.width == round(7.2 * figures.DPI)


def test_every_result_looks_different():
    (axes,) = drawn(
        figures.accuracy_figure(probe(*(result(f"r{i}", 50.0 - i) for i in range(20)), chance=90.0))
    ).values()
    looks = {(line.get_color(), line.get_marker()) for line in axes.lines}
    assert len(looks) == len(axes.lines) == 20
