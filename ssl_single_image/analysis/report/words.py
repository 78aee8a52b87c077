"""A table of a probe in sentences, made of its numbers and intervals alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ssl_single_image.analysis import measured, tables
from ssl_single_image.analysis.report import origins

METHOD = (
    "A layer counts as above or below where the 95 % interval of the difference, paired by test image, excludes 0."
    " What another seed of pretraining would give is not in these intervals."
)
NAMED = 3
"""Results that a sentence names; of more it says how many."""
NOTHING_TRAINED = "Only untrained networks were probed."


def summary(probe: tables.Probe) -> list[str]:
    """Sentences on each trained result against its untrained network, and on the highest accuracy or mAP.

    Of a run that was probed at several checkpoints, the newest is told.
    """
    trained = newest([result for result in probe["results"] if not tables.is_random(result)])
    paired = [result for result in trained if result.get("gains")]
    lines = [_compared(probe, result) for result in paired] + _not_compared(probe, trained)
    lines = lines or [NOTHING_TRAINED]
    best = highest(probe)
    if best:
        lines.append(best)
    if paired:
        lines.append(METHOD)
    return lines


def newest(results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of results of one encoder of one run, that of the highest step."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for result in results:
        name = result["checkpoint"]
        key = origins.run_of(name), name.partition("#")[2]
        if key not in found or result["step"] >= found[key]["step"]:
            found[key] = result
    return list(found.values())


def _compared(probe: tables.Probe, result: Mapping[str, Any]) -> str:
    name, images = result["checkpoint"], origins.images(result)
    beginning = f"From {images}, " if images else f"{name}: "
    return f"{beginning}{_differences(result['gains'], name if images else '')}{_shots(probe, result)}."


def _not_compared(probe: tables.Probe, trained: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences on results without gains: why there are none."""
    alone = [result for result in trained if not result.get("gains")]
    beside = [result["checkpoint"] for result in alone if tables.untrained_of(probe, result)]
    single = [result["checkpoint"] for result in alone if result["checkpoint"] not in beside]
    lines = []
    if beside:
        verb, whose = ("was", "its") if len(beside) == 1 else ("were", "their")
        lines.append(
            f"{tables.listed(beside, NAMED)} {verb} not probed together with {whose} untrained network: no paired"
            " interval says where they differ."
        )
    if single:
        whose = "its" if len(single) == 1 else "their"
        lines.append(
            f"{tables.listed(single, NAMED)}: no untrained network of {whose} kind was probed, so what training added"
            " is not known."
        )
    return lines


def _differences(gains: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """`conv2-conv4 of NAME lie above the untrained network by 3.2 to 6.0 points; conv1 does not differ measurably`."""
    order = sorted(gains, key=lambda layer: (len(layer), layer))
    above = [layer for layer in order if gains[layer]["interval"][0] > 0]
    below = [layer for layer in order if gains[layer]["interval"][1] < 0]
    level = [layer for layer in order if layer not in above and layer not in below]
    parts: list[str] = []
    for where, found in (("above", above), ("below", below), ("", level)):
        if found:
            subject = _span(found, order) + (f" of {name}" if name and not parts else "")
            other = "it" if parts else "the untrained network"
            parts.append(f"{subject} {_predicate(where, len(found) > 1, other)}")
            if where:
                parts[-1] += f" by {_points([gains[layer]['points'] for layer in found])}"
    return "; ".join(parts)


def _predicate(where: str, several: bool, other: str) -> str:
    if where:
        return f"{'lie' if several else 'lies'} {where} {other}"
    return f"{'do' if several else 'does'} not differ measurably from {other}"


def _points(values: Sequence[float]) -> str:
    sizes = [abs(value) for value in values]
    low, high = f"{min(sizes):.1f}", f"{max(sizes):.1f}"
    return f"{low} points" if low == high else f"{low} to {high} points"


def _span(layers: Sequence[str], order: Sequence[str]) -> str:
    """Names of layers, those that follow each other as a range: `conv1, conv3-conv5`."""
    ranges: list[list[str]] = []
    for layer in layers:
        if ranges and order.index(layer) == order.index(ranges[-1][-1]) + 1:
            ranges[-1].append(layer)
        else:
            ranges.append([layer])
    names = [one[0] if len(one) == 1 else f"{one[0]}-{one[-1]}" for one in ranges]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _shots(probe: tables.Probe, result: Mapping[str, Any]) -> str:
    """Of a kind with several settings, that of the gains: the last."""
    settings = next((list(values.get("settings", {})) for values in result["layers"].values()), [])
    return f" (with {settings[-1]} {probe['setting']})" if settings and probe.get("setting") else ""


def highest(probe: tables.Probe) -> str:
    """The highest accuracy or mAP of the table with its interval; "" where there are not several to choose from."""
    measure = measured.of(probe)
    found = [
        (values[measure.main], layer, result["checkpoint"], values.get("interval"))
        for result in probe["results"]
        for layer, values in result["layers"].items()
    ]
    if len(found) < 2:
        return ""
    value, layer, name, interval = max(found, key=lambda one: one[0])
    ends = f", 95 % interval {interval[0]:.1f} to {interval[1]:.1f}" if interval else ""
    return f"The highest {measure.word} is {value:.1f} % ({layer} of {name}{ends}); chance is {probe['chance']:.1f} %."
