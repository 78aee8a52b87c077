"""How long a run is and how often things happen in it, and where its inputs come from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated

from ssl_single_image.runs import sinks
from ssl_single_image.runs.sinks import SINKS
from ssl_single_image.schema import Section, Told, Within
from ssl_single_image.types import InputError, PyTree


@dataclasses.dataclass(frozen=True)
class PretrainPlan(Section):
    """The length of a run and its intervals, all in steps.

    Attributes:
      steps: optimisation steps in all.
      batch_size: crops (or labelled images) of one step, over all devices together. An objective makes one or more
        views of each, which the encoder sees: RotNet makes four, the others one.
      log_every: steps between two logs of training metrics, which are means since the last log.
      eval_every: steps between two evaluations on held-out inputs; 0: never.
      checkpoint_every: steps between two checkpoints; there is one more at the end.
      probe_every: steps between two quick probes of the encoder, which need labels; 0: never.
      keep: number of the newest checkpoints that are kept, beside the best one.
      steps_per_call: steps in one compiled call; must divide the others.
      stall_seconds: seconds without the end of a step after which what every thread is doing is printed; 0: never.
      sinks: where metrics go beside `metrics.jsonl`.

    Raises:
      InputError: a count out of range, or not a multiple of steps_per_call.
    """

    steps: Annotated[int, Within(1, 2**31, "[)")] = 1000
    batch_size: Annotated[int, Within(1)] = 64
    log_every: Annotated[int, Within(1)] = 50
    eval_every: Annotated[int, Within(0)] = 500
    checkpoint_every: Annotated[int, Within(1)] = 500
    probe_every: Annotated[int, Within(0)] = 0
    keep: Annotated[int, Within(1)] = 3
    steps_per_call: Annotated[int, Within(1)] = 1
    stall_seconds: Annotated[float, Within(0)] = 600.0
    sinks: Annotated[tuple[str, ...], Told(f"any of {', '.join(SINKS)}")] = ("tensorboard",)

    def check(self) -> None:
        sinks.check(self.sinks)
        for name in ("steps", "log_every", "eval_every", "checkpoint_every", "probe_every"):
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
