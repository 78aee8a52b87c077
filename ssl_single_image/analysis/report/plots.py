"""Plots that answer the mouse, by Bokeh where it is installed: values under the pointer, lines that can be hidden.

The page shows the same as pictures wherever scripts don't run, and on paper.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ssl_single_image.analysis import history, measured, panels, tables
from ssl_single_image.analysis.colours import COLOURS
from ssl_single_image.errors import InputError

Drawn = Mapping[str, Any]
"""A figure as Bokeh's script reads it."""
MOST_POINTS = 1000
"""Points of a line; of longer ones every n-th is kept, and the last."""
HEIGHT = 320
"""Pixels, without what the legend takes."""
UNTRAINED = ", untrained"
"""Ends the label of a line that another one is compared with."""
LEGEND_LINE = 19
"""Pixels that a line of the legend takes."""


@dataclasses.dataclass(frozen=True)
class Line:
    """Attributes:
    label: in the legend.
    x: places on the axis, numbers or names.
    y: values; NaN where there is none.
    low: lower ends of 95 % intervals; () where they are not known.
    high: upper ends.
    dashed: whether it is what others are compared with.
    """

    label: str
    x: Sequence[float | str]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    dashed: bool = False


@dataclasses.dataclass(frozen=True)
class Plot:
    """Attributes:
    title: above the axes.
    x: what the horizontal axis shows.
    y: what the vertical one shows.
    lines: at least one.
    names: the places of the horizontal axis in order; () where it is one of numbers.
    """

    title: str
    x: str
    y: str
    lines: Sequence[Line]
    names: Sequence[str] = ()


def installed() -> bool:
    """Whether plots can be drawn at all."""
    return importlib.util.find_spec("bokeh") is not None


def script() -> str:
    """The program that draws in the page, 1.3 MB; plain JavaScript, to be put into a script element.

    Raises:
      InputError: Bokeh is not installed.
    """
    if not installed():
        raise InputError("interactive plots need Bokeh: pip install 'ssl-single-image[report]'")
    from bokeh.resources import Resources

    return "\n".join(Resources(mode="inline", components=["bokeh"]).js_raw)


def draw(plot: Plot) -> Drawn:
    """A plot for the page."""
    from bokeh.embed import json_item
    from bokeh.models import FactorRange, NumeralTickFormatter
    from bokeh.plotting import figure

    height = HEIGHT + LEGEND_LINE * len(plot.lines)
    places = {"x_range": FactorRange(*plot.names)} if plot.names else {}
    axes = figure(
        title=plot.title,
        x_axis_label=plot.x,
        y_axis_label=plot.y,
        height=height,
        min_width=240,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,wheel_zoom,reset,save",
        active_scroll=None,
        **places,
    )
    colours = _colours(plot.lines)
    for line, colour in zip(plot.lines, colours, strict=True):
        _add(axes, line, colour)
    if not plot.names:
        axes.xaxis.formatter = NumeralTickFormatter(format="0,0")
    _tidy(axes)
    return json_item(axes)


def _add(axes: Any, line: Line, colour: str) -> None:
    from bokeh.models import ColumnDataSource, HoverTool

    columns: dict[str, Sequence[Any]] = {
        "x": list(line.x),
        "y": list(line.y),
        "label": [line.label] * len(line.x),
    }
    if line.low:
        columns |= {"low": list(line.low), "high": list(line.high)}
    source = ColumnDataSource({name: _thinned(values) for name, values in columns.items()})
    shown = {"source": source, "legend_label": line.label, "color": colour}
    axes.line("x", "y", line_width=2, line_dash="dashed" if line.dashed else "solid", **shown)
    points = axes.scatter("x", "y", size=6 if len(line.x) < 60 else 2, **shown)
    told = [("", "@label"), ("at", "@x{0,0}" if _numbers(line.x) else "@x"), ("value", "@y{0.0000}")]
    if line.low:
        axes.segment("x", "low", "x", "high", **shown)
        told[-1] = ("value", "@y{0.0} (@low{0.0} to @high{0.0})")
    axes.add_tools(HoverTool(renderers=[points], tooltips=told))


