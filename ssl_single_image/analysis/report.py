"""One page about any mix of finished runs: what was trained, how training went, and what the probes measured."""

from __future__ import annotations

import datetime
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_single_image.analysis import figures, filters, page, tables
from ssl_single_image.runs import load_encoder, workdir
from ssl_single_image.runs.checkpoint import CHECKPOINTS
from ssl_single_image.runs.metrics import METRICS, TIMINGS, read_metrics
from ssl_single_image.types import InputError

PROBE = "probe.json"
FIELDS: dict[str, type | tuple[type, ...]] = {
    "dataset": str,
    "protocol": str,
    "chance": (int, float),
    "test_images": int,
    "classes": int,
    "results": list,
}
RESULT_FIELDS = {"checkpoint": str, "step": int, "backbone": str, "layers": dict}
LAYER_FIELDS = ("top1", "top5", "features")
"""What a report needs of `probe.json`, of each of its results and of each layer."""
MANIFEST = ".files.json"
"""Which files a report wrote."""
DRAWN = {
    "samples": "Samples: crops as the network sees them, or what it generates.",
    "clusters": "Crops by cluster, the tightest first.",
}
"""Pictures in a pretraining's workdir -> captions."""
SUMMARY = ("objective", "source", "dataset", "backbone", "steps", "batch_size", "crops", "seed")
"""Fields of a run's config that its summary shows, where it has them."""


def build(folder: Path, runs: Sequence[Path]) -> None:
    """Writes the report on `runs` to `folder`: `index.html`, the tables and the pictures it shows.

    Args:
      folder: made if it is not there; must not be one of the runs.
      runs: workdirs of `pretrain` and `probe`, told apart by their files.

    Raises:
      InputError: a folder is no workdir, or one whose run wrote nothing to show yet.
    """
    if (folder / workdir.CONFIG).exists() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"--workdir {folder}: holds a run or is a file; give the report a folder of its own")
    files: dict[str, str | bytes] = {}
    probes, pretrained = [], []
    for path, name in zip(runs, _names(runs), strict=True):
        if _is_probe(path):
            probes.append(read_probe(path / PROBE))
        else:
            pretrained.append(_pretraining(path, name, files))
    merged = tables.merge(probes)
    sections = [_probe(probe, number, files) for number, probe in enumerate(merged, 1)]
    if probes:
        files["probes.md"] = "\n".join(tables.full_markdown(probe) for probe in merged)
        files["probes.csv"] = tables.to_csv(merged)
        files["probes.json"] = json.dumps(merged, indent=2) + "\n"
    content = {"title": "Self-supervision from a single image", "probes": sections, "runs": pretrained}
    content["apart"] = tables.apart(merged)
    content["heading"] = " and ".join(dict.fromkeys(tables.title(probe) for probe in merged))
    files["index.html"] = page.render(content)
    with workdir.held(folder):
        _remove_former(folder, files)
        files[MANIFEST] = json.dumps(sorted(files), indent=2) + "\n"
        for name, data in files.items():
            workdir.write_whole(folder / name, data)


def _remove_former(folder: Path, files: Mapping[str, Any]) -> None:
    """Removes what an earlier report in this folder wrote and this one does not."""
    try:
        former = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return
    for name in former if isinstance(former, list) else []:
        if isinstance(name, str) and Path(name).name == name and name not in files:
            (folder / name).unlink(missing_ok=True)


def _names(runs: Sequence[Path]) -> list[str]:
    """A short name for each run, fit for a file name: that of its folder, numbered where two have the same."""
    names: list[str] = []
    for path in runs:
        name = base = path.resolve().name or "run"
        number = 1
        while name in names:
            number += 1
            name = f"{base}-{number}"
        names.append(name)
    return names


