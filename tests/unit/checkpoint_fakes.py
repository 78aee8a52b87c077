"""A small state and an untrained encoder, and their checkpoints, for tests of what is stored."""

import jax
import jax.numpy as jnp
import optax
import pytest

from ssl_single_image import models
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.types import EncoderSpec, State

PLAIN = {"sobel": False, "slope": 0.0, "first_norm": True}
SPEC = EncoderSpec("alexnet32", PLAIN, 32, models.MEAN, models.STD)
OPTIMIZER = optax.chain(optax.add_decayed_weights(1e-3), optax.adam(optax.constant_schedule(0.1)))


@pytest.fixture(scope="module")
def encoder():
    return models.untrained(SPEC, jax.random.key(1))


def make_state(step=3, width=4, dtype=jnp.float32):
    params = {"a": {"kernel": jnp.arange(width, dtype=dtype)}}
    return State(jnp.int32(step), params, {}, OPTIMIZER.init(params), {"labels": jnp.arange(5)})


def save(workdir, encoder, *steps, losses=()):
    store = CheckpointStore(workdir, keep=5)
    for step, loss in zip(steps, losses or [1.0] * len(steps), strict=True):
        store.save(make_state(step), encoder, {"source": "builtin:coffee"}, {"eval/loss": loss})
    store.close()
