"""The training loop: calls compiled steps, writes metrics and checkpoints, resumes. It knows no objective by name."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import optax
from absl import logging
from PIL import Image

from ssl_single_image import parallel
from ssl_single_image.keys import Stream, stream
from ssl_single_image.parallel import distributed
from ssl_single_image.runs import metrics as metrics_lib
from ssl_single_image.runs import progress
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.runs.signals import Stopped, StopRequest, stop_on_signal
from ssl_single_image.training.observing import Profile, Usage
from ssl_single_image.training.plan import Data, PretrainPlan
from ssl_single_image.training.recording import Recorder
from ssl_single_image.types import EncoderVariables, Halted, InputError, Metrics, Objective, PyTree, State

__all__ = ["Data", "Diverged", "Draw", "PretrainPlan", "Stopped", "train"]

IN_FLIGHT = 2
"""Calls queued on the device before the host waits for the oldest."""


Draw = Callable[[State], Mapping[str, Image.Image]]
"""State -> pictures by name."""
Measure = Callable[[Mapping[str, EncoderVariables]], Mapping[str, float]]
"""Encoders by name, the objective's own by "" -> metrics by name."""


class Diverged(Halted):
    """The loss is no longer a number; status 1."""


def train(
    objective: Objective,
    plan: PretrainPlan,
    data: Data,
    *,
    seed: int,
    workdir: Path,
    config: dict[str, Any],
    schedule: optax.Schedule | None = None,
    devices: Sequence[jax.Device] | None = None,
    draw: Draw | None = None,
    probe: Measure | None = None,
    started: Callable[[], None] | None = None,
    profile: tuple[int, int] | None = None,
) -> State:
    """Starts or resumes the run in `workdir` and returns its last state.

    A run is resumed from the newest whole checkpoint, which gives the state. Its step gives everything else (keys,
    crops, position in the data, learning rate), so a resumed run has the same bits as an uninterrupted one.

    Args:
      objective: what is trained.
      plan: how long and how often.
      data: inputs.
      seed: of initialisation and of everything random in the steps.
      workdir: gets metrics and checkpoints.
      config: JSON-able, stored with each checkpoint.
      schedule: learning rate by step, for the log.
      devices: those to use; default: all.
      draw: what to look at, made at each evaluation and at the end; None: nothing.
      probe: measures the encoders every `plan.probe_every` steps and at the end; changes nothing of the run.
      started: called once, after the first step and what is logged or saved with it.
      profile: (start, stop), the steps of which the workdir gets a trace; None: none.

    Raises:
      Diverged: the loss became NaN or infinite; the last good checkpoint is named.
      Stopped: SIGTERM or SIGINT came; the state is saved.
      InputError: a checkpoint that can't be read, or an interval that the objective's refreshes don't allow.
    """
    if objective.refresh is not None and objective.refresh_every % plan.steps_per_call:
        raise InputError(
            f"steps_per_call = {plan.steps_per_call}: must divide the {objective.refresh_every} steps between"
            " two refreshes of this objective"
        )
    store = CheckpointStore(workdir, plan.keep, objective.best)
    with progress.waiting("making the network"):
        state = _start(objective, store, stream(seed, Stream.INIT), data.example)
    writer = metrics_lib.MetricsWriter(workdir, int(state.step), plan.sinks, config)
    record, tracer = Recorder(objective, plan, writer, schedule), Profile(workdir, profile)
    run = _Run(objective, plan, data, seed, store, config, devices, draw, probe, started, record, tracer)
    try:
        with stop_on_signal() as stop, distributed.together():
            return run.go(state, stop)
    except OSError as error:
        store.wait()
        saved = (
            f"the state of step {store.latest} is saved"
            if store.latest is not None
            else "nothing is saved yet"
        )
        raise Halted(f"{error.strerror or error}: {error.filename or workdir}; {saved}", 1) from error
    finally:
        tracer.close()
        store.close()
        record.close()


def _start(objective: Objective, store: CheckpointStore, key: jax.Array, example: PyTree) -> State:
    if store.latest is None:
        return jax.jit(objective.init)(key, example)
    state = store.restore(jax.eval_shape(objective.init, key, example))
    logging.info("resumed from step %d", int(state.step))
    return state


