"""A clock that is set back: it decides nothing but what is shown."""

import json
import os
import time

import jax
import numpy as np
import pytest
from loop_fakes import lines, make_objective, run

from ssl_single_image.experiments.statuses import status
from ssl_single_image.runs import checkpoint, workdir

DAY = 86400


def test_a_clock_that_is_set_back_by_a_day_changes_nothing(tmp_path, monkeypatch):
    """While a run trains, and before it is resumed: its files then come from the future."""
    whole = run(tmp_path / "whole")
    real = time.time

    def set_back(step):
        if step == 3:
            monkeypatch.setattr(time, "time", lambda: real() - DAY)

    place = tmp_path / "parts"
    run(place, steps=8, objective=make_objective(on_step=set_back))
    assert time.time() < real() - DAY / 2
    assert checkpoint.finished(place / checkpoint.CHECKPOINTS) == [4, 8]
    resumed = run(place)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert lines(place) == lines(tmp_path / "whole")
    (place / "config.json").write_text(json.dumps({"steps": 12, "objective": "fake"}))
    for name in ("metrics.jsonl", "timings.jsonl"):
        os.utime(place / name, (real() + DAY, real() + DAY))
    assert status([place]).rows[0].silent == 0


@pytest.mark.parametrize("days", [1, -1])
def test_a_lock_that_a_dead_host_left_is_no_sign_of_life_whatever_its_time(tmp_path, monkeypatch, days):
    monkeypatch.setattr(workdir, "LEASE", 0.3)
    with workdir.held(tmp_path):
        kept = {name: (tmp_path / name).read_bytes() for name in (workdir.LOCK, workdir.HOLDER)}
    for name, content in kept.items():
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, (time.time() + days * DAY,) * 2)
    (tmp_path / workdir.HOLDER).write_text('{"host": "elsewhere", "pid": 7, "since": "yesterday"}')
    assert workdir.holder(tmp_path) is None
    with workdir.held(tmp_path):
        pass
