"""One device and four devices: the same global batch gives the same run, and replicas never drift apart."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image import augment, images, models
from ssl_single_image.objectives import OBJECTIVES, Setup, deepcluster
from ssl_single_image.parallel import compile_evaluate, compile_step, local_batch_size
from ssl_single_image.types import Batch, EncoderSpec, InputError

STEPS = 8
ROUNDING = 1e-4
"""What a step may differ by, as a share of what it changes, if only sums are in another order: measured 6e-6."""
FLIP = 0.05
"""And where a rectified unit or a maximum of a pool that lay on the border has changed sides: measured 1e-3 to 9e-3.
That befalls every other step."""


def make(name, sync=True):
    crop = augment.CropSpec.preset("paper", 32).replace(min_area=0.05)
    spec = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
    optimizer = optax.sgd(0.02, momentum=0.9)
    options = deepcluster.Options(clusters=10, components=8) if name == "deepcluster" else None
    return OBJECTIVES[name].make(
        Setup(spec, crop, 100, 8, 3, optimizer, sync, view_hflip=0.5, classes=3, options=options)
    )


def inputs_of(name):
    rng = np.random.default_rng(0)
    if OBJECTIVES[name].labelled:
        image = rng.integers(0, 256, (8, 40, 40, 3)).astype(np.uint8)
        return Batch(image, rng.integers(0, 3, 8).astype(np.int32), np.full((8, 2), 40, np.int32))
    return images.build_atlas([rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)])


def compiled(name, devices, sync=True):
    objective, split = make(name, sync), OBJECTIVES[name].labelled
    step = compile_step(objective.step, split_inputs=split, devices=devices)
    evaluate = compile_evaluate(objective.evaluate, split_inputs=split, devices=devices)
    return step, evaluate


@pytest.fixture(scope="module", params=sorted(OBJECTIVES))
def steps(request):
    """Of each step of a run on one device: the state before it, and (state, metrics, metrics of an evaluation) after
    it on one device and, from the same state, on four."""
    assert jax.device_count() == 4
    inputs = inputs_of(request.param)
    programs = [compiled(request.param, jax.devices()[:count]) for count in (1, 4)]
    state = jax.device_get(jax.jit(make(request.param).init)(jax.random.key(0), inputs))
    taken = []
    for _ in range(STEPS):
        after = []
        for step, evaluate in programs:
            new, metrics = step(state, jax.random.key(1), inputs)
            after.append((new, *jax.device_get((metrics, evaluate(new, jax.random.key(2), inputs)))))
        taken.append((state, *after))
        state = jax.device_get(after[0][0])
    return taken


def difference(a, b, start):
    """Norm of a - b, relative to that of a - start."""

    def distance(x, y):
        leaves = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
        return np.sqrt(sum(np.square(np.float64(m) - np.float64(n)).sum() for m, n in leaves))

    return distance(a, b) / distance(a, start)


@pytest.mark.parametrize("part", ["params", "batch_stats", "opt_state"])
def test_four_devices_are_one(steps, part):
    differences = [
        difference(*(getattr(state, part) for state in (one, four, start)))
        for start, (one, *_), (four, *_) in steps
    ]
    assert min(differences) < ROUNDING
    assert max(differences) < FLIP


def test_crops_on_four_devices_are_those_on_one():
    """Of noise, where a tap weighted otherwise would show; colours may be rounded to the next of 1,020 levels."""
    atlas = inputs_of("rotnet")
    spec = augment.CropSpec.preset("paper", 32).replace(min_area=0.05)
    indices = jnp.arange(64)

    def render(indices, atlas):
        return augment.render_crops(atlas, jax.random.key(1), indices, spec)

    one = np.asarray(jax.jit(render)(indices, atlas))
    four = jax.pmap(render, in_axes=(0, None))(indices.reshape(4, 16), atlas).reshape(one.shape)
    constant = jax.jit(lambda indices: render(indices, atlas))
    single = np.concatenate([constant(indices[i : i + 1]) for i in range(len(indices))])
    for crops in (np.asarray(four), single):
        assert np.abs(crops - one).max() < 1.5 / 1020
        assert (crops != one).mean() < 1e-4


def test_metrics_on_four_devices_are_those_on_one(steps):
    for _, (_, one, one_eval), (_, four, four_eval) in steps:
        assert one["loss"][1] == four["loss"][1]
        np.testing.assert_allclose(one["loss"], four["loss"], rtol=1e-3)
        np.testing.assert_allclose(one_eval["loss"], four_eval["loss"], rtol=5e-3)


def test_a_refresh_on_four_devices_is_one_on_one():
    """Of 100 crops in batches of 8, so that replicas have padding; a crop between two clusters may change sides."""
    objective, atlas, key = make("deepcluster"), inputs_of("deepcluster"), jax.random.key(1)
    results = []
    for count in (1, 4):
        refresh = compile_step(objective.refresh, split_inputs=False, devices=jax.devices()[:count])
        state, metrics = refresh(jax.jit(objective.init)(jax.random.key(0), atlas), key, atlas)
        results.append((jax.device_get(state), jax.device_get(metrics)))
    (one, one_metrics), (four, four_metrics) = results
    assert (one.extras.labels() == four.extras.labels()).mean() > 0.98
    np.testing.assert_allclose(one_metrics["inertia"], four_metrics["inertia"], rtol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, one.params, four.params)


def test_replicas_hold_the_same_bits(steps):
    *_, (four, *_) = steps[-1]
    for leaf in jax.tree.leaves(four):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 4
        for shard in shards[1:]:
            np.testing.assert_array_equal(shards[0], shard)


def test_batch_norm_per_replica_is_another_run_with_replicas_still_alike():
    inputs = inputs_of("rotnet")
    together, apart = (jax.jit(make("rotnet").init)(jax.random.key(0), inputs) for _ in range(2))
    alike, alone = (compiled("rotnet", jax.devices(), sync)[0] for sync in (True, False))
    for _ in range(2):
        together, _ = alike(together, jax.random.key(1), inputs)
        apart, _ = alone(apart, jax.random.key(1), inputs)
    kernel = together.params["backbone"]["conv2"]["kernel"], apart.params["backbone"]["conv2"]["kernel"]
    assert float(jnp.abs(kernel[0] - kernel[1]).max()) > 1e-4
    for leaf in jax.tree.leaves(apart.batch_stats):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        for shard in shards[1:]:
            np.testing.assert_array_equal(shards[0], shard)


def test_a_batch_that_does_not_split():
    with pytest.raises(InputError, match="batch_size 6"):
        local_batch_size(6)
    assert local_batch_size(8) == 8
