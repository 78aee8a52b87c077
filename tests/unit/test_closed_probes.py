"""Kinds of probe in closed form against scikit-learn, and what they refuse."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from probe_fakes import labelled, loaded, shared_out, tiny_backbone  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier

from ssl_single_image import augment, parallel
from ssl_single_image.probes import ProbeConfig, cached, fewshot, knn, linear, make_plan, ridge, runner
from ssl_single_image.types import InputError

TOTAL, SIZE, CLASSES, ROWS = 120, 12, 3, 40


def make_setup() -> Any:
    """As much of a setup as the classifiers of one layer read."""
    plan = make_plan([loaded()], labelled(), ProbeConfig.from_config({"batch_size": 8, "max_features": 200}))
    return plan.setups[0].__class__(**{**vars(plan.setups[0]), "classes": CLASSES, "batch_size": ROWS})


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (240, 12) around a centre for each class, and labels; the first half is for training."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, CLASSES, 2 * TOTAL).astype(np.int32)
    centres = rng.normal(0, 1, (CLASSES, SIZE))
    return 3 + centres[label] + rng.normal(0, 1.5, (2 * TOTAL, SIZE)), label


def split(x: np.ndarray, label: np.ndarray, padding: int = 0) -> tuple[linear.Labelled, linear.Labelled, Any]:
    """Training rows, `padding` of them labelled out at the end, test rows, and the statistics of the training rows."""
    kept = TOTAL - padding
    out = np.where(np.arange(TOTAL) < kept, label[:TOTAL], -1).astype(np.int32)
    train = linear.Labelled(jnp.asarray(x[:TOTAL]), jnp.asarray(out))
    test = linear.Labelled(jnp.asarray(x[TOTAL:]), jnp.asarray(label[TOTAL:]))
    return train, test, linear.Moments(jnp.asarray(x[:kept].mean(0)), jnp.asarray(x[:kept].var(0)))


def standardised(x: np.ndarray, statistics: linear.Moments) -> np.ndarray:
    return (x - np.asarray(statistics.mean)) / np.sqrt(np.asarray(statistics.var) + 1e-5)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("padding", [0, 7])
def test_ridge_is_that_of_scikit_learn(padding):
    x, label = problem()
    train, test, statistics = split(x, label, padding)
    kept = TOTAL - padding
    options = ridge.Options(penalties=(0.3,), held_out=0.2)
    key = jax.random.key(0)
    weights, penalty, _ = ridge.fit(make_setup(), options, kept, train, key, statistics)
    z = standardised(x, statistics)
    target = np.eye(CLASSES)[label[:kept]]
    reference = Ridge(alpha=0.3 * kept, fit_intercept=False).fit(z[:kept], target - target.mean(0))
    assert float(penalty) == 0.3
    np.testing.assert_allclose(weights.kernel, reference.coef_.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(weights.bias, target.mean(0), rtol=1e-12)
    placed = ridge.classify(make_setup(), options, kept, train, test, key, statistics).given[:, 0, 0]
    predicted = (reference.predict(z[TOTAL:]) + target.mean(0)).argmax(1)
    np.testing.assert_array_equal(np.asarray(placed) == 0, predicted == label[TOTAL:])
    assert 0.5 < (np.asarray(placed) == 0).mean() < 1


@pytest.mark.usefixtures("float64")
def test_the_penalty_is_the_one_that_does_best_on_images_held_out():
    """Features of noise but for one: a penalty that is far too large, or none, does worse."""
    rng = np.random.default_rng(3)
    label = rng.integers(0, CLASSES, 2 * TOTAL).astype(np.int32)
    x = rng.normal(size=(2 * TOTAL, 90))
    x[:, 0] += 2.0 * label
    train, test, statistics = split(x, label)
    setup, key = make_setup(), jax.random.key(1)
    penalties = (1e-6, 0.1, 0.3, 1.0, 1e6)
    _, chosen, score = ridge.fit(setup, ridge.Options(penalties, 0.3), TOTAL, train, key, statistics)
    scores = {}
    for one in penalties:
        outcome = ridge.classify(setup, ridge.Options((one,), 0.3), TOTAL, train, test, key, statistics)
        scores[one] = float(outcome.chosen["held_out_top1"])
    assert 100 * float(score) == max(scores.values()) == scores[float(chosen)]
    held = np.asarray(augment.permute_index(key, jnp.arange(36, dtype=jnp.uint32), TOTAL))
    kept = np.setdiff1d(np.arange(TOTAL), held)
    z, target = standardised(x, statistics), np.eye(CLASSES)[label[:TOTAL]]
    share = target.mean(0)
    for one in penalties:
        reference = Ridge(alpha=one * len(kept), fit_intercept=False).fit(z[kept], target[kept] - share)
        hits = (reference.predict(z[held]) + share).argmax(1) == label[held]
        assert scores[one] == pytest.approx(100 * hits.mean())
    assert float(chosen) != 1e-6
    assert len(set(scores.values())) > 1


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(("neighbours", "padding"), [(1, 0), (5, 0), (20, 9)])
def test_neighbours_vote_as_in_scikit_learn(neighbours, padding):
    x, label = problem()
    train, test, statistics = split(x, label, padding)
    options = knn.Options(neighbours=neighbours, temperature=0.07)
    outcome = knn.classify(make_setup(), options, train, test, jax.random.key(0), statistics)
    kept = TOTAL - padding
    reference = KNeighborsClassifier(
        neighbours, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.07)
    ).fit(x[:kept], label[:kept])
    hits = reference.predict(x[TOTAL:]) == label[TOTAL:]
    np.testing.assert_array_equal(np.asarray(outcome.given[:, 0, 0]) == 0, hits)
    assert 0.4 < hits.mean() < 1


@pytest.mark.usefixtures("float64")
def test_few_shots_are_ridge_on_the_drawn_images():
    x, label = problem()
    train, test, statistics = split(x, label)
    options = fewshot.Options(shots=(2, 5), draws=3, penalty=0.1)
    key = jax.random.key(4)
    outcome = fewshot.classify(make_setup(), options, train, test, key, statistics)
    assert outcome.given.shape == (TOTAL, 2, 3)
    z = standardised(x, statistics)
    for number, count in enumerate(options.shots):
        for draw in range(3):
            rows = np.asarray(fewshot.drawn(jax.random.fold_in(key, draw), train.label, CLASSES, 5))
            rows = rows[:, :count].reshape(-1)
            penalty = 0.1 * (z[rows] ** 2).sum(1).mean()
            target = np.eye(CLASSES)[label[rows]] - 1 / CLASSES
            reference = Ridge(alpha=penalty, fit_intercept=False).fit(z[rows], target)
            hits = reference.predict(z[TOTAL:]).argmax(1) == label[TOTAL:]
            np.testing.assert_array_equal(np.asarray(outcome.given[:, number, draw]) == 0, hits)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("kind", ["ridge", "knn", "fewshot"])
def test_four_devices_with_a_share_of_the_features_each_answer_as_one(kind, padding):
    """Of neighbours, more than a device has images; of the test images, some are padding too."""
    x, label = problem()
    train, test, statistics = split(x, label, padding)
    test = test._replace(label=jnp.where(jnp.arange(TOTAL) < TOTAL - padding, test.label, -1))
    setup = make_setup()
    kinds: dict[str, Any] = {
        "ridge": functools.partial(ridge.classify, setup, ridge.Options(held_out=0.2), TOTAL - padding),
        "knn": functools.partial(knn.classify, setup, knn.Options(neighbours=TOTAL // 4 + 5)),
        "fewshot": functools.partial(fewshot.classify, setup, fewshot.Options(shots=(2, 5), draws=3)),
    }

    def answered(state, key, inputs, *, axis_name):
        outcome = kinds[kind](*inputs, key, state, axis_name)
        return cached.in_order(outcome.given, ROWS, axis_name), dict(outcome.chosen)

    results = []
    for count in (1, 4):
        compiled = parallel.compile_evaluate(answered, split_inputs=True, devices=jax.devices()[:count])
        inputs = shared_out((train, test), ROWS, count)
        results.append(jax.device_get(compiled(statistics, jax.random.key(4), inputs)))
    (one, one_chosen), (four, four_chosen) = results
    np.testing.assert_array_equal(four, one)
    assert 0 < (one[: TOTAL - padding] == 0).mean() < 1
    assert set(np.unique(one)) == ({0, 1, 2, 5} if padding else {0, 1, 2})
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), four_chosen, one_chosen)


def test_draws_are_of_each_class_without_repetition_and_grow():
    label = jnp.asarray([-1, *np.arange(60) % 3, -1], jnp.int32)
    key = jax.random.key(0)
    rows = np.asarray(fewshot.drawn(key, label, 3, 8))
    assert rows.shape == (3, 8)
    np.testing.assert_array_equal(np.asarray(label)[rows], np.arange(3)[:, None].repeat(8, 1))
    assert all(len(set(row)) == 8 for row in rows.tolist())
    np.testing.assert_array_equal(rows[:, :3], fewshot.drawn(key, label, 3, 3))
    assert (rows != np.asarray(fewshot.drawn(jax.random.key(1), label, 3, 8))).any()


def run(*encoders: Any, **changes: Any) -> dict[str, Any]:
    config = ProbeConfig.from_config({"dataset": "stripes", "batch_size": 20, "max_features": 200} | changes)
    return runner.run(make_plan(encoders or [loaded()], labelled(train=200, test=100), config))


@pytest.mark.parametrize(
    ("kind", "options", "floor"),
    [
        ("ridge", {"penalties": (0.1, 1.0)}, 25),
        ("knn", {"neighbours": 5}, 15),
        ("fewshot", {"shots": (2, 10), "draws": 4}, 15),
    ],
)
def test_every_kind_learns_and_says_how_well_it_knows(kind, options, floor):
    probe = run(loaded(), loaded("random:tiny", seed=1), kind=kind, options=options)
    trained, untrained = probe["results"]
    assert probe["kind"] == kind
    assert (
        probe["config"]["options"].items()
        >= {k: list(v) if isinstance(v, tuple) else v for k, v in options.items()}.items()
    )
    assert "gains" not in untrained
    for layer, values in trained["layers"].items():
        low, high = values["interval"]
        assert low < high
        assert low <= values["top1"] <= high
        assert values["top1"] > probe["chance"] + floor
        gain = trained["gains"][layer]
        assert gain["points"] == pytest.approx(values["top1"] - untrained["layers"][layer]["top1"], abs=1e-3)
        assert gain["interval"][0] <= gain["points"] <= gain["interval"][1]
        assert len(values["per_class"]) == 3
    if kind == "fewshot":
        few, many = (trained["layers"]["conv2"]["settings"][count] for count in ("2", "10"))
        assert len(many["repeats"]) == 4
        assert many["top1"] == trained["layers"]["conv2"]["top1"] >= few["top1"]
    if kind == "ridge":
        assert trained["layers"]["conv1"]["penalty"] in (0.1, 1.0)


def test_layers_and_seeds_are_chosen():
    probe = run(kind="linear", layers=("conv2",), seeds=2, epochs=2)
    (only,) = probe["results"][0]["layers"].items()
    assert only[0] == "conv2"
    assert len(only[1]["repeats"]) == 2
    assert (
        only[1]["repeats"][0]
        == run(kind="linear", layers=("conv2",), epochs=2)["results"][0]["layers"]["conv2"]["top1"]
    )
    again = run(kind="linear", layers=("conv2",), seed=1, epochs=2)["results"][0]["layers"]["conv2"]["top1"]
    assert only[1]["repeats"][1] == again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"kind": "knn", "options": {"neighbours": 201}},
            "neighbours = 201: there are only 200 training images",
        ),
        (
            {"kind": "fewshot", "options": {"shots": (1, 90)}},
            "class .* of stripes has only .* training images",
        ),
        ({"kind": "fewshot", "options": {"shots": (5, 1)}}, r"shots = \(5, 1\): must be ascending"),
        ({"kind": "fewshot", "options": {"shots": (4000,)}}, "12,000 labels in all"),
        ({"kind": "ridge", "options": {"penalties": ()}}, "penalties"),
        ({"kind": "ridge", "options": {"neighbours": 3}}, "no such field"),
        ({"kind": "knn", "seeds": 2}, "seeds = 2: must be 1 for kind knn"),
        ({"kind": "ridge", "protocol": "published"}, "kind ridge has the cached protocol only"),
        ({"layers": ("conv9",)}, "tiny has no 'conv9'"),
    ],
)
def test_bad_options_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        run(**changes)


@pytest.mark.parametrize("kind", ["ridge", "knn", "fewshot"])
def test_features_that_are_not_finite_are_refused(kind):
    broken = loaded("runs/broken")
    kernel = broken.encoder.params["conv2"]["kernel"]
    broken.encoder.params["conv2"]["kernel"] = jnp.full_like(kernel, jnp.nan)
    with pytest.raises(InputError, match="runs/broken: its features at conv2 are not finite"):
        run(broken, kind=kind)
