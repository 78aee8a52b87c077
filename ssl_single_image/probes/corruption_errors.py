"""Errors after shifts relative to those of a reference network: CE and mCE of Hendrycks & Dietterich (ICLR 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ssl_single_image.probes import intervals, precision

LEAST_LOSS = 1.0
"""Points of error that a shift must cost the reference, over severities on average, to have a relative error."""


def relative(values: Mapping[str, Any], references: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The corruption errors of a layer, in percent (Hendrycks & Dietterich 2019, section 4).

    The error E after a shift c at severity s is compared with that of a reference, on average over `references`. CE is
    the sum over s of E, divided by the same sum for the reference. The relative CE takes the errors on clean images off
    first. The means over shifts are mCE and relative mCE.

    Args:
      values: "top1" on clean images, and "shifts" as in `probe.json`.
      references: the same of untrained networks.

    Returns:
      "mCE" and "relative_mCE", None where no shift has one, and "CE" and "relative_CE": shift -> percent. A shift that
      costs the reference less than LEAST_LOSS points has no relative CE.
    """
    ratios: dict[str, dict[str, float]] = {"CE": {}, "relative_CE": {}}
    for name in values["shifts"]:
        error, clean = _errors(values, name)
        base = float(np.mean([_errors(other, name)[0] for other in references]))
        base_clean = float(np.mean([_errors(other, name)[1] for other in references]))
        if base > 0:
            ratios["CE"][name] = round(100 * error / base, 4)
        if base - base_clean >= LEAST_LOSS:
            ratios["relative_CE"][name] = round(100 * (error - clean) / (base - base_clean), 4)
    means = {
        f"{field.removesuffix('CE')}mCE": round(float(np.mean(list(found.values()))), 4) if found else None
        for field, found in ratios.items()
    }
    return means | ratios


class Wrong(NamedTuple):
    """Which of N test images a network's classifier got wrong.

    Attributes:
      clean: (N,) float32, 1 or 0.
      shifted: shift -> (N,) float32, at how many of the severities.
      severities: how many there are.
    """

    clean: Float[np.ndarray, " N"]
    shifted: Mapping[str, Float[np.ndarray, " N"]]
    severities: int


def intervals_of(
    values: Mapping[str, Any], own: Wrong, references: Sequence[Wrong]
) -> dict[str, list[float]]:
    """The 95 % intervals of "mCE" and "relative_mCE", by bootstrap over test images, which all networks share.

    Args:
      values: what `relative` gave.
      own: of the network.
      references: of the untrained networks.

    Returns:
      "mCE_interval" and "relative_mCE_interval", in percent, of those that are defined in any resample.
    """
    names = list(own.shifted)
    own_errors, own_clean = _resampled(own)
    base_errors, base_clean = (
        np.mean(each, axis=0) for each in zip(*map(_resampled, references), strict=True)
    )
    samples = {
        "CE": _ratio(own_errors, base_errors),
        "relative_CE": _ratio(own_errors - own_clean, base_errors - base_clean),
    }
    found = {}
    for field, ratio in samples.items():
        mean = f"{field.removesuffix('CE')}mCE"
        if values[mean] is not None:
            chosen = ratio[:, [names.index(name) for name in values[field]]]
            defined = chosen[np.isfinite(chosen).any(1)]
            if not len(defined):
                continue
            ends = intervals.bootstrap(values[mean], 100 * np.nanmean(defined, axis=1))
            found[f"{mean}_interval"] = [round(end, 4) for end in ends]
    return found


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """NaN where a resample leaves nothing to compare with."""
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def _resampled(wrong: Wrong) -> tuple[Float[np.ndarray, "R shifts"], Float[np.ndarray, "R 1"]]:
    """In each resample: errors after each shift, summed over severities; errors on clean images, as many times."""
    columns = np.stack([wrong.clean * wrong.severities, *wrong.shifted.values()])
    sums = np.concatenate([(columns @ times).T for times in precision.weights(len(wrong.clean))])
    return sums[:, 1:], sums[:, :1]


def _errors(values: Mapping[str, Any], name: str) -> tuple[float, float]:
    """The error after a shift, on average over severities, and that on clean images."""
    return 100 - float(np.mean([one["top1"] for one in values["shifts"][name].values()])), 100 - values[
        "top1"
    ]
