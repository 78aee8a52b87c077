"""Runs a probe: every encoder on one labelled set, to what `probe.json` holds. It knows no kind by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from ssl_single_image import probes
from ssl_single_image.datasets import base
from ssl_single_image.probes import linear, measures, statistics, summary
from ssl_single_image.probes.plan import ProbePlan
from ssl_single_image.runs import LoadedEncoder
from ssl_single_image.types import EncoderSpec

UNNAMED = ("dataset", "data_dir")
"""Fields of a probe's config that name the data: what the data are is recorded beside them."""


def run(plan: ProbePlan) -> dict[str, Any]:
    """Measures all layers of all encoders; the same numbers whenever it is called again.

    Returns:
      What `probe.json` holds. "chance" is what the measure gives, in percent, to answers that do not depend on the
      image.

    Raises:
      InputError: an encoder's features, or a probe's loss, are not finite; or what is measured is not defined.
    """
    kind, classes = probes.find(plan.config.kind), len(plan.data.classes)
    answers = _answers(plan)
    results = [
        {
            "checkpoint": loaded.name,
            "step": loaded.step,
            **_seen(loaded),
            "backbone": setup.encoder.backbone,
            "encoder": _plain(setup.encoder),
            "layers": _layers(plan, one),
        }
        for loaded, setup, one in zip(plan.encoders, plan.setups, answers, strict=True)
    ]
    _add_gains(plan, results, answers)
    kind.finish(plan, results, answers)
    measure = measures.of(answers[0].label)
    return {
        "dataset": plan.data.name,
        "kind": plan.config.kind,
        "title": kind.title,
        "setting": kind.setting,
        "measure": measure.name,
        "protocol": plan.config.protocol,
        "classes": classes,
        "chance": measure.chance(answers[0].label, classes),
        "train_images": plan.train_images,
        "test_images": plan.test_images,
        **({"examples": "objects"} if plan.data.boxed else {}),
        "size": plan.setups[0].encoder.size,
        "test": plan.setups[0].test,
        "config": _recipe(plan.config),
        "data": base.identity(plan.data),
        "results": results,
    }


def _answers(plan: ProbePlan) -> list[probes.Answers]:
    """Of every encoder, in order; those of one spec share a program."""
    programs: dict[int, probes.Program] = {}
    found = []
    for loaded, setup in zip(plan.encoders, plan.setups, strict=True):
        if id(setup) not in programs:
            programs[id(setup)] = program(plan, setup)
        found.append(programs[id(setup)].run(loaded))
    return found


def _layers(plan: ProbePlan, answers: probes.Answers) -> dict[str, dict[str, Any]]:
    """What `probe.json` says of each layer."""
    classes = len(plan.data.classes)
    found = summary.layers(answers, classes)
    if plan.data.groups and len(answers.label) == len(
        plan.data.test
    ):  # a part of them is drawn in another order
        for layer, by_group in summary.groups(answers, plan.data.groups, classes).items():
            found[layer]["groups"] = by_group
    return found


def _add_gains(plan: ProbePlan, results: list[dict[str, Any]], answers: list[probes.Answers]) -> None:
    """Gives every trained result its gains over the untrained networks of its spec, where there are any."""
    untrained: dict[int, list[probes.Answers]] = {}
    for loaded, setup, one in zip(plan.encoders, plan.setups, answers, strict=True):
        if loaded.untrained:
            untrained.setdefault(id(setup), []).append(one)
    for loaded, setup, one, result in zip(plan.encoders, plan.setups, answers, results, strict=True):
        if not loaded.untrained and id(setup) in untrained:
            result["gains"] = summary.gains(one, untrained[id(setup)])


def _recipe(config: probes.ProbeConfig) -> dict[str, Any]:
    """All of the config that decides numbers."""
    whole = config.replace(max_features=config.most_features).to_config()
    return {name: value for name, value in whole.items() if name not in UNNAMED}


def _seen(loaded: LoadedEncoder) -> dict[str, Any]:
    """How many crops, or labelled images, the encoder was trained on, and how the run was evaluated at that step."""
    batch_size = loaded.meta.get("config", {}).get("batch_size")
    found: dict[str, Any] = {"crops": loaded.step * int(batch_size)} if batch_size else {}
    measured = loaded.meta.get("metrics", {})
    evaluated = {name: value for name, value in measured.items() if name.startswith("eval/")}
    return found | ({"metrics": evaluated} if evaluated else {})


def _plain(spec: EncoderSpec) -> dict[str, Any]:
    fields = dataclasses.asdict(spec)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def memory(plan: ProbePlan) -> int:
    """Bytes that one device would hold at most, over all encoders; every program is compiled for that."""
    firsts = {id(setup): (setup, loaded) for loaded, setup in zip(plan.encoders, plan.setups, strict=True)}
    return max(program(plan, setup).memory(loaded) for setup, loaded in firsts.values())


def program(plan: ProbePlan, setup: linear.Setup) -> probes.Program:
    """The kind's program, with the batch-norm statistics that the config asks for."""
    made = probes.find(plan.config.kind).make(plan, setup)
    if plan.config.statistics == "recomputed":
        return statistics.Recomputed(made, plan, setup)
    return made
