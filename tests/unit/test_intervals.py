"""Intervals against published values, and how answers are summed up."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from ssl_single_image.probes import intervals, summary
from ssl_single_image.probes.kinds import Answers


def test_wilson_is_the_published_formula():
    """Brown, Cai and DasGupta 2001, equation 4."""
    z, n, share = stats.norm.ppf(0.975), 250, 0.62
    centre = (share * n + z**2 / 2) / (n + z**2)
    half = z * np.sqrt(n) / (n + z**2) * np.sqrt(share * (1 - share) + z**2 / (4 * n))
    np.testing.assert_allclose(intervals.wilson(share, n), (centre - half, centre + half), rtol=1e-12)
    low, high = intervals.wilson(1.0, 20)
    assert low < 0.9
    assert high == 1.0


def test_repeats_have_students_interval():
    values = np.array([0.60, 0.62, 0.65])
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)  # the 97.5 % point for two degrees of freedom
    np.testing.assert_allclose(
        intervals.over_repeats(values), (values.mean() - half, values.mean() + half), rtol=1e-6
    )


def test_pairing_covers_the_truth_and_is_narrower_than_two_intervals():
    """Simulated twice 300 times: two classifiers that fail on the same hard images."""
    rng = np.random.default_rng(0)
    covered, widths = 0, []
    for _ in range(300):
        hard = rng.random(800)
        a, b = hard < 0.62, (hard < 0.60) ^ (rng.random(800) < 0.02)
        difference = a.astype(float) - b
        low, high = intervals.paired(difference)
        truth = 0.62 - (0.60 * 0.98 + 0.40 * 0.02)
        covered += low <= truth <= high
        widths.append(high - low)
    assert 0.9 <= covered / 300 <= 0.99
    apart = np.diff(intervals.wilson(0.62, 800))[0]
    assert np.mean(widths) < apart / 2


def answers(first: list[list[int]]) -> Answers:
    return Answers({"": {"conv1": np.array(first, np.uint8)}}, {"conv1": 7}, np.array([0, 0, 1, 2]))


def test_accuracies_of_layers():
    values = summary.layers(answers([[0, 5, 1, 0], [0, 0, 1, 0]]), 4)["conv1"]
    assert values["top1"] == pytest.approx(100 * 5 / 8)
    assert values["top5"] == pytest.approx(100 * 7 / 8)
    assert values["per_class"] == [75.0, 0.0, 100.0, None]
    assert values["repeats"] == [50.0, 75.0]
    assert values["features"] == 7
    assert values["interval"] == [round(100 * end, 4) for end in intervals.wilson(5 / 8, 4)]
    assert "repeats" not in summary.layers(answers([[0, 5, 1, 0]]), 4)["conv1"]


def test_gains_are_taken_image_by_image():
    trained = answers([[0, 0, 0, 5]])
    gain = summary.gains(trained, [answers([[0, 5, 5, 5]]), answers([[0, 5, 0, 5]])])["conv1"]
    assert gain["points"] == pytest.approx(100 * (3 / 4 - (1 / 4 + 2 / 4) / 2))
    difference = np.array([0, 1, 0.5, 0])
    assert gain["interval"] == [round(100 * end, 4) for end in intervals.paired(difference)]
