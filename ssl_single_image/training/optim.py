"""Optimisers and learning-rate schedules, by name, from optax."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from ssl_single_image.types import InputError, PyTree

OPTIMIZERS = ("sgd", "adam")
SCHEDULES = ("constant", "step", "cosine", "exponential")


def make_schedule(config: Mapping[str, Any], steps: int) -> optax.Schedule:
    """Learning rate as a function of the step.

    Args:
      config: `schedule` ("constant"; "step": multiplied by `factors` at `boundaries`, given as fractions of the
        run so that a longer run keeps its shape; "cosine": to 0 at the end; "exponential": constant up to the first
        of `boundaries`, from there decaying to the first of `factors` at the end), `learning_rate`, `boundaries`,
        `factors`, `warmup` (fraction of the run over which the rate rises linearly from 0).
      steps: length of the run.

    Raises:
      InputError: unknown schedule, or fields that contradict each other.
    """
    peak, warmup = config["learning_rate"], round(config["warmup"] * steps)
    if not peak > 0:
        raise InputError(f"optimizer.learning_rate {peak}: must be above 0")
    if not 0 <= config["warmup"] < 1:
        raise InputError(f"optimizer.warmup {config['warmup']}: a fraction of the run, in [0, 1)")
    if config["schedule"] == "constant":
        main = optax.constant_schedule(peak)
    elif config["schedule"] == "step":
        main = _steps(peak, tuple(config["boundaries"]), tuple(config["factors"]), steps, warmup)
    elif config["schedule"] == "cosine":
        main = optax.cosine_decay_schedule(peak, max(1, steps - warmup))
    elif config["schedule"] == "exponential":
        main = _exponential(peak, config["boundaries"][0], config["factors"][0], steps, warmup)
    else:
        raise InputError(f"optimizer.schedule {config['schedule']!r}: expected one of {', '.join(SCHEDULES)}")
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), main], [warmup])


def _steps(
    peak: float, boundaries: tuple[float, ...], factors: tuple[float, ...], steps: int, warmup: int
) -> optax.Schedule:
    if len(boundaries) != len(factors):
        raise InputError(
            f"optimizer.boundaries has {len(boundaries)} values and optimizer.factors {len(factors)}: one factor each"
        )
    if list(boundaries) != sorted(boundaries) or not all(0 < b < 1 for b in boundaries):
        raise InputError(f"optimizer.boundaries {boundaries}: ascending fractions of the run, each in (0, 1)")
    at = {round(b * steps) - warmup: f for b, f in zip(boundaries, factors, strict=True)}
    return optax.piecewise_constant_schedule(peak, at)


def _exponential(peak: float, boundary: float, factor: float, steps: int, warmup: int) -> optax.Schedule:
    if not 0 <= boundary < 1 or not 0 < factor < 1:
        raise InputError(
            f"optimizer.boundaries[0] {boundary}, factors[0] {factor}: where the decay starts, in [0, 1), and "
            "what it ends at, in (0, 1)"
        )
    begin = round(boundary * steps)
    return optax.exponential_decay(peak, steps - begin, factor, max(0, begin - warmup))


def make_optimizer(config: Mapping[str, Any], schedule: optax.Schedule) -> optax.GradientTransformation:
    """SGD with (Nesterov) momentum, or Adam.

    Weight decay is added to the gradient before momentum, for every parameter, as the published systems do;
    with `decay_gains` false the gains of batch norm are left out.

    Args:
      config: `name`, `momentum`, `nesterov`, `weight_decay`, `decay_gains`, `b1`, `b2`.
      schedule: the learning rate.

    Raises:
      InputError: unknown name.
    """
    makers: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.sgd(schedule, momentum=config["momentum"] or None, nesterov=config["nesterov"]),
        "adam": lambda: optax.adam(schedule, b1=config["b1"], b2=config["b2"]),
    }
    if config["name"] not in makers:
        raise InputError(f"optimizer.name {config['name']!r}: expected one of {', '.join(OPTIMIZERS)}")
    optimizer = makers[config["name"]]()
    if config["weight_decay"]:
        mask = None if config.get("decay_gains", True) else _not_gains
        return optax.chain(optax.add_decayed_weights(config["weight_decay"], mask), optimizer)
    return optimizer


def _not_gains(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key != "scale", params)