def _colours(lines: Sequence[Line]) -> list[str]:
    """One a line; `conv1, untrained` has that of `conv1`."""
    firsts = list(dict.fromkeys(line.label.removesuffix(UNTRAINED) for line in lines))
    return [COLOURS[firsts.index(line.label.removesuffix(UNTRAINED)) % len(COLOURS)] for line in lines]


def _tidy(axes: Any) -> None:
    legend = axes.legend[0]
    legend.click_policy = "hide"
    legend.label_text_font_size = "11px"
    legend.border_line_color = None
    legend.location = "bottom_left"
    axes.add_layout(legend, "below")
    axes.toolbar.logo = None
    axes.toolbar.autohide = True


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _thinned(values: Sequence[Any]) -> list[Any]:
    step = max(1, math.ceil(len(values) / MOST_POINTS))
    kept = list(values[::step])
    return kept if step == 1 or (len(values) - 1) % step == 0 else [*kept, values[-1]]


def accuracy(probe: tables.Probe) -> list[Plot]:
    """Accuracy or mAP against depth, one line a result, untrained networks dashed."""
    columns, measure = tables.layers(probe), measured.of(probe)
    lines = []
    for result in probe["results"]:
        layers = [layer for layer in columns if layer in result["layers"]]
        values = [result["layers"][layer] for layer in layers]
        label = f"{result['checkpoint']} (step {result['step']:,})"
        lines.append(_measured(measure, label, layers, values, tables.is_random(result)))
    title = f"{tables.title(probe)} on {tables.named(probe)}; chance {probe['chance']:.1f} %"
    return [Plot(title, "layer", measure.axis, lines, columns)] if lines else []


def by_crops(probe: tables.Probe) -> list[Plot]:
    """Accuracy or mAP against crops seen: a plot for each run that was probed at several checkpoints."""
    drawn, measure = [], measured.of(probe)
    for run, results in history.runs(probe).items():
        lines = []
        untrained = tables.untrained_of(probe, results[0])
        for layer in tables.layers({"results": results}):
            seen = [result for result in results if layer in result["layers"]]
            values = [result["layers"][layer] for result in seen]
            crops = [result["crops"] for result in seen]
            lines.append(_measured(measure, layer, crops, values))
            if untrained and crops:
                base = sum(other[layer][measure.main] for other in untrained) / len(untrained)
                ends = [crops[0], crops[-1]]
                lines.append(Line(f"{layer}{UNTRAINED}", ends, [base, base], dashed=True))
        drawn.append(Plot(f"{run} on {probe['dataset']}", "crops seen", measure.axis, lines))
    return drawn


def curves(rows: Sequence[Mapping[str, float]]) -> list[Plot]:
    """Every metric against the step, a plot for each of `panels`."""
    drawn = []
    for panel in panels.arrange(name for row in rows for name in row):
        lines = []
        for name in panel.lines:
            points = [(row["step"], row[name]) for row in rows if name in row and math.isfinite(row[name])]
            steps, values = zip(*points, strict=True) if points else ((), ())
            lines.append(Line(panel.label(name), steps, values, dashed=name.endswith(panels.CONTROL)))
        drawn.append(Plot(panel.title, "step", panel.title, lines))
    return drawn


def _measured(
    measure: measured.Measure,
    label: str,
    x: Sequence[float | str],
    values: Sequence[Mapping[str, Any]],
    dashed: bool = False,
) -> Line:
    """A line of what was measured; with intervals where all of them have one."""
    known = all("interval" in value for value in values)
    low, high = ([value["interval"][end] for value in values] if known else [] for end in (0, 1))
    return Line(label, x, [value[measure.main] for value in values], low, high, dashed)