@dataclasses.dataclass
class _Run:
    """One call of `train`: what does not change while it runs."""

    objective: Objective
    plan: PretrainPlan
    data: Data
    seed: int
    store: CheckpointStore
    config: dict[str, Any]
    devices: Sequence[jax.Device] | None
    draw: Draw | None
    probe: Measure | None
    started: Callable[[], None] | None
    record: Recorder
    tracer: Profile

    def go(self, state: State, stop: StopRequest) -> State:
        plan, step = self.plan, int(state.step)
        split, devices = self.data.split, self.devices
        advance = parallel.compile_step(
            self.objective.step, split_inputs=split, steps_per_call=plan.steps_per_call, devices=devices
        )
        measure = parallel.compile_evaluate(self.objective.evaluate, split_inputs=split, devices=devices)
        refresh = self._compile_refresh()
        inputs = self.data.train(step)
        whole = parallel.compile_whole(devices)
        state = parallel.divide(state, devices)
        train_key = stream(self.seed, Stream.STEP)
        total: Metrics | None = None
        queued: collections.deque[Metrics] = collections.deque()
        values: dict[str, float] = {}
        with self.record.bar(step) as bar:
            call: parallel.CompiledStep = functools.partial(self._first, advance, bar)
            while step < plan.steps:
                if refresh is not None and _due(step, self.objective.refresh_every):
                    state = self._refresh(refresh, state, step, bar)
                with self.record.waiting():
                    given = next(inputs)
                with self.tracer.step(step):
                    state, metrics = call(state, train_key, given)
                call = advance
                step += plan.steps_per_call
                self.tracer.ended(step, metrics)
                total = metrics_lib.add(total, metrics)
                queued.append(metrics)
                if len(queued) > IN_FLIGHT:
                    jax.block_until_ready(queued.popleft())
                self.record.watchdog.alive()
                bar.update(plan.steps_per_call * self.record.views)
                last = step == plan.steps
                log, save = _due(step, plan.log_every) or last, _due(step, plan.checkpoint_every) or last
                evaluate = plan.eval_every and (_due(step, plan.eval_every) or last)
                stopping = stop.agreed()
                probe = plan.probe_every and (_due(step, plan.probe_every) or last)
                if log or save or evaluate or probe or stopping:
                    values = self._log(step, total, bar)
                    total = None
                if evaluate:
                    with self.record.aside("evaluating", bar):
                        values |= self._evaluate(measure, state, step)
                if probe and self.probe is not None:
                    with self.record.aside("probing", bar):
                        values |= self._probe(state, step)
                draw = self.draw is not None and (evaluate or last)
                kept = whole(state) if draw or save or stopping else state
                if draw and jax.process_index() == 0:
                    assert self.draw is not None
                    with self.record.aside("drawing", bar):
                        self.record.writer.pictures(step, self.draw(kept))
                if save or stopping:
                    others = self._encoders(kept)
                    self.store.save(kept, others.pop(""), self.config, values, others)
                if stopping and not last:
                    self.store.wait()
                    assert stop.number is not None
                    raise Stopped(stop.number, step)
                if self.started is not None:
                    with self.record.aside("drawing", bar):
                        self.started()
                    self.started = None
        self.record.ended()
        return whole(state)

    def _first(
        self, advance: parallel.CompiledStep, bar: progress.tqdm, state: State, key: jax.Array, inputs: PyTree
    ) -> tuple[State, Metrics]:
        """The first call, which compiles. It is no part of the estimate of the time left."""
        before = int(state.step)
        with self.record.aside("compiling", bar, done="compiled"):
            usage = Usage.of(advance, state, key, inputs, devices=self.devices)
            made = jax.block_until_ready(advance(state, key, inputs))
        self.record.compiled(before + self.plan.steps_per_call, usage)
        bar.unpause()
        return made

    def _compile_refresh(self) -> Callable[[State], tuple[State, Metrics]] | None:
        if self.objective.refresh is None:
            return None
        compiled = parallel.compile_step(
            self.objective.refresh, split_inputs=self.data.split, devices=self.devices
        )
        key = stream(self.seed, Stream.REFRESH)
        return lambda state: compiled(state, key, self.data.example)

    def _refresh(
        self,
        refresh: Callable[[State], tuple[State, Metrics]],
        state: State,
        step: int,
        bar: progress.tqdm,
    ) -> State:
        """Its metrics are those of the step that follows: a run resumed at `step` refreshes again."""
        jax.block_until_ready(state)
        logging.info("refresh before step %d", step + 1)  # it can take minutes
        before = self.record.spent("refreshing")
        with self.record.aside("refreshing", bar):
            state, metrics = refresh(state)
            values = metrics_lib.means(metrics, "refresh")
        self.record.refreshed(step + 1, values, before)
        return state

    def _log(self, step: int, total: Metrics, bar: progress.tqdm) -> dict[str, float]:
        values = metrics_lib.means(total, "train")
        loss = values.get("train/loss", 0.0)
        if not math.isfinite(loss):
            self.store.wait()
            good = f"step {self.store.latest}" if self.store.latest is not None else "none was written yet"
            raise Diverged(f"the loss is {loss} at step {step}; last good checkpoint: {good}", 1)
        self.record.trained(step, values, bar)
        return values

    def _encoders(self, state: State) -> dict[str, EncoderVariables]:
        """All that the objective offers, its own as ""."""
        return {"": self.objective.encoder(state)} | {
            name: take(state) for name, take in self.objective.encoders.items()
        }

    def _probe(self, state: State, step: int) -> dict[str, float]:
        assert self.probe is not None
        values = {f"probe/{name}": value for name, value in self.probe(self._encoders(state)).items()}
        self.record.measured(step, values)
        return values

    def _evaluate(self, measure: parallel.CompiledEvaluate, state: State, step: int) -> dict[str, float]:
        key = stream(self.seed, Stream.EVALUATE)
        total: Metrics | None = None
        for number, inputs in enumerate(self.data.evaluate()):
            total = metrics_lib.add(total, measure(state, jax.random.fold_in(key, number), inputs))
        if total is None:
            return {}
        values = metrics_lib.means(total, "eval")
        self.record.evaluated(step, values)
        return values


def _due(step: int, every: int) -> bool:
    return step % every == 0
