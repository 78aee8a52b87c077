"""The memory that a probe is said to need: its shares of the features, and what XLA plans beside them."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from probe_fakes import labelled, loaded, tiny_backbone  # noqa: F401

from ssl_single_image.probes import ProbeConfig, ProbePlan, extraction, make_plan, runner

PER_IMAGE = 4 * (128 + 192)
"""Bytes of the pooled features of both layers."""


def plan(train: int, **changes: Any) -> ProbePlan:
    fields = {"dataset": "stripes", "batch_size": 20, "max_features": 200} | changes
    return make_plan([loaded()], labelled(train=train, test=40), ProbeConfig.from_config(fields))


KINDS: dict[str, dict[str, Any]] = {
    **{kind: {} for kind in ("linear", "ridge", "knn", "fewshot")},
    "robustness": {"options": {"shifts": ("pixelate",)}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_more_training_images_take_more_memory_by_the_share_of_a_device(kind: str) -> None:
    few, many = (runner.memory(plan(train, kind=kind, **KINDS[kind])) for train in (200, 1000))
    share = 800 * PER_IMAGE / jax.device_count()
    assert share <= many - few < 3 * share


def test_what_is_told_of_the_features_is_what_is_held() -> None:
    one = plan(200)
    extractor = extraction.Extractor(one, one.setups[0])
    found = extractor.run(one.encoders[0])
    for held, told in zip((found.train, found.test), extractor.shapes(), strict=True):
        assert extraction.share_of(held) == extraction.share_of(told)
        jax.tree.map(
            lambda x, y: (x.shape, x.dtype) == (y.shape, y.dtype) or pytest.fail("differs"), held, told
        )
        for leaf in jax.tree.leaves(held):
            assert {shard.data.nbytes for shard in leaf.addressable_shards} == {
                leaf.nbytes // jax.device_count()
            }


def test_the_published_protocol_keeps_no_features() -> None:
    few, many = (runner.memory(plan(train, protocol="published")) for train in (200, 1000))
    assert few == many
