"""The curve of a run that was probed at several checkpoints."""

from __future__ import annotations

import io

from PIL import Image
from test_tables import measured, probe

from ssl_single_image.analysis import history


def at(checkpoint: str, crops: int, *values: float) -> dict:
    layers = {f"conv{i}": measured(value) for i, value in enumerate(values, 1)}
    return {"checkpoint": checkpoint, "step": crops // 64, "crops": crops, "backbone": "b", "layers": layers}


def test_results_of_a_run_are_ordered_by_crops_and_kept_apart_by_encoder():
    steps = (300, 100, 200)
    results = [at(f"runs/a@{n}{e}", 64 * n, 50.0, 40.0) for n in steps for e in ("", "#discriminator")]
    results += [at("runs/b@100", 6400, 50.0), at("runs/b@200", 12800, 50.0)]
    results.append(
        {"checkpoint": "random:b@1", "step": 0, "backbone": "b", "layers": {"conv1": measured(45.0)}}
    )
    found = history.runs(probe(*results))
    assert list(found) == ["runs/a", "runs/a#discriminator"]
    assert [one["crops"] for one in found["runs/a"]] == [6400, 12800, 19200]


def test_the_picture_has_a_column_for_each_run_and_a_row_for_each_gauge():
    metrics = {"eval/inversion": 0.9, "eval/rank_conv1": 3.0, "eval/rank_conv2": 5.0, "eval/loss": 1.0}

    def size(*names: str, **more: object) -> tuple[int, int]:
        results = [
            at(f"runs/{name}@{n}", 64 * n, 50.0 + n / 100, 40.0) | more for name in names for n in (1, 2, 3)
        ]
        drawn = history.picture(probe(*results))
        assert drawn
        return Image.open(io.BytesIO(drawn)).size

    assert history.picture(probe(at("runs/a@100", 6400, 50.0))) is None
    plain = size("a")
    assert size("a", "b") == (2 * plain[0], plain[1])
    gauged = size("a", metrics=metrics)
    assert gauged[0] == plain[0]
    assert gauged[1] - plain[1] == 2 * (size("a", metrics={"eval/inversion": 0.9})[1] - plain[1])
