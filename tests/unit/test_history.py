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


def test_the_picture_has_a_panel_for_each_run():
    def runs(*names: str) -> list[dict]:
        return [
            at(f"runs/{name}@{n}", 64 * n, 50.0 + n / 100, 40.0) for name in names for n in (100, 200, 300)
        ]

    assert history.picture(probe(at("runs/a@100", 6400, 50.0))) is None
    one, two = (history.picture(probe(*runs(*names))) for names in (("a",), ("a", "b")))
    assert one
    assert two
    heights = [Image.open(io.BytesIO(each)).height for each in (one, two)]
    assert heights[1] > 1.8 * heights[0]
