"""What the sections of a report share: the runs they are about, and the files and plots that they add to the page."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from ssl_single_image.analysis.report.plots import Drawn, Plot, draw
from ssl_single_image.errors import InputError

LARGE = 400_000
"""Bytes of a PNG above which the page holds a WebP of it; the PNG itself lies beside the page."""
LONGEST = 2400
"""Pixels of the longer side of such a WebP."""
QUALITY = 85


@dataclasses.dataclass(frozen=True)
class Workdir:
    """A folder that the report is about.

    Attributes:
      path: where it is, as it was given.
      name: what the page calls it, fit for a file name; no two have the same.
      config: what its config.json holds; {} where it has none.
    """

    path: Path
    name: str
    config: dict[str, Any]

    @property
    def objective(self) -> str:
        """What a pretraining run was trained to do; "" of other folders."""
        return str(self.config.get("objective", ""))


Command = Callable[[Path], str]
"""The shell command that makes a workdir again; raises InputError where there is none."""


@dataclasses.dataclass
class Context:
    """Filled in while a report is built.

    Attributes:
      workdirs: all folders of the report.
      command: see `Command`; None: the page shows none.
      interactive: whether plots that answer the mouse are added; they need Bokeh.
      files: name -> content of what is written beside the page.
      plots: id of a place in the page -> the figures drawn there.
    """

    workdirs: Sequence[Workdir] = ()
    command: Command | None = None
    interactive: bool = False
    files: dict[str, str | bytes] = dataclasses.field(default_factory=dict)
    plots: dict[str, list[Drawn]] = dataclasses.field(default_factory=dict)

    def picture(
        self, name: str, data: bytes, caption: str, plot: Callable[[], list[Plot]] | None = None
    ) -> dict[str, Any]:
        """A picture for a section: written as `name`, embedded in the page, and drawn live where that is asked for.

        Args:
          name: of the PNG file.
          data: that file.
          caption: what is seen, a sentence.
          plot: makes the same as interactive plots.

        Raises:
          InputError: `data` is no picture.
        """
        self.files[name] = data
        shown = {"source": embedded(data, name), "caption": caption, "plot": ""}
        if self.interactive and plot is not None:
            shown["plot"] = f"plot-{len(self.plots) + 1}"
            self.plots[shown["plot"]] = [draw(each) for each in plot()]
        return shown

    def command_of(self, workdir: Workdir) -> str:
        """The command that makes a workdir again; "" where it is not known, as of a run of another version."""
        try:
            return self.command(workdir.path) if self.command else ""
        except InputError:
            return ""


def embedded(data: bytes, name: str) -> str:
    """A picture as a data URI; a large one as a WebP, so that a page of many runs can still be sent.

    Raises:
      InputError: `data` is no picture.
    """
    if len(data) <= LARGE:
        _check(data, name)
        return uri(data, "image/png")
    with _opened(data, name) as picture:
        picture.thumbnail((LONGEST, LONGEST))
        out = io.BytesIO()
        picture.convert("RGB").save(out, "webp", quality=QUALITY)
    return uri(out.getvalue(), "image/webp")


def uri(data: bytes, kind: str) -> str:
    """Bytes of a MIME type as a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _check(data: bytes, name: str) -> None:
    _opened(data, name).close()


def _opened(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: can't be read as a picture; draw it again or remove it") from error
