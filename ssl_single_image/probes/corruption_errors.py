"""Errors after shifts relative to those of a reference network: CE and mCE of Hendrycks & Dietterich (ICLR 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

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


def _errors(values: Mapping[str, Any], name: str) -> tuple[float, float]:
    """The error after a shift, on average over severities, and that on clean images."""
    return 100 - float(np.mean([one["top1"] for one in values["shifts"][name].values()])), 100 - values[
        "top1"
    ]