def _is_probe(path: Path) -> bool:
    """Whether a workdir is a probe's; False: of pretraining.

    Raises:
      InputError: neither, or not complete.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder; report takes workdirs of pretrain and probe")
    if (path / PROBE).exists():
        return True
    if not (path / workdir.CONFIG).exists():
        raise InputError(f"{path}: neither a workdir of pretrain nor of probe (no {workdir.CONFIG} in it)")
    config = workdir.read(path)
    if config.get("command") == "analyse":
        raise InputError(f"{path}: holds an analysis, which stands in its own analysis.md; leave it out")
    if "objective" not in config:
        raise InputError(f"{path}: a probe that is not complete (no {PROBE}); run it again")
    for name in (METRICS, CHECKPOINTS):
        if not (path / name).exists():
            raise InputError(f"{path}: a pretraining run with no {name} yet; resume it first")
    return False


def read_probe(file: Path) -> dict[str, Any]:
    """What a `probe.json` holds.

    Raises:
      InputError: it can't be read, or is none.
    """
    try:
        probe = json.loads(file.read_text())
        for field, kind in FIELDS.items():
            _expect(probe[field], kind, field)
        for result in probe["results"]:
            for field, kind in RESULT_FIELDS.items():
                _expect(result[field], kind, field)
            for values in result["layers"].values():
                for field in LAYER_FIELDS:
                    _expect(values[field], (int, float), field)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: can't be read ({type(error).__name__}: {error})") from error
    return probe


def _expect(value: Any, kind: type | tuple[type, ...], field: str) -> None:
    if (
        not isinstance(value, kind)
        or isinstance(value, bool)
        or (isinstance(value, float) and not math.isfinite(value))
    ):
        raise ValueError(f"{field} is {value!r}")


def _pretraining(path: Path, name: str, files: dict[str, str | bytes]) -> dict[str, Any]:
    config, rows = workdir.read(path), read_metrics(path / METRICS)
    loaded = load_encoder(str(path))
    pictures = [_picture(files, f"{name}-curves.png", figures.training_curves(rows), "Training curves.")]
    for kind, caption in DRAWN.items():
        if (path / f"{kind}.png").exists():
            data = (path / f"{kind}.png").read_bytes()
            pictures.append(_picture(files, f"{name}-{kind}.png", data, caption))
    caption = f"The filters of conv1 at step {loaded.step:,}, each stretched to its full contrast."
    shown = filters.png(filters.first_layer(loaded.encoder))
    pictures.append(_picture(files, f"{name}-filters.png", shown, caption))
    fields = [(key.replace("_", " "), config[key]) for key in SUMMARY if config.get(key) not in (None, "")]
    fields += [("last checkpoint", f"step {loaded.step:,}"), *_last_values(rows)]
    fields += [*_clocks(path), *_computed_with(config)]
    body = [[_cell(label), _cell(_show(value))] for label, value in fields]
    return {
        "name": name,
        "summary": {"header": ["field", "value"], "rows": body, "chance": [], "words": True},
        "pictures": pictures,
    }


def _last_values(rows: Sequence[dict[str, float]]) -> list[tuple[str, float]]:
    last = {key: value for row in rows for key, value in row.items()}
    names = ("train/loss", "train/accuracy", "eval/loss", "eval/accuracy")
    return [(f"last {name}", last[name]) for name in names if name in last]


def _clocks(path: Path) -> list[tuple[str, str]]:
    """How long the run took, over all processes that resumed it, and how fast it was at its end."""
    rows = read_metrics(path / TIMINGS) if (path / TIMINGS).exists() else []
    seconds = [row["seconds"] for row in rows if "seconds" in row]
    ends = [
        a for a, b in itertools.pairwise([*seconds, 0.0]) if b < a
    ]  # the clock starts anew with each process
    speeds = [row["views_per_second"] for row in rows if "views_per_second" in row]
    told = [("duration", str(datetime.timedelta(seconds=round(sum(ends)))))] if ends else []
    return told + ([("speed at the end", f"{speeds[-1]:,.0f} views/s")] if speeds else [])


def _computed_with(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The environment that config.json records, in a line."""
    with_: dict[str, Any] = config.get(workdir.ENVIRONMENT, {})
    try:
        devices = f"{with_['devices']} {with_['device']} device{'s' * (with_['devices'] != 1)}"
        jax, version, commit = with_["packages"]["jax"], with_["version"], with_["commit"] or "unknown"
        told = f"version {version}, commit {commit[:12]}, jax {jax}, {devices}, {with_['processor']}"
    except (KeyError, TypeError):  # of an earlier version
        return []
    return [("computed with", told)]


def _picture(files: dict[str, str | bytes], name: str, data: bytes, caption: str) -> dict[str, str]:
    files[name] = data
    return {"file": name, "caption": caption}


def _probe(probe: tables.Probe, number: int, files: dict[str, str | bytes]) -> dict[str, Any]:
    figure = f"probe-{number}.png"
    files[figure] = figures.accuracy(probe)
    metrics = ["top1", "top5"] if probe["classes"] > 5 else ["top1"]
    shown = [_accuracy_table(one, metric) for one in tables.by_setting(probe) for metric in metrics]
    difference = tables.gains(probe)
    if difference is not None:
        shown.append(_gain_table(difference))
    return {"name": probe["dataset"], "setting": tables.setting(probe), "tables": shown, "figure": figure}


def _accuracy_table(probe: tables.Probe, metric: str) -> dict[str, Any]:
    header, rows = tables.grid(probe, metric)
    best = {column: tables.best_rows(rows, column) for column in range(2, len(header))}
    halves = _halves(probe) if metric == "top1" else [[""] * len(header)] * len(rows)
    body = [
        [
            _cell(_show(value, 1), number in best.get(column, ()), halves[number][column])
            for column, value in enumerate(row)
        ]
        for number, row in enumerate(rows)
    ]
    chance = ["chance", "", *[f"{probe['chance']:.1f}"] * (len(header) - 2)] if metric == "top1" else []
    caption = (
        f"{tables.NAMES[metric].capitalize()} accuracy, %{tables.widths(probe, metric)}{tables.shots(probe)}:"
    )
    return {"header": header, "rows": body, "chance": chance, "caption": caption}


def _gain_table(difference: tables.Probe) -> dict[str, Any]:
    header, rows = tables.grid(difference)
    body = [
        [
            _cell(_show(row[0])),
            _cell(_show(row[1])),
            *(_cell(_signed(value), half=half) for value, half in zip(row[2:], halves[2:], strict=True)),
        ]
        for row, halves in zip(rows, _halves(difference), strict=True)
    ]
    caption = f"{tables.GAINS.capitalize()}{tables.widths(difference)}:"
    return {"header": header, "rows": body, "chance": [], "caption": caption}


def _halves(probe: tables.Probe) -> list[list[str]]:
    """Half of each interval as a cell shows it; "" where none is known."""
    return [["" if half is None else f"±{half:.1f}" for half in row] for row in tables.half_widths(probe)]


def _cell(text: str, best: bool = False, half: str = "") -> dict[str, Any]:
    return {"text": text, "best": best, "half": half}


def _show(value: Any, digits: int = 4) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _signed(value: Any) -> str:
    return "" if value is None else f"{value:+.1f}"
