"""From answers to the numbers of `probe.json`, whatever the measure: values by layer, and gains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ssl_single_image.probes import measures
from ssl_single_image.probes.kinds import Answers


def layers(answers: Answers, classes: int) -> dict[str, dict[str, Any]]:
    """Layer -> what `probe.json` says of it; of several settings the last one stands for the layer."""
    measure = measures.of(answers.label)
    *_, last = answers.given
    found: dict[str, dict[str, Any]] = {}
    for layer in answers.given[last]:
        by_setting = {
            setting: measure.describe(of_layers[layer], answers.label, classes)
            for setting, of_layers in answers.given.items()
        }
        found[layer] = by_setting[last] | {"features": answers.features[layer]}
        found[layer] |= answers.chosen.get(layer, {})
        if len(by_setting) > 1:
            found[layer]["settings"] = by_setting
    return found


def groups(
    answers: Answers, members: Mapping[str, np.ndarray], classes: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Layer -> group -> the measure over the test examples of that group alone, and how many these are.

    Args:
      answers: to all test examples, in their order.
      members: group -> (N,) bool.
      classes: how many there are.
    """
    measure = measures.of(answers.label)
    *_, last = answers.given
    return {
        layer: {
            name: measure.describe(given[:, rows], answers.label[rows], classes)
            | {"examples": int(rows.sum())}
            for name, rows in members.items()
        }
        for layer, given in answers.given[last].items()
    }


def gains(answers: Answers, untrained: Sequence[Answers]) -> dict[str, dict[str, Any]]:
    """Layer -> "points" of the measure above untrained networks of the same spec, and their paired interval."""
    measure = measures.of(answers.label)
    *_, last = answers.given
    found = {}
    for layer, given in answers.given[last].items():
        others = [other.given[last][layer] for other in untrained]
        gained, interval = measure.gain(given, others, answers.label)
        found[layer] = {
            "points": measures.percent(gained),
            "interval": [measures.percent(end) for end in interval],
        }
    return found
