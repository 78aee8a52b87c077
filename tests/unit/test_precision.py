"""Average precision against scikit-learn and the definition of VOC 2007, and the intervals of its mean."""

from __future__ import annotations

from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from ssl_single_image.datasets.labelling import ABSENT, IGNORED, PRESENT
from ssl_single_image.probes import intervals, measures, precision, summary
from ssl_single_image.probes.kinds import Answers
from ssl_single_image.types import InputError


def problem(images: int, levels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of so many distinct values, and labels of which some are ignored."""
    rng = np.random.default_rng(seed)
    label = rng.choice([ABSENT, PRESENT, IGNORED], (images, 5), p=[0.6, 0.3, 0.1]).astype(np.int8)
    score = rng.normal(size=label.shape) + (label == PRESENT)
    return np.round(score * levels / 6) * 6 / levels, label


def unweighted(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """Area and eleven points of one class."""
    ranking, whole = precision.rank(score, label), np.ones((len(label), 1), np.float32)
    assert ranking is not None
    return float(precision.average(ranking, whole)[0]), precision.eleven_points(ranking, whole)


def official(score: np.ndarray, label: np.ndarray) -> float:
    """Everingham et al. (2010), section 4.2, threshold by threshold in whole numbers; the devkit's VOCap.m of 2007."""
    kept = label != IGNORED
    score, present = score[kept], label[kept] == PRESENT
    curve = []
    for threshold in sorted(set(score.tolist())):
        named = score >= threshold
        hits = int((named & present).sum())
        curve.append((Fraction(hits, int(present.sum())), Fraction(hits, int(named.sum()))))
    highest = [
        max((p for recall, p in curve if recall >= Fraction(t, 10)), default=Fraction(0)) for t in range(11)
    ]
    return float(sum(highest) / 11)


@pytest.mark.parametrize(("images", "levels"), [(300, 10_000), (300, 8), (40, 3), (12, 2)])
def test_precision_is_that_of_scikit_learn_and_of_voc(images, levels):
    scores, label = problem(images, levels)
    assert (len(np.unique(scores)) < scores.size / 4) == (levels < 10)  # ties, or hardly any
    for score, one in zip(scores.T, label.T, strict=True):
        kept = one != IGNORED
        area, points = unweighted(score, one)
        assert area == pytest.approx(average_precision_score(one[kept] == PRESENT, score[kept]), abs=1e-6)
        assert points == pytest.approx(official(score, one), abs=1e-6)


def test_a_recall_of_three_in_ten_reaches_the_point_at_three_tenths():
    score, label = np.arange(20.0)[::-1], np.zeros(20, np.int8)
    label[[0, 1, 2, *range(13, 20)]] = PRESENT
    assert unweighted(score, label)[1] == pytest.approx((4 * 1 + 7 * 0.5) / 11)


def test_equal_scores_have_the_share_of_the_class_as_precision_in_any_order():
    _, label = problem(200, 10)
    chance = measures.MEAN_PRECISION.chance(label, 5)
    areas = [unweighted(np.zeros(200), one)[0] for one in label.T]
    assert 100 * np.mean(areas) == pytest.approx(chance, abs=1e-4)
    assert unweighted(np.zeros(200), label[::-1, 0])[0] == areas[0]


def test_weights_are_repetitions_of_images():
    scores, label = problem(60, 6)
    times = np.random.default_rng(1).integers(0, 4, 60)
    ranking = precision.rank(scores[:, 0], label[:, 0])
    assert ranking is not None
    repeated = unweighted(np.repeat(scores[:, 0], times), np.repeat(label[:, 0], times))[0]
    assert precision.average(ranking, times[:, None].astype(np.float32))[0] == pytest.approx(
        repeated, abs=1e-6
    )
    assert np.isnan(precision.average(ranking, np.zeros((60, 1), np.float32))).all()


def test_a_class_that_no_image_has_is_left_out_of_every_mean():
    scores, label = problem(80, 1000)
    label[:, 2] = np.where(label[:, 2] == PRESENT, IGNORED, label[:, 2])
    label[:, 4] = IGNORED
    found = summary.layers(Answers({"": {"conv1": scores[None]}}, {"conv1": 7}, label), 5)["conv1"]
    assert [value is None for value in found["per_class"]] == [False, False, True, False, True]
    known = [0, 1, 3]
    each = [unweighted(scores[:, i], label[:, i]) for i in known]
    assert found["mAP"] == pytest.approx(100 * np.mean([area for area, _ in each]), abs=1e-3)
    assert found["mAP11"] == pytest.approx(100 * np.mean([points for _, points in each]), abs=1e-3)
    assert [found["per_class"][i] for i in known] == pytest.approx([100 * area for area, _ in each], abs=1e-3)
    only = precision.resampled(scores[:, known], label[:, known])
    np.testing.assert_array_equal(precision.resampled(scores, label), only)
    np.testing.assert_array_equal(np.isfinite(only), True)
    assert np.isfinite(measures.MEAN_PRECISION.chance(label, 5))


def test_without_any_class_there_is_no_mean():
    scores, label = problem(30, 10)
    label[label == PRESENT] = IGNORED
    with pytest.raises(InputError, match="none of the 30 test images has any class"):
        summary.layers(Answers({"": {"conv1": scores[None]}}, {"conv1": 7}, label), 5)


def test_the_choice_in_jax_is_by_the_same_mean():
    scores, label = problem(150, 9)
    label[:, 3] = IGNORED
    present, known = label == PRESENT, label != IGNORED
    expected = np.mean([unweighted(scores[:, i], label[:, i])[0] for i in (0, 1, 2, 4)])
    found = precision.mean(jnp.asarray(scores, jnp.float32), jnp.asarray(present), jnp.asarray(known))
    assert float(found) == pytest.approx(expected, abs=1e-5)
    none = jnp.zeros_like(present)
    assert float(precision.mean(jnp.asarray(scores, jnp.float32), none, jnp.asarray(known))) == 0


def test_intervals_hold_the_value_of_all_images(monkeypatch):
    """Of 60 draws of 120 images, about 95 % of the intervals; and they are not far too wide."""
    monkeypatch.setattr(precision, "RESAMPLES", 200)
    rng = np.random.default_rng(5)

    def draw(images: int) -> tuple[np.ndarray, np.ndarray]:
        label = (rng.random((images, 3)) < [0.2, 0.3, 0.5]).astype(np.int8)
        return rng.normal(size=label.shape) + 1.2 * label, label

    def mean(scores: np.ndarray, label: np.ndarray) -> float:
        return float(np.mean([unweighted(*one)[0] for one in zip(scores.T, label.T, strict=True)]))

    true, hits, widths, errors = mean(*draw(50_000)), 0, [], []
    for _ in range(60):
        scores, label = draw(120)
        value = mean(scores, label)
        low, high = intervals.bootstrap(value, precision.resampled(scores, label))
        hits += low <= true <= high
        widths.append(high - low)
        errors.append(value - true)
    assert hits >= 52
    assert np.mean(widths) < 6 * np.std(errors)


def test_gains_are_paired_by_image_and_averaged_over_untrained_networks():
    scores, label = problem(200, 1000)
    better = scores + 0.4 * (label == PRESENT)

    def answers(*repeats: np.ndarray) -> Answers:
        return Answers({"": {"conv1": np.stack(repeats)}}, {"conv1": 7}, label)

    gain = summary.gains(answers(better), [answers(scores)])["conv1"]
    values = [summary.layers(answers(one), 5)["conv1"] for one in (better, scores)]
    assert gain["points"] == pytest.approx(values[0]["mAP"] - values[1]["mAP"], abs=1e-3)
    low, high = gain["interval"]
    assert 0 < low < gain["points"] < high
    assert high - low < 0.5 * (values[0]["interval"][1] - values[0]["interval"][0])
    assert summary.gains(answers(scores), [answers(scores)])["conv1"] == {
        "points": 0.0,
        "interval": [0.0, 0.0],
    }
    half = summary.gains(answers(better), [answers(scores), answers(better)])["conv1"]
    assert half["points"] == pytest.approx(gain["points"] / 2, abs=1e-3)
    two = summary.layers(answers(scores, better), 5)["conv1"]
    assert two["mAP"] == pytest.approx(np.mean([value["mAP"] for value in values]), abs=1e-3)
    assert len(two["repeats"]) == 2
    assert two["over_repeats"][0] < two["mAP"] < two["over_repeats"][1]
