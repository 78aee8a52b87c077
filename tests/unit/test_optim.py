"""Schedules at the steps where they change, and the optimiser against the update written out in NumPy."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ssl_single_image.training import optim
from ssl_single_image.types import InputError

BASE = optim.Optimizer(learning_rate=0.1, schedule="constant", boundaries=(), factors=())


def test_step_schedule_is_the_published_one_for_cifar():
    """RotNet on CIFAR-10: .1 / .02 / .004 / .0008 until epoch 60 / 120 / 160 / 200."""
    step = BASE.replace(schedule="step", boundaries=(0.3, 0.6, 0.8), factors=(0.2, 0.2, 0.2))
    schedule = optim.make_schedule(step, 2000)
    for at, rate in [(0, 0.1), (599, 0.1), (601, 0.02), (1201, 0.004), (1601, 0.0008), (1999, 0.0008)]:
        assert float(schedule(at)) == pytest.approx(rate)


def test_cosine_schedule_with_warmup():
    schedule = optim.make_schedule(BASE.replace(schedule="cosine", warmup=0.1), 100)
    assert float(schedule(0)) == 0.0
    assert float(schedule(5)) == pytest.approx(0.05)
    assert float(schedule(10)) == pytest.approx(0.1)
    assert float(schedule(55)) == pytest.approx(0.05)
    assert float(schedule(100)) == pytest.approx(0.0, abs=1e-9)


def test_sgd_is_nesterov_momentum_with_decay_in_the_gradient():
    optimizer = optim.make_optimizer(BASE, optax.constant_schedule(0.1))
    params = jnp.array([1.0, -2.0])
    state = optimizer.init(params)
    want, buffer = np.array([1.0, -2.0]), np.zeros(2)
    for gradient in ([0.5, 0.25], [-1.0, 0.75], [0.1, 0.2]):
        updates, state = optimizer.update(jnp.array(gradient), state, params)
        params = optax.apply_updates(params, updates)
        decayed = np.array(gradient) + 5e-4 * want
        buffer = 0.9 * buffer + decayed
        want = want - 0.1 * (decayed + 0.9 * buffer)
    np.testing.assert_allclose(params, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schedule": "stairs"}, "step"),
        ({"schedule": "step", "boundaries": (0.5,), "factors": ()}, "one factor for each"),
        ({"schedule": "step", "boundaries": (0.5, 0.2), "factors": (1.0, 1.0)}, "ascending"),
        ({"learning_rate": 0.0}, "above 0"),
        ({"warmup": 1.0}, "warmup"),
        ({"schedule": "exponential"}, "needs one value of each"),
        ({"learning_rate": float("inf")}, "optimizer.learning_rate = inf: must be a number above 0"),
        ({"momentum": 5}, r"optimizer.momentum = 5: must be a number in \[0, 1\)"),
        ({"weight_decay": -1.0}, "weight_decay = -1.0: must be a number, at least 0"),
        ({"b1": 2.0}, "b1 = 2.0"),
        ({"boundaries": "abc"}, "boundaries = 'abc': must be a tuple"),
        ({"boundaries": (0.5, "b")}, r"boundaries\[1\] = 'b'"),
        ({"name": "lion"}, "sgd, adam"),
    ],
)
def test_bad_schedules_name_the_field(change, words):
    with pytest.raises(InputError, match=words):
        BASE.replace(**change)
