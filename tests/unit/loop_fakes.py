"""A training loop small enough to see through: y = w x, fitted by SGD, for tests of what a loop does around it."""

import itertools
import json

import jax
import jax.numpy as jnp
import optax

from ssl_single_image import models
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, EncoderVariables, Objective, State

SPEC = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)
OPTIMIZER = optax.sgd(0.05, momentum=0.9)


def make_objective(poison_at=None, on_step=None):
    """`poison_at`: the loss is NaN from that step on. `on_step`: called with the step, from the host."""

    def init(key, inputs):
        params = {"w": jax.random.normal(key, (3,))}
        return State(jnp.int32(0), params, {}, OPTIMIZER.init(params), {})

    def step(state, key, inputs, *, axis_name):
        x = jax.random.normal(key, (8, 3)) + inputs

        def loss(params):
            return ((x @ params["w"] - x.sum(-1)) ** 2).mean()

        value, gradient = jax.value_and_grad(loss)(state.params)
        updates, opt_state = OPTIMIZER.update(gradient, state.opt_state)
        if poison_at is not None:
            value = jnp.where(state.step >= poison_at, jnp.nan, value)
        if on_step is not None:
            jax.debug.callback(on_step, state.step)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
        return state, {"loss": (value * 8, jnp.float32(8))}

    def evaluate(state, key, inputs, *, axis_name):
        return {"loss": (((state.params["w"] - 1) ** 2).sum(), jnp.float32(1))}

    return Objective(init, step, evaluate, lambda state: EncoderVariables(SPEC, state.params, {}))


def data(step_dependent=False):
    def train(step):
        return map(float, itertools.count(step)) if step_dependent else itertools.repeat(0.5)

    return loop.Data(example=0.5, train=train, evaluate=lambda: [0.5], split=False)


def run(workdir, steps=12, objective=None, inputs=None, draw=None, **changes):
    plan = loop.PretrainPlan(**{"steps": steps, "batch_size": 8, "log_every": 2, "eval_every": 4,
                        "checkpoint_every": 4, "keep": 2} | changes)  # fmt: skip
    devices = jax.devices()[:1]
    return loop.train(
        objective or make_objective(),
        plan,
        inputs or data(),
        seed=7,
        workdir=workdir,
        config={},
        devices=devices,
        draw=draw,
    )


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def clocks(workdir):
    return [json.loads(line) for line in (workdir / "timings.jsonl").read_text().splitlines()]
