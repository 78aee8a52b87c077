"""The training loop: calls compiled steps, writes metrics and checkpoints, resumes. It knows no objective by name."""

from __future__ import annotations

import collections
import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import optax
from absl import logging
from PIL import Image

from ssl_single_image import parallel
from ssl_single_image.keys import Stream, stream
from ssl_single_image.runs import metrics as metrics_lib
from ssl_single_image.runs.checkpoint import CheckpointStore
from ssl_single_image.runs.signals import Stopped, StopRequest, stop_on_signal
from ssl_single_image.schema import Section, Within
from ssl_single_image.types import Halted, InputError, Metrics, Objective, PyTree, State

IN_FLIGHT = 2
"""Calls queued on the device before the host waits for the oldest."""


Draw = Callable[[State], Mapping[str, Image.Image]]
"""State -> pictures by name."""


class Diverged(Halted):
    """The loss is no longer a number; status 1."""


@dataclasses.dataclass(frozen=True)
class PretrainPlan(Section):
    """The length of a run and its intervals, all in steps.

    Attributes:
      steps: optimisation steps in all.
      batch_size: images of one step over all devices, shown as progress.
      log_every: steps between two logs of training metrics, which are means since the last log.
      eval_every: steps between two evaluations on held-out inputs; 0: never.
      checkpoint_every: steps between two checkpoints; there is one more at the end.
      keep: number of the newest checkpoints that are kept, beside the best one.
      steps_per_call: steps in one compiled call; must divide the others.

    Raises:
      InputError: a count out of range, or not a multiple of steps_per_call.
    """

    steps: Annotated[int, Within(1, 2**31, "[)")] = 1000
    batch_size: Annotated[int, Within(1)] = 64
    log_every: Annotated[int, Within(1)] = 50
    eval_every: Annotated[int, Within(0)] = 500
    checkpoint_every: Annotated[int, Within(1)] = 500
    keep: Annotated[int, Within(1)] = 3
    steps_per_call: Annotated[int, Within(1)] = 1

    def check(self) -> None:
        for name in ("steps", "log_every", "eval_every", "checkpoint_every"):
            if getattr(self, name) % self.steps_per_call:
                raise InputError(
                    f"{name} = {getattr(self, name)}: must be a multiple of steps_per_call, {self.steps_per_call}"
                )


