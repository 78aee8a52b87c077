"""What the training loop costs beside the steps: its own work at each step, and its checkpoints.

"loop" trains with a step that does nothing, against the bare compiled step called as often. Runs of two lengths are
compared, so start and compilation drop out. "checkpoint" is the time for which saving holds up the loop, and then the
time until all is on disk. Both are shares of the time between two checkpoints. `python benchmarks/loop.py --json`
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp

from ssl_single_image import images, models
from ssl_single_image.experiments import configs, pretrain_config
from ssl_single_image.objectives import rotnet
from ssl_single_image.parallel import compile_step
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.training import loop
from ssl_single_image.types import EncoderSpec, EncoderVariables, Objective, State

SHORT, LONG = 500, 4500
LOG_EVERY = 50
SPEC = EncoderSpec("alexnet32", {}, 32, models.MEAN, models.STD)


def nothing() -> Objective:
    """An objective whose step only counts."""

    def init(key: jax.Array, inputs: Any) -> State:
        del key, inputs
        return State(jnp.int32(0), {"w": jnp.zeros(3)}, {}, {}, {})

    def step(state: State, key: jax.Array, inputs: Any, *, axis_name: str | None) -> Any:
        del key, inputs, axis_name
        return state.replace(step=state.step + 1), {"loss": (jnp.float32(0), jnp.float32(1))}

    def evaluate(state: State, key: jax.Array, inputs: Any, *, axis_name: str | None) -> Any:
        del state, key, inputs, axis_name
        return {"loss": (jnp.float32(0), jnp.float32(1))}

    return Objective(init, step, evaluate, lambda state: EncoderVariables(SPEC, state.params, {}))


def looped(steps: int) -> float:
    """Seconds of a run."""
    plan = loop.PretrainPlan(
        steps=steps, batch_size=1, log_every=LOG_EVERY, eval_every=0, checkpoint_every=10**6
    )
    data = loop.Data(0.0, lambda step: itertools.repeat(0.0), lambda: [], split=False)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        loop.train(nothing(), plan, data, seed=0, workdir=Path(folder), config={}, devices=jax.devices()[:1])
        return time.perf_counter() - start


def bare(steps: int) -> float:
    """Seconds of as many calls of the compiled step."""
    objective = nothing()
    start = time.perf_counter()
    step = compile_step(objective.step, split_inputs=False, devices=jax.devices()[:1])
    state, key = objective.init(jax.random.key(0), 0.0), jax.random.key(1)
    for _ in range(steps):
        state, _ = step(state, key, 0.0)
    jax.block_until_ready(state)
    return time.perf_counter() - start


def overhead(repeats: int) -> dict[str, Any]:
    """One row, in milliseconds a step."""
    found: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        for name, run in (("ours", looped), ("theirs", bare)):
            found[name].append(1000 * (run(LONG) - run(SHORT)) / (LONG - SHORT))
    ours, theirs = (statistics.median(values) for values in found.values())
    return {
        "case": f"loop, a log line every {LOG_EVERY} steps",
        "peer": "bare step",
        "ours": ours,
        "theirs": theirs,
        "difference": ours - theirs,
        "unit": "ms/step",
    }


def checkpoints(repeats: int) -> list[dict[str, Any]]:
    """Two rows: shares of the time between two checkpoints, in percent."""
    config = configs.read("pretrain", pretrain_config("rotnet", preset="cifar32", image="builtin:astronaut"))
    atlas = images.build_atlas([source.pixels for source in images.load_source(config.source)])
    objective = rotnet.make(config.setup())
    step = compile_step(objective.step, split_inputs=False, devices=jax.devices()[:1])
    state, key = jax.jit(objective.init)(jax.random.key(0), atlas), jax.random.key(1)
    state, _ = step(state, key, atlas)
    held, written, stepped = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        for _ in range(repeats + 1):
            start = time.perf_counter()
            state, _ = step(state, key, atlas)
            jax.block_until_ready(state)
            stepped.append(time.perf_counter() - start)
            start = time.perf_counter()
            store.save(state, objective.encoder(state), config.to_config(), {"eval/loss": 1.0})
            held.append(time.perf_counter() - start)
            store.wait()
            written.append(time.perf_counter() - start)
        store.close()
    between = config.checkpoint_every * statistics.median(stepped[1:])
    rows = {"holds up the loop": held, "until it is on disk": written}
    return [
        {
            "case": f"checkpoint every {config.checkpoint_every} steps, B={4 * config.batch_size}: {name}",
            "peer": "training between two",
            "ours": statistics.median(seconds[1:]),
            "theirs": between,
            "ratio": statistics.median(seconds[1:]) / between,
            "unit": "s",
        }
        for name, seconds in rows.items()
    ]


def main() -> None:
    args = common.parse(__doc__ or "")
    common.report([overhead(args.repeats), *checkpoints(args.repeats)], args.json)


if __name__ == "__main__":
    main()
