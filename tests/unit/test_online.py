"""Quick probes while a run goes on: what they say, and that the run does not notice them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import ssl_single_image as ssi
from ssl_single_image.experiments.online import MAX_FEATURES
from ssl_single_image.experiments.results import Run


def pretrain(folder: Path, **fields: Any) -> Run:
    config = ssi.pretrain_config(
        "rotnet",
        preset="demo",
        image="builtin:coffee",
        batch_size=4,
        log_every=1,
        eval_every=0,
        checkpoint_every=1,
        **fields,
    )
    return ssi.pretrain(config, folder)


def test_a_probed_run_has_the_bits_of_one_that_is_not(tmp_path: Path) -> None:
    probed = pretrain(tmp_path / "probed", steps=3, probe_every=2, probe_images=60)
    alone = pretrain(tmp_path / "alone", steps=3)
    for a, b in zip(*(jax.tree.leaves(run.encoder().encoder.params) for run in (probed, alone)), strict=True):
        np.testing.assert_array_equal(a, b)
    found = [row for row in probed.metrics if "probe/top1_conv1" in row]
    assert [row["step"] for row in found] == [2, 3]  # when it is due, and at the end
    assert [row for row in probed.metrics if row not in found] == alone.metrics

    config = ssi.probe_config(
        "photos", kind="ridge", train_images=60, test_images=30, batch_size=60, max_features=MAX_FEATURES
    )
    table = ssi.probe(config, f"{probed.folder}@2").accuracy(f"{probed.folder}@2")
    assert found[0] == {"step": 2} | {f"probe/top1_{layer}": value for layer, value in table.items()}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"probe_dataset": "tfds:nothing_of_this_name"}, "nothing_of_this_name"),
        ({"probe_dataset": "photo"}, "did you mean photos"),
        ({"probe_images": -1}, "probe_images = -1"),
    ],
)
def test_a_set_that_can_not_be_probed_is_refused_before_training(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ssi.InputError, match=message):
        pretrain(tmp_path / "run", steps=1, probe_every=1, **fields)
    assert not (tmp_path / "run" / "checkpoints").exists()
