"""Heads, pooling, the published and the cached protocol as pure steps, against NumPy and scikit-learn."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from precision import widened
from probe_fakes import SIDE, SPEC, shared_out, striped, tiny_backbone, tiny_encoder  # noqa: F401
from sklearn.linear_model import LogisticRegression

from ssl_single_image import augment, models, parallel
from ssl_single_image.datasets.base import numpy_batch
from ssl_single_image.probes import cached, linear, losses, pooling
from ssl_single_image.types import Batch, EncoderSpec, InputError

NO_ENCODER: Any = None  # probes of stored features start without one
MIRROR = augment.CropSpec(size=SIDE, min_area=0.3, aspect=0.75, hflip=0.5)


@pytest.fixture(scope="module")
def encoder():
    return tiny_encoder()


def make_setup(**changes) -> linear.Setup:
    shapes = models.activation_shapes(SPEC)
    pools = pooling.choose(shapes, "adaptive", 256)
    features = {layer: pooling.features(pool, shapes[layer]) for layer, pool in pools.items()}
    setup = linear.Setup(SPEC, pools, features, 3, 8, optax.sgd(0.05, momentum=0.9))
    return dataclasses.replace(setup, **changes)


def devices(count: int) -> list[jax.Device]:
    if jax.device_count() < count:
        pytest.skip(f"needs {count} devices; there are {jax.device_count()}")
    return jax.devices()[:count]


@pytest.mark.parametrize(
    ("height", "width", "side"), [(13, 13, 5), (8, 8, 4), (7, 10, 3), (5, 5, 5), (9, 9, 1)]
)
def test_adaptive_pooling_is_the_naive_loop(height, width, side):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = np.empty((2, side, side, 3), np.float32)
    for i in range(side):
        for j in range(side):
            rows = slice(int(np.floor(i * height / side)), int(np.ceil((i + 1) * height / side)))
            cols = slice(int(np.floor(j * width / side)), int(np.ceil((j + 1) * width / side)))
            expected[:, i, j] = x[:, rows, cols].max((1, 2))
    np.testing.assert_array_equal(pooling.Adaptive(side)(jnp.asarray(x)), expected)


def test_window_pooling_pads_with_nothing():
    x = -np.ones((1, 4, 4, 1), np.float32)
    pooled = pooling.Window(3, 2, 1)(jnp.asarray(x))
    np.testing.assert_array_equal(pooled, -np.ones((1, 2, 2, 1)))


def test_published_feature_counts():
    spec = EncoderSpec("alexnet", {}, 224, models.MEAN, models.STD)
    shapes = models.activation_shapes(spec)
    pools = pooling.choose(shapes, "adaptive", 9600)
    assert [*pools.values()] == [pooling.Adaptive(side) for side in (12, 7, 5, 6, 6)]
    counts = [pooling.features(pool, shapes[layer]) for layer, pool in pools.items()]
    assert counts == [9216, 9408, 9600, 9216, 9216]


def test_published_windows_of_deepcluster():
    shapes = models.activation_shapes(
        EncoderSpec("alexnet", {"variant": "deepcluster"}, 224, models.MEAN, models.STD)
    )
    windows = {"conv1": (6, 6, 3), "conv2": (4, 4), "conv3": (3, 3, 1), "conv4": (3, 3, 1), "conv5": (2, 2)}
    pools = pooling.choose(shapes, windows, 0)
    counts = [pooling.features(pool, shapes[layer]) for layer, pool in pools.items()]
    assert counts == [9600, 9216, 9600, 9600, 9216]


@pytest.mark.parametrize(
    ("rule", "most", "message"),
    [
        ("average", 100, "pooling 'average'"),
        ("adaptive", 10, "max_features 10: conv1 has 64 channels"),
        ({"conv1": (2, 2)}, 100, "the encoder's layers are conv1, conv2"),
        ({"conv1": (2, 2), "conv2": (9, 1)}, 100, r"pooling.conv2 \(9, 1\)"),
        ({"conv1": (2,), "conv2": (2, 2)}, 100, r"pooling.conv1 \(2,\)"),
    ],
)
def test_bad_pooling_is_refused(rule, most, message):
    with pytest.raises(InputError, match=message):
        pooling.choose({"conv1": (8, 8, 64), "conv2": (4, 4, 8)}, rule, most)


def test_a_layer_of_many_channels_keeps_one_value_of_each_where_the_limit_is_a_default():
    shapes = {"conv1": (8, 8, 4), "conv2": (4, 4, 64)}
    pools = pooling.choose(shapes, "adaptive", 40, at_least_a_cell=True)
    assert [pooling.features(pool, shapes[layer]) for layer, pool in pools.items()] == [36, 64]


def test_normalise_is_batch_norm():
    x = np.random.default_rng(0).normal(3, 2, (64, 5)).astype(np.float32)
    mean, var = linear.moments({"a": jnp.asarray(x)}, None)
    expected = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    np.testing.assert_allclose(linear.normalise(jnp.asarray(x), mean["a"], var["a"]), expected, atol=1e-5)


def test_metrics_count_hits_and_skip_padding():
    scores = jnp.asarray([[9, 8, 7, 6, 5, 4, 3.0], [0, 1, 2, 3, 4, 5, 6], [1, 0, 0, 0, 0, 0, 0]])
    measured = losses.metrics({"conv1": scores}, jnp.asarray([0, 2, -1]))
    assert [float(v) for v in measured["conv1/top1"]] == [1, 2]
    assert [float(v) for v in measured["conv1/top5"]] == [2, 2]
    log_p = np.log(np.exp(scores[:2]) / np.exp(scores[:2]).sum(-1, keepdims=True))
    np.testing.assert_allclose(measured["conv1/loss"][0], -(log_p[0, 0] + log_p[1, 2]), rtol=1e-5)


def test_top5_of_few_classes_takes_all():
    measured = losses.metrics({"a": jnp.asarray([[0.0, 1, 2]])}, jnp.asarray([0]))
    assert float(measured["a/top1"][0]) == 0
    assert float(measured["a/top5"][0]) == 1


def test_ten_crop_is_explicit_slicing():
    side, canvas = 8, 15
    rng = np.random.default_rng(0)
    extent = np.array([[10, 15], [11, 9]], np.int32)
    batch = numpy_batch(
        rng.integers(0, 256, (2, canvas, canvas, 3), dtype=np.uint8), np.zeros(2, np.int32), extent
    )
    weight = rng.normal(size=(side, side, 3)).astype(np.float32)

    def predict(x):
        return {"conv1": jnp.einsum("bhwc,hwc->b", x, weight)[:, None] ** 2}

    for b, (height, width) in enumerate(extent):
        image = batch.image[b, :height, :width].astype(np.float32) / 255
        top, left = round((height - side) / 2), round((width - side) / 2)
        corners = [(0, 0), (0, width - side), (height - side, 0), (height - side, width - side), (top, left)]
        views = [image[y : y + side, x : x + side] for y, x in corners]
        views += [view[:, ::-1] for view in views]
        expected = np.mean([(view * weight).sum() ** 2 for view in views])
        got = linear.ten_crop(predict, side, jax.tree.map(jnp.asarray, batch))["conv1"][b, 0]
        np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_central_views_are_central_squares():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 20, 20, 3), dtype=np.uint8)
    extent = np.array([[16, 20], [20, 16], [20, 20]], np.int32)
    central = jax.jit(linear.central_views, static_argnums=1)
    views = central(numpy_batch(image, np.zeros(3, np.int32), extent), 16)
    np.testing.assert_allclose(views[0], image[0, :16, 2:18] / 255, atol=1e-4)
    np.testing.assert_allclose(views[1], image[1, 2:18, :16] / 255, atol=1e-4)
    flat = np.full_like(image, 51)
    shrunk = central(numpy_batch(flat, np.zeros(3, np.int32), extent), 8)
    np.testing.assert_allclose(shrunk, 0.2, atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_one_step_is_sgd_on_normalised_features(encoder):
    """The whole published step against NumPy: batch norm, gradient, momentum, running statistics."""
    optimizer = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.5, 0.9))
    setup = make_setup(crop=None, optimizer=optimizer, dtype="float64")
    probe, batch = linear.published(setup), striped(8)
    state = widened(probe.init(0, encoder))
    after, measured = jax.jit(functools.partial(probe.step, axis_name=None))(state, jax.random.key(1), batch)
    x = jnp.asarray(batch.image, jnp.float32) / 255
    for layer, features in linear.encode(setup, state.extras["encoder"], x).items():
        raw = np.asarray(features, np.float64)
        z = (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-5)
        kernel = np.asarray(state.params[layer]["weight"], np.float64).T
        p = np.exp(z @ kernel)
        p /= p.sum(1, keepdims=True)
        loss = -np.log(p[np.arange(8), batch.label]).mean()
        np.testing.assert_allclose(float(measured[f"{layer}/loss"][0]) / 8, loss, rtol=1e-6)
        expected = kernel - 0.5 * (z.T @ (p - np.eye(3)[batch.label]) / 8 + 0.1 * kernel)
        np.testing.assert_allclose(after.params[layer]["weight"], expected.T, rtol=1e-6)
        np.testing.assert_allclose(after.batch_stats[layer]["mean"], 0.1 * raw.mean(0), rtol=1e-6)
        np.testing.assert_allclose(after.batch_stats[layer]["var"], 0.9 + 0.1 * raw.var(0), rtol=1e-6)


def test_encoder_stays_frozen_and_its_statistics_too(encoder):
    probe = linear.published(make_setup(crop=MIRROR))
    state = probe.init(0, encoder)
    step = jax.jit(functools.partial(probe.step, axis_name=None))
    for number in range(3):
        state, _ = step(state, jax.random.key(number), striped(8, seed=number))
    jax.tree.map(np.testing.assert_array_equal, state.extras["encoder"], linear.variables(encoder))
    assert set(state.params) == {"conv1", "conv2"}


@pytest.mark.usefixtures("float64")
def test_published_step_is_the_same_on_four_devices(encoder):
    probe = linear.published(make_setup(crop=MIRROR, dtype="float64"))
    results = []
    for count in (1, 4):
        step = parallel.compile_step(probe.step, split_inputs=True, devices=devices(count))
        test = parallel.compile_evaluate(probe.classify, split_inputs=True, devices=devices(count))
        state = widened(probe.init(0, encoder))
        for number in range(2):
            state, measured = step(state, jax.random.key(5), striped(8, seed=number))
        results.append(
            (state.params, state.batch_stats, measured, test(state, jax.random.key(0), striped(8)))
        )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), *results)


def build_cache(setup, encoder, data: Batch, count: int = 1) -> cached.Cache:
    """The whole cache, as `count` devices fill it."""
    total, size = len(data.label), setup.batch_size
    fill = parallel.compile_fill(functools.partial(cached.extract, setup), devices=devices(count))
    shards = cached.empty(setup, total, setup.dtype, devices=devices(count))
    for number, start in enumerate(range(0, total, size)):
        rows = np.arange(start, start + size)
        batch = jax.tree.map(lambda x, rows=rows: x[rows % total], data)
        batch = dataclasses.replace(batch, label=np.where(rows < total, batch.label, -1))
        shards = fill(shards, (linear.variables(encoder), np.int32(number)), batch)
    return jax.tree.map(lambda x: joined(np.asarray(x), size, count), shards.parts)


def joined(x: np.ndarray, batch_size: int, count: int) -> np.ndarray:
    """The inverse of `shared_out`."""
    if count == 1:
        return x
    assert len(x) == count
    batches = x.reshape(count, -1, batch_size // count, *x.shape[2:]).swapaxes(0, 1)
    return batches.reshape(-1, *x.shape[2:])


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("count", [1, 4])
def test_cache_holds_the_features_in_order(encoder, count):
    setup, data = make_setup(dtype="float64"), striped(20)
    cache = build_cache(setup, encoder, data, count)
    np.testing.assert_array_equal(cache.label, [*data.label, -1, -1, -1, -1])
    expected = linear.encode(setup, linear.variables(encoder), jnp.asarray(data.image, jnp.float32) / 255)
    for layer, features in expected.items():
        np.testing.assert_allclose(cache.features[layer][:20], features, rtol=1e-5, atol=1e-6)


def test_statistics_are_exact_and_ignore_padding():
    x = np.random.default_rng(0).normal(2, 3, (10, 4)).astype(np.float32)
    cache = cached.Cache({"a": jnp.asarray(x)}, jnp.asarray([0] * 7 + [-1] * 3))
    setup = make_setup(features={"a": 4}, batch_size=5)
    state = cached.probe(setup, 7).init(0, NO_ENCODER)
    state, _ = cached.fit_statistics(setup, state, jax.random.key(0), cache, axis_name=None)
    np.testing.assert_allclose(state.batch_stats["a"]["mean"], x[:7].mean(0), rtol=1e-5)
    np.testing.assert_allclose(state.batch_stats["a"]["var"], x[:7].var(0), rtol=1e-5)


def fit_cached(setup, cache: cached.Cache, total: int, epochs: int, count: int = 1):
    probe = cached.probe(setup, total)
    steps = epochs * (total // setup.batch_size)
    state = probe.init(0, NO_ENCODER)
    state = widened(state) if setup.dtype == "float64" else state
    state, _ = cached.fit_statistics(setup, state, jax.random.key(0), cache, axis_name=None)
    train = parallel.compile_step(probe.step, split_inputs=True, steps_per_call=steps, devices=devices(count))
    return probe, *train(state, jax.random.key(0), shared_out(cache, setup.batch_size, count))


@pytest.mark.usefixtures("float64")
def test_cached_training_is_the_same_on_four_devices(encoder):
    setup = make_setup(dtype="float64")
    cache = build_cache(setup, encoder, striped(20))
    results = [fit_cached(setup, cache, 20, 2, count) for count in (1, 4)]
    answers = [
        parallel.compile_evaluate(probe.classify, split_inputs=True, devices=devices(count))(
            state, jax.random.key(0), shared_out(cache, setup.batch_size, count)
        )
        for count, (probe, state, _) in zip((1, 4), results, strict=True)
    ]
    jax.tree.map(np.testing.assert_array_equal, *answers)
    assert answers[0]["conv2"].shape == (24,)
    assert float(results[0][2]["conv1/loss"][1]) == 2 * 16  # two epochs of two whole batches of eight
    for (_, one, a), (_, four, b) in [results]:
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), one.params, four.params
        )
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-9), a, b)


@pytest.mark.usefixtures("float64")
def test_statistics_are_the_same_on_four_devices(encoder):
    setup = make_setup(dtype="float64")
    cache = build_cache(setup, encoder, striped(20))
    fit, results = functools.partial(cached.fit_statistics, setup), []
    for count in (1, 4):
        step = parallel.compile_step(fit, split_inputs=True, devices=devices(count))
        state = widened(cached.probe(setup, 20).init(0, NO_ENCODER))
        results.append(step(state, jax.random.key(0), shared_out(cache, 8, count))[0].batch_stats)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12), *results)


def test_an_epoch_visits_every_image_once():
    """With one feature a row that names the row, and no learning, the losses add up to those of all rows."""
    setup = make_setup(features={"a": 2}, optimizer=optax.sgd(0.0), batch_size=5)
    x = np.stack([np.arange(20.0), np.arange(20.0) ** 2], 1).astype(np.float32)
    cache = cached.Cache({"a": jnp.asarray(x)}, jnp.arange(20, dtype=jnp.int32) % 3)
    _, state, measured = fit_cached(setup, cache, 20, 1)
    logits = linear.heads(state.params, linear.standardise(state, cache.features))
    whole = losses.metrics(logits, cache.label)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), measured, whole)


def test_heads_agree_with_logistic_regression():
    """Trained to convergence with weight decay, the heads are scikit-learn's solution of the same problem."""
    rng = np.random.default_rng(0)
    total, size, decay = 600, 20, 0.02
    centres = rng.normal(0, 0.6, (3, size))
    label = rng.integers(0, 3, 2 * total)
    x = (centres[label] + rng.normal(0, 1, (2 * total, size)) * rng.uniform(0.5, 4, size)).astype(np.float32)
    train = cached.Cache({"a": jnp.asarray(x[:total])}, jnp.asarray(label[:total], jnp.int32))
    test = cached.Cache({"a": jnp.asarray(x[total:])}, jnp.asarray(label[total:], jnp.int32))
    schedule = optax.cosine_decay_schedule(0.1, 150 * 12)
    decayed = optax.add_decayed_weights(decay, mask=lambda p: {"a": {"weight": True, "bias": False}})
    optimizer = optax.chain(decayed, optax.sgd(schedule, momentum=0.9))
    setup = make_setup(features={"a": size}, batch_size=50, optimizer=optimizer)
    probe, state, _ = fit_cached(setup, train, total, 150)

    z = (x - x[:total].mean(0)) / np.sqrt(x[:total].var(0) + 1e-5)
    reference = LogisticRegression(C=1 / (decay * total), tol=1e-8, max_iter=2000).fit(
        z[:total], label[:total]
    )
    ours = np.asarray(linear.heads(state.params, linear.standardise(state, test.features))["a"])
    agreement = (ours.argmax(1) == reference.predict(z[total:])).mean()
    placed = probe.classify(state, jax.random.key(0), test, axis_name=None)["a"]
    accuracy = float((placed == 0).mean())
    assert accuracy > 0.55  # chance is a third
    assert abs(accuracy - reference.score(z[total:], label[total:])) <= 0.005
    assert agreement >= 0.99
    np.testing.assert_allclose(jax.nn.softmax(ours), reference.predict_proba(z[total:]), atol=0.02)
