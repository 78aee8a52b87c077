"""The numbers of an analysis of invariance as tables: Markdown for people, CSV for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from ssl_single_image.analysis.layer_tables import csv_text

Result = Mapping[str, Any]
"""What `invariance.json` holds."""
SETS = {"warps": "warped photographs", "stereo": "stereo pair"}
"""Pairs of pictures in which places are matched, by name."""
PARTS = {
    "within_image": "within an image",
    "within_class": "within a class",
    "between_classes": "between classes",
}
"""The shares of variance, by name."""
ALL = "all"
READING = {
    "invariance": "Normalised variance: 0 for a layer that ignores the augmentation, about 1 where the augmentation"
    " changes features as much as another image does.",
    "shares": "Shares of the variance under all augmentations at once, in percent, ± half of the 95 % interval:",
    "equivariance": "Equivariance residual on held-out images: 0 where the map moves along with its picture, 1 for no"
    " better than a constant. In brackets: with a fitted map of channels after the movement.",
    "correspondence": "PCK: the percentage of places that are matched within a share of the picture's shorter side.",
}


class Table(NamedTuple):
    """A table of texts; the first column names the row."""

    title: str
    header: list[str]
    rows: list[list[str]]


def tables(result: Result) -> list[Table]:
    """All tables, in the order of the page."""
    found = []
    for encoder in result["encoders"]:
        found += [_invariance(encoder, result["augmentations"]), _shares(encoder), _equivariance(encoder)]
    return found + [_correspondence(result, name) for name in SETS if name in result["levels"]]


def markdown(result: Result, pictures: Iterable[str] = ()) -> str:
    """The tables, and the pictures by their file names; each encoder has the number that names of files go by."""
    source = f"{result['images']:,} images of {result['data']}, {result['views']} views of each"
    size = result["grid"]
    head = f"{source}; activations are averaged over at most {size} x {size} bins. `pixels` is the picture itself."
    numbered = [
        [str(number), f"`{encoder['checkpoint']}`", f"{encoder['step']:,}"]
        for number, encoder in enumerate(result["encoders"], 1)
    ]
    told = [[name, what] for name, what in result["augmentations"].items()]
    parts = [
        "# Invariance of layers",
        head,
        _pipe(["number", "checkpoint", "step"], numbered),
        _pipe(["augmentation", "what it does"], told),
    ]
    for table in tables(result):
        parts += [table.title, _pipe(table.header, table.rows)]
    return "\n\n".join([*parts, *(f"![{name}]({name})" for name in pictures)]) + "\n"


def invariance_csv(result: Result) -> str:
    """One line an augmentation and layer of an encoder, with the normalised variance and the shares of variance."""
    rows = []
    for encoder in result["encoders"]:
        for name, layers in encoder["invariance"].items():
            for layer, one in layers.items():
                low, high = one["interval"] if one else ("", "")
                row = {
                    "checkpoint": encoder["checkpoint"],
                    "step": encoder["step"],
                    "augmentation": name,
                    "layer": layer,
                }
                row |= {"variance": one["variance"] if one else "", "low": low, "high": high}
                of = encoder["shares"][name][layer] or {}
                rows.append(row | {part: of[part] for part in PARTS if part in of})
    return csv_text(("checkpoint", "step", "augmentation", "layer", "variance", "low", "high", *PARTS), rows)


def equivariance_csv(result: Result) -> str:
    """One line a motion and layer of an encoder: "moved" is the residual of the movement alone."""
    rows = [
        {
            "checkpoint": encoder["checkpoint"],
            "step": encoder["step"],
            "motion": motion,
            "layer": layer,
            **(one or {}),
        }
        for encoder in result["encoders"]
        for layer, motions in encoder["equivariance"].items()
        for motion, one in motions.items()
    ]
    return csv_text(("checkpoint", "step", "motion", "layer", "moved", "fitted", "penalty"), rows)


def correspondence_csv(result: Result) -> str:
    """One line a layer of an encoder, a kind of pairs and a tolerance: the PCK in [0, 1]."""
    rows = [
        {
            "checkpoint": encoder["checkpoint"],
            "step": encoder["step"],
            "pairs": name,
            "layer": layer,
            "tolerance": tolerance,
            "pck": pck,
            "median_error": one["median_error"],
            **{level: of[tolerance] for level, of in result["levels"][name].items()},
        }
        for encoder in result["encoders"]
        for name in SETS
        for layer, one in encoder.get(name, {}).items()
        for tolerance, pck in one["pck"].items()
    ]
    columns = ("checkpoint", "step", "pairs", "layer", "tolerance", "pck", "median_error", "chance", "still")
    return csv_text(columns, rows)


def _invariance(encoder: Mapping[str, Any], told: Mapping[str, str]) -> Table:
    layers = list(encoder["equivariance"])
    rows = [
        [name, *(_value(encoder["invariance"][name][layer], "variance") for layer in layers)]
        for name in told
        if name in encoder["invariance"]
    ]
    return Table(f"{READING['invariance']} `{encoder['checkpoint']}`:", ["augmentation", *layers], rows)


def _shares(encoder: Mapping[str, Any]) -> Table:
    of = encoder["shares"][ALL]
    rows = [
        [title, *(_share(each, part) if each else "none" for each in of.values())]
        for part, title in PARTS.items()
    ]
    return Table(f"{READING['shares']} `{encoder['checkpoint']}`", ["share", *of], rows)


def _share(of: Mapping[str, Any], part: str) -> str:
    text = f"{100 * of[part]:.1f}"
    if part not in of.get("intervals", {}):
        return text
    low, high = of["intervals"][part]
    return f"{text} ±{50 * (high - low):.1f}"


def _equivariance(encoder: Mapping[str, Any]) -> Table:
    of = encoder["equivariance"]
    motions = list(next(iter(of.values())))
    rows = [
        [
            motion,
            *(
                f"{o['moved']:.2f} ({o['fitted']:.2f})" if (o := each[motion]) else "none"
                for each in of.values()
            ),
        ]
        for motion in motions
    ]
    return Table(f"{READING['equivariance']} `{encoder['checkpoint']}`:", ["picture", *of], rows)


def _correspondence(result: Result, name: str) -> Table:
    levels = result["levels"][name]
    tolerances = list(levels["chance"])
    layers = list(dict.fromkeys(layer for encoder in result["encoders"] for layer in encoder[name]))
    rows = []
    for tolerance in tolerances:
        for encoder in result["encoders"]:
            pcks = [encoder[name].get(layer, {}).get("pck", {}).get(tolerance) for layer in layers]
            cells = ["" if pck is None else f"{100 * pck:.1f}" for pck in pcks]
            base = [f"{100 * levels[level][tolerance]:.1f}" for level in ("chance", "still")]
            rows.append([f"`{encoder['checkpoint']}`", tolerance, *cells, *base])
    title = f"{READING['correspondence']} Matches in the {SETS[name]}:"
    return Table(title, ["checkpoint", "within", *layers, "chance", "same place"], rows)


def _value(one: Mapping[str, Any] | None, name: str) -> str:
    return f"{one[name]:.2f}" if one else "none"


def _pipe(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)
