"""What a run says of itself as it trains: its metrics, its clock, and what is wrong with it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import optax
from absl import logging

from ssl_single_image.runs import progress
from ssl_single_image.runs.metrics import MetricsWriter
from ssl_single_image.training.clock import Clock
from ssl_single_image.training.observing import Usage, Watchdog
from ssl_single_image.training.plan import PretrainPlan
from ssl_single_image.types import Objective


class Recorder:
    """Writes the metrics and timings of one call of `train`, and logs them.

    Args:
      objective: what is trained.
      plan: how long and how often.
      writer: gets all values.
      schedule: learning rate by step, for the log.
    """

    def __init__(
        self, objective: Objective, plan: PretrainPlan, writer: MetricsWriter, schedule: optax.Schedule | None
    ):
        self.views = plan.batch_size * objective.views
        """What the encoder sees in a step."""
        self.writer = writer
        self.watchdog = Watchdog(plan.stall_seconds)
        self._objective, self._plan, self._schedule = objective, plan, schedule
        self._clock, self._usage = Clock(), Usage()
        self._timed = 0  # the step from which on the clock's lap counts
        self._warned: dict[str, str] = {}  # what was last found wrong, in training and in evaluation

    def bar(self, step: int) -> progress.tqdm:
        """The line that says how far the run is, which begins at `step`."""
        return progress.progress_bar(self._plan.steps * self.views, step * self.views, "views")

    @contextlib.contextmanager
    def aside(self, what: str, bar: progress.tqdm, done: str = "") -> Iterator[None]:
        """Something that is no training: the line says what it is, and the speed does not count it."""
        self.watchdog.rest()
        with self._clock.aside(what), progress.waiting(what, bar, done=done):
            yield

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """What happens within is training that waits for inputs."""
        return self._clock.waiting()

    def compiled(self, step: int, usage: Usage) -> None:
        """The first call has been made, up to `step`. It is no part of the speed."""
        self.writer.timings(step, {"compile_seconds": self._clock.spent("compiling")})
        self._clock.lap()
        self._timed, self._usage = step, usage

    def trained(self, step: int, values: dict[str, float], bar: progress.tqdm) -> None:
        """The metrics of training since the last log, to which the learning rate and a warning are added."""
        if self._schedule is not None:
            values["train/learning_rate"] = float(self._schedule(step - 1))
        if self._objective.warning is not None:
            means = {name.removeprefix("train/"): value for name, value in values.items()}
            values["train/warning"] = self._warn(step, "train", means)
        self.writer.write(step, values)
        self.writer.timings(step, self._speed(step) | {"seconds": self._clock.seconds})
        progress.show(bar, values)

    def _speed(self, step: int) -> dict[str, float]:
        """Since the last log; nothing if no step was timed, as where the first one is the only one."""
        steps, (seconds, waited) = step - self._timed, self._clock.lap()
        self._timed = step
        if not steps or seconds <= 0:
            return {}
        told = {"views_per_second": steps * self.views / seconds, "step_seconds": seconds / steps}
        calls = steps / self._plan.steps_per_call
        return told | {"host_wait": waited / seconds} | self._usage.told(seconds / calls)

    def refreshed(self, step: int, values: Mapping[str, float], before: float) -> None:
        """A refresh before `step`, and the seconds that were `spent` on refreshes before it."""
        spent = self.spent("refreshing")
        share = spent / self._clock.seconds
        timings = {"refresh/seconds": spent - before, "refresh/share_of_time": share}
        self.writer.write(step, values)
        self.writer.timings(step, timings)
        logging.info("before step %d: %s", step, _listed({**values, **timings}))

    def spent(self, what: str) -> float:
        """Seconds that went by aside."""
        return self._clock.spent(what)

    def measured(self, step: int, values: Mapping[str, float]) -> None:
        """What an evaluation or a probe found."""
        self.writer.write(step, values)
        logging.info("step %d: %s", step, _listed(values))

    def evaluated(self, step: int, values: dict[str, float]) -> None:
        """What an evaluation found, to which a warning is added."""
        if self._objective.warning is not None:
            values["eval/warning"] = self._warn(step, "eval", values)
        self.measured(step, values)

    def _warn(self, step: int, kind: str, means: dict[str, float]) -> float:
        """Says once when something goes wrong, and remembers it while it lasts; 1 if so, else 0."""
        assert self._objective.warning is not None
        message = self._objective.warning(means)
        if message and not self._warned.get(kind):
            logging.warning("step %d: %s", step, message)
        self._warned[kind] = message
        return float(bool(message))

    def ended(self) -> None:
        """Says what was wrong to the end."""
        for problem in filter(None, self._warned.values()):
            logging.warning("the run ended with this problem: %s", problem)

    def close(self) -> None:
        """Lets go of the files."""
        self.watchdog.rest()
        self.writer.close()


def _listed(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