@dataclasses.dataclass(frozen=True)
class Data:
    """Where inputs come from.

    Attributes:
      example: what `Objective.init` gets.
      train: start step -> an endless iterator with one item a call, from that step on.
      evaluate: () -> the inputs of one evaluation, in order.
      split: whether inputs are batches to be split over devices (else an atlas for each).
    """

    example: PyTree
    train: Callable[[int], Iterator[PyTree]]
    evaluate: Callable[[], Iterable[PyTree]]
    split: bool


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
    started: Callable[[], None] | None = None,
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
      started: called once, after the first step and what is logged or saved with it.

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
    store = CheckpointStore(workdir, plan.keep)
    state = _start(objective, store, stream(seed, Stream.INIT), data.example)
    writer = metrics_lib.MetricsWriter(workdir, int(state.step))
    run = _Run(objective, plan, data, seed, store, writer, config, schedule, devices, draw, started)
    try:
        with stop_on_signal() as stop:
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
        store.close()
        writer.close()


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
    writer: metrics_lib.MetricsWriter
    config: dict[str, Any]
    schedule: optax.Schedule | None
    devices: Sequence[jax.Device] | None
    draw: Draw | None
    started: Callable[[], None] | None
    warned: str = ""
    refreshing: float = 0.0
    """Seconds spent in refreshes."""
    began: float = dataclasses.field(default_factory=time.perf_counter)

    def go(self, state: State, stop: StopRequest) -> State:
        plan, step = self.plan, int(state.step)
        split, devices = self.data.split, self.devices
        advance = parallel.compile_step(
            self.objective.step, split_inputs=split, steps_per_call=plan.steps_per_call, devices=devices
        )
        measure = parallel.compile_evaluate(self.objective.evaluate, split_inputs=split, devices=devices)
        refresh = self._compile_refresh()
        inputs = self.data.train(step)
        train_key = stream(self.seed, Stream.STEP)
        total: Metrics | None = None
        queued: collections.deque[Metrics] = collections.deque()
        values: dict[str, float] = {}
        with metrics_lib.progress_bar(plan.steps * plan.batch_size, step * plan.batch_size) as bar:
            while step < plan.steps:
                if refresh is not None and _due(step, self.objective.refresh_every):
                    state = self._refresh(refresh, state, step)
                state, metrics = advance(state, train_key, next(inputs))
                step += plan.steps_per_call
                total = metrics_lib.add(total, metrics)
                queued.append(metrics)
                if len(queued) > IN_FLIGHT:
                    jax.block_until_ready(queued.popleft())
                bar.update(plan.steps_per_call * plan.batch_size)
                last = step == plan.steps
                log, save = _due(step, plan.log_every) or last, _due(step, plan.checkpoint_every) or last
                evaluate = plan.eval_every and (_due(step, plan.eval_every) or last)
                stopping = self._stopping(stop, log)
                if log or save or evaluate or stopping:
                    values = self._log(step, total, bar)
                    total = None
                if evaluate:
                    values |= self._evaluate(measure, state, step)
                if self.draw is not None and (evaluate or last) and jax.process_index() == 0:
                    self.writer.pictures(step, self.draw(state))
                if save or stopping:
                    others = {name: take(state) for name, take in self.objective.encoders.items()}
                    self.store.save(state, self.objective.encoder(state), self.config, values, others)
                if stopping and not last:
                    self.store.wait()
                    assert stop.number is not None
                    raise Stopped(stop.number, step)
                if self.started is not None:
                    self.started()
                    self.started = None
        if self.warned:
            logging.warning("the run ended with this problem: %s", self.warned)
        return state

    def _compile_refresh(self) -> Callable[[State], tuple[State, Metrics]] | None:
        if self.objective.refresh is None:
            return None
        compiled = parallel.compile_step(
            self.objective.refresh, split_inputs=self.data.split, devices=self.devices
        )
        key = stream(self.seed, Stream.REFRESH)
        return lambda state: compiled(state, key, self.data.example)

    def _refresh(self, refresh: Callable[[State], tuple[State, Metrics]], state: State, step: int) -> State:
        """Its metrics are those of the step that follows: a run resumed at `step` refreshes again."""
        jax.block_until_ready(state)
        logging.info("refresh before step %d", step + 1)  # it can take minutes
        start = time.perf_counter()
        state, metrics = refresh(state)
        values = metrics_lib.means(metrics, "refresh")
        seconds = time.perf_counter() - start
        self.refreshing += seconds
        share = self.refreshing / (time.perf_counter() - self.began)
        timings = {"refresh/seconds": seconds, "refresh/share_of_time": share}
        self.writer.write(step + 1, values)
        self.writer.timings(step + 1, timings)
        logging.info("before step %d: %s", step + 1, _listed(values | timings))
        return state

    def _stopping(self, stop: StopRequest, log: bool) -> bool:
        """Several processes agree only at log points: asking is a collective."""
        return stop.agreed() if jax.process_count() == 1 or log else False

    def _log(self, step: int, total: Metrics, bar: metrics_lib.tqdm) -> dict[str, float]:
        values = metrics_lib.means(total, "train")
        if self.schedule is not None:
            values["train/learning_rate"] = float(self.schedule(step - 1))
        loss = values.get("train/loss", 0.0)
        if not math.isfinite(loss):
            self.store.wait()
            good = f"step {self.store.latest}" if self.store.latest is not None else "none was written yet"
            raise Diverged(f"the loss is {loss} at step {step}; last good checkpoint: {good}", 1)
        if self.objective.warning is not None:
            self._warn(step, {name.removeprefix("train/"): value for name, value in values.items()})
            values["train/warning"] = float(bool(self.warned))
        self.writer.write(step, values)
        metrics_lib.show(bar, values)
        return values

    def _warn(self, step: int, means: dict[str, float]) -> None:
        """Says once when something goes wrong, and remembers it while it lasts."""
        assert self.objective.warning is not None
        message = self.objective.warning(means)
        if message and not self.warned:
            logging.warning("step %d: %s", step, message)
        self.warned = message

    def _evaluate(self, measure: parallel.CompiledEvaluate, state: State, step: int) -> dict[str, float]:
        key = stream(self.seed, Stream.EVALUATE)
        total: Metrics | None = None
        for number, inputs in enumerate(self.data.evaluate()):
            total = metrics_lib.add(total, measure(state, jax.random.fold_in(key, number), inputs))
        if total is None:
            return {}
        values = metrics_lib.means(total, "eval")
        self.writer.write(step, values)
        logging.info("step %d: %s", step, _listed(values))
        return values


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def _due(step: int, every: int) -> bool:
    return step % every == 0
