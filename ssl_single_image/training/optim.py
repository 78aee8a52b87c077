"""Optimisers and learning-rate schedules, by name, from optax."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Annotated

import jax
import optax

from ssl_single_image.schema import OneOf, Section, Within
from ssl_single_image.types import InputError, PyTree


@dataclasses.dataclass(frozen=True)
class Optimizer(Section):
    """An optimiser with its schedule; the defaults are RotNet's (Gidaris et al. 2018).

    Attributes:
      name: "sgd", with momentum, or "adam".
      learning_rate: the highest learning rate of the schedule.
      schedule: "constant"; "step", multiplied by `factors` at `boundaries`; "cosine", to 0 at the end; "exponential",
        constant up to the first of `boundaries`, from there decaying to the first of `factors` at the end.
      boundaries: ascending fractions of the run, so that a longer run keeps its shape.
      factors: what the learning rate is multiplied by, one factor for each boundary.
      warmup: fraction of the run over which the rate rises linearly from 0.
      momentum: momentum of "sgd"; 0: none.
      nesterov: whether the momentum of "sgd" is Nesterov's.
      weight_decay: share of the parameters that is added to their gradient, before momentum, as the published systems
        do.
      decay_gains: whether weight decay includes the gains of batch norm.
      b1: decay of the first moment of "adam".
      b2: decay of the second moment of "adam".

    Raises:
      InputError: a value out of range, or fields that contradict each other.
    """

    TITLE = "optimizer"

    name: Annotated[str, OneOf("sgd", "adam")] = "sgd"
    learning_rate: Annotated[float, Within(0, ends="(]")] = 0.05
    schedule: Annotated[str, OneOf("constant", "step", "cosine", "exponential")] = "cosine"
    boundaries: Annotated[tuple[float, ...], Within(0, 1, "[)")] = (0.3, 0.6, 0.8)
    factors: Annotated[tuple[float, ...], Within(0, 1, "(]")] = (0.1, 0.1, 0.1)
    warmup: Annotated[float, Within(0, 1, "[)")] = 0.0
    momentum: Annotated[float, Within(0, 1, "[)")] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Within(0)] = 5e-4
    decay_gains: bool = True
    b1: Annotated[float, Within(0, 1, "[)")] = 0.9
    b2: Annotated[float, Within(0, 1, "[)")] = 0.999

    def check(self) -> None:
        if self.schedule == "exponential" and not (self.boundaries and self.factors):
            raise InputError(
                "optimizer.boundaries and optimizer.factors: the exponential schedule needs one value of each: where"
                " the decay starts, and the factor at its end"
            )
        if self.schedule == "step" and len(self.boundaries) != len(self.factors):
            raise InputError(
                f"optimizer.boundaries has {len(self.boundaries)} values and optimizer.factors {len(self.factors)}:"
                " must be one factor for each boundary"
            )
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise InputError(f"optimizer.boundaries = {self.boundaries}: must be ascending")
        if self.schedule == "step" and 0 in self.boundaries:
            raise InputError(f"optimizer.boundaries = {self.boundaries}: a step must lie in (0, 1)")


def make_schedule(optimizer: Optimizer, steps: int) -> optax.Schedule:
    """Learning rate as a function of the step, for a run of `steps` steps."""
    peak, warmup = optimizer.learning_rate, round(optimizer.warmup * steps)
    if optimizer.schedule == "constant":
        main = optax.constant_schedule(peak)
    elif optimizer.schedule == "step":
        pairs = zip(optimizer.boundaries, optimizer.factors, strict=True)
        main = optax.piecewise_constant_schedule(peak, {round(b * steps) - warmup: f for b, f in pairs})
    elif optimizer.schedule == "cosine":
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup))
    else:
        begin = round(optimizer.boundaries[0] * steps)
        main = optax.exponential_decay(peak, steps - begin, optimizer.factors[0], max(0, begin - warmup))
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def make_optimizer(optimizer: Optimizer, schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD with (Nesterov) momentum, or Adam, with weight decay."""
    makers: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.sgd(schedule, momentum=optimizer.momentum or None, nesterov=optimizer.nesterov),
        "adam": lambda: optax.adam(schedule, b1=optimizer.b1, b2=optimizer.b2),
    }
    made = makers[optimizer.name]()
    if not optimizer.weight_decay:
        return made
    mask = None if optimizer.decay_gains else _not_gains
    return optax.chain(optax.add_decayed_weights(optimizer.weight_decay, mask), made)


def _not_gains(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "scale", params)
