"""One device and four devices: the same global batch gives the same run, and replicas never drift apart.

All is computed in float64, where programs that differ in the order of their sums agree to 1e-12. In float32 a rectified
unit near 0 may change sides, and whether it does depends on the processor.
"""

import jax
import numpy as np
import pytest
from objective_fakes import MATCHING, PLAIN, entry, inputs_of, make, start
from precision import distance, float64

from ssl_single_image import augment
from ssl_single_image.objectives import OBJECTIVES
from ssl_single_image.parallel import (
    compile_evaluate,
    compile_step,
    compile_whole,
    divide,
    local_batch_size,
)
from ssl_single_image.types import InputError

STEPS = 3
ROUNDING = 1e-9
"""What a step may differ by, as a share of what it changes: measured 1e-13."""
OF_A_REPLICA = ("diversity", "loss", "accuracy", "reconstruction_shuffled", "latent_shuffled", "inversion")
"""What BiGAN measures among the examples of one replica; in training only the first."""


def compiled(name, devices, sync=True):
    objective, split = make(name, sync), entry(name).labelled
    step = compile_step(objective.step, split_inputs=split, devices=devices)
    evaluate = compile_evaluate(objective.evaluate, split_inputs=split, devices=devices)
    return step, evaluate, compile_whole(devices), devices


@pytest.fixture(scope="module", params=sorted([*OBJECTIVES, MATCHING]))
def steps(request):
    """Of each step of a run on one device: the state before it, and (state, metrics, metrics of an evaluation) after
    it on one device and, from the same state, on four."""
    assert jax.device_count() == 4
    taken = []
    with float64():
        inputs = inputs_of(request.param)
        programs = [compiled(request.param, jax.devices()[:count]) for count in (1, 4)]
        state = start(request.param, inputs)
        for _ in range(STEPS):
            after = []
            for step, evaluate, whole, devices in programs:
                new, metrics = step(divide(state, devices), jax.random.key(1), inputs)
                measured = jax.device_get((metrics, evaluate(new, jax.random.key(2), inputs)))
                after.append((whole(new), *measured))
            taken.append((state, *after))
            state = jax.device_get(after[0][0])
    return taken


def difference(a, b, start):
    """The distance of a from b, relative to that of a from start."""
    return distance(a, b) / distance(a, start)


@pytest.mark.parametrize("part", ["params", "batch_stats", "opt_state"])
def test_four_devices_are_one(steps, part):
    for before, (one, *_), (four, *_) in steps:
        assert {leaf.dtype for leaf in jax.tree.leaves(four.params)} == {np.dtype("float64")}
        assert difference(*(getattr(state, part) for state in (one, four, before))) < ROUNDING


def test_extras_on_four_devices_are_those_on_one(steps):
    for before, (one, *_), (four, *_) in steps:
        changed = distance(one.extras, before.extras)  # 0 of most
        assert distance(one.extras, four.extras) <= ROUNDING * changed


def test_metrics_on_four_devices_are_those_on_one(steps):
    for _, (_, *one), (_, *four) in steps:
        for ours, theirs in zip(four, one, strict=True):
            own: tuple[str, ...] = OF_A_REPLICA if "diversity" in ours else ()
            own = (
                own if "latent" in ours else own[:1]
            )  # BiGAN trains its discriminator with common statistics
            assert set(ours) > set(own)
            for name in set(ours) - set(own):
                np.testing.assert_allclose(ours[name], theirs[name], rtol=ROUNDING, err_msg=name)


def test_replicas_hold_the_same_bits(steps):
    *_, (four, *_) = steps[-1]
    for leaf in jax.tree.leaves(four):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 4
        for shard in shards[1:]:
            np.testing.assert_array_equal(shards[0], shard)


def test_crops_on_four_devices_are_those_on_one():
    """Of noise, where a tap weighted otherwise would show; colour jitter and all."""
    spec = PLAIN.replace(jitter_probability=1.0)
    indices = np.arange(64)

    def render(indices, atlas):
        return augment.render_crops(atlas, jax.random.key(1), indices, spec)

    with float64():
        atlas = inputs_of("rotnet")
        one = np.asarray(jax.jit(render)(indices, atlas))
        four = jax.pmap(render, in_axes=(0, None))(indices.reshape(4, 16), atlas).reshape(one.shape)
        constant = jax.jit(lambda indices: render(indices, atlas))
        single = np.concatenate([constant(indices[i : i + 1]) for i in range(len(indices))])
    np.testing.assert_array_equal(four, one)
    np.testing.assert_array_equal(single, one)


def test_a_refresh_on_four_devices_is_one_on_one():
    """Of 100 crops in batches of 8, so that replicas have padding."""
    results = []
    with float64():
        objective, atlas, key = make("deepcluster"), inputs_of("deepcluster"), jax.random.key(1)
        for count in (1, 4):
            refresh = compile_step(objective.refresh, split_inputs=False, devices=jax.devices()[:count])
            results.append(jax.device_get(refresh(start("deepcluster", atlas), key, atlas)))
    (one, one_metrics), (four, four_metrics) = results
    np.testing.assert_array_equal(one.extras.labels(), four.extras.labels())
    assert len(np.unique(one.extras.labels())) > 5
    for name, value in one_metrics.items():
        np.testing.assert_allclose(four_metrics[name], value, rtol=1e-6, err_msg=name)
    jax.tree.map(np.testing.assert_array_equal, one.params, four.params)


def test_batch_norm_per_replica_is_another_run_with_replicas_still_alike():
    with float64():
        inputs = inputs_of("rotnet")
        before = start("rotnet", inputs)
        together, apart = (
            compiled("rotnet", jax.devices(), sync)[0](before, jax.random.key(1), inputs)[0]
            for sync in (True, False)
        )
        assert difference(together.params, apart.params, before.params) > 0.01
    for leaf in jax.tree.leaves(apart.batch_stats):
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        for shard in shards[1:]:
            np.testing.assert_array_equal(shards[0], shard)


def test_a_batch_that_does_not_split():
    for size, near in ((6, "4 or 8"), (3, "4"), (257, "256 or 260")):
        told = f"batch_size {size} can't be split evenly over 4 devices; the nearest that can: {near}"
        with pytest.raises(InputError, match=f"^{told}$"):
            local_batch_size(size)
    assert local_batch_size(8) == 8
