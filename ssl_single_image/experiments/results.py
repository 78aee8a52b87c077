"""What experiments return: objects that display themselves in a notebook and are plain data in a script."""

from __future__ import annotations

import dataclasses
import html
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssl_single_image.analysis import (
    figures,
    finetuned,
    layer_tables,
    measured,
    probe_pages,
    tables,
    zoo_tables,
)
from ssl_single_image.errors import InputError
from ssl_single_image.runs import LoadedEncoder, load_encoder, places, workdir
from ssl_single_image.runs.metrics import METRICS, read_metrics


class Run:
    """A pretraining run on disk."""

    def __init__(self, folder: str | os.PathLike[str]):
        self._name = os.path.expanduser(os.fspath(folder))

    def __fspath__(self) -> str:
        return self._name

    def __str__(self) -> str:
        return self._name

    def __repr__(self) -> str:
        return f"Run({self._name!r})"

    @property
    def folder(self) -> Path:
        """Where it is; of a run in a store, a copy as it is now, without the states that resuming needs."""
        return places.brought(self._name)

    @property
    def config(self) -> dict[str, Any]:
        """The config of the run, with the record of its inputs."""
        return workdir.read(self.folder)

    @property
    def metrics(self) -> list[dict[str, float]]:
        """The lines of `metrics.jsonl`: "step", and KIND/NAME for each metric."""
        return read_metrics(self.folder / METRICS)

    def encoder(self, at: str | int = "") -> LoadedEncoder:
        """The encoder of the newest checkpoint, of a step, or of the "best" one."""
        return load_encoder(f"{self._name}@{at}" if at != "" else self._name)

    def curves(self) -> Image.Image:
        """Every metric against the step."""
        return _picture(figures.training_curves(self.metrics))

    def picture(self, name: str = "samples") -> Image.Image:
        """A picture that the run drew, by the name of its file without .png.

        Raises:
          InputError: there is none of this name.
        """
        folder = self.folder
        path = folder / f"{name}.png"
        if not path.exists():
            there = ", ".join(sorted(path.stem for path in folder.glob("*.png")))
            raise InputError(f"{self._name}: no picture {name!r}; there are {there or 'none'}")
        with Image.open(path) as image:
            return image.copy()

    def _repr_markdown_(self) -> str:
        last = {name: value for row in self.metrics for name, value in row.items()}
        cells = "".join(f"| {name} | {value:.4g} |\n" for name, value in last.items())
        return f"Run in `{self._name}`, newest values:\n\n| metric | value |\n|:--|--:|\n{cells}"


class _Table(Mapping[str, Any]):
    """A mapping that stays as it is."""

    def __init__(self, result: Mapping[str, Any]):
        self._result = dict(result)

    def __getitem__(self, name: str) -> Any:
        return self._result[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._result)

    def __len__(self) -> int:
        return len(self._result)


class ProbeTable(_Table):
    """The results of a probe: what `probe.json` holds, as a mapping that shows itself as a table."""

    def accuracy(self, checkpoint: str) -> dict[str, float]:
        """Layer -> top-1 accuracy in percent of one checkpoint.

        Raises:
          InputError: it was not probed, or by another measure.
        """
        if measured.name(self) != "accuracy":
            raise InputError(f"this table is of {measured.name(self)} and not of accuracy: use .scores()")
        return self.scores(checkpoint)

    def scores(self, checkpoint: str) -> dict[str, float]:
        """Layer -> what the table is of, top-1 accuracy or mAP, in percent of one checkpoint.

        Raises:
          InputError: it was not probed.
        """
        main = measured.of(self).main
        for result in self["results"]:
            if result["checkpoint"] == str(checkpoint):
                return {layer: values[main] for layer, values in result["layers"].items()}
        there = ", ".join(result["checkpoint"] for result in self["results"])
        raise InputError(f"checkpoint {checkpoint}: not in this table, which has {there}")

    def gains(self) -> ProbeTable | None:
        """Accuracy or mAP less that of the untrained network of the same spec, in points; None without one."""
        difference = tables.gains(self)
        return ProbeTable(difference) if difference is not None else None

    def figure(self) -> Image.Image:
        """Accuracy or mAP against depth."""
        return _picture(figures.accuracy(self))

    def __str__(self) -> str:
        return probe_pages.full_markdown(self)

    def __repr__(self) -> str:
        return f"<probe of {len(self['results'])} encoders on {self['dataset']}>\n{self}"

    def _repr_markdown_(self) -> str:
        return probe_pages.full_markdown(self)


class Findings(Mapping[str, Any]):
    """What an analysis found: what its JSON file holds, as a mapping, with its pictures; it shows itself as tables."""

    def __init__(
        self,
        result: Mapping[str, Any],
        pictures: Mapping[str, bytes],
        markdown: Callable[[Mapping[str, Any], Iterable[str]], str],
    ):
        self.result = dict(result)
        self.pictures = dict(pictures)
        """File name -> PNG."""
        self._markdown = markdown

    def __getitem__(self, name: str) -> Any:
        return self.result[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.result)

    def __len__(self) -> int:
        return len(self.result)

    def picture(self, name: str) -> Image.Image:
        """A picture by the name of its file without .png, such as "ranks" or "cka-1-2".

        Raises:
          InputError: there is none of this name.
        """
        if f"{name}.png" not in self.pictures:
            there = ", ".join(file.removesuffix(".png") for file in self.pictures)
            raise InputError(f"no picture {name!r}; there are {there}")
        return _picture(self.pictures[f"{name}.png"])

    def markdown(self) -> str:
        """The tables, and the pictures by their file names."""
        return self._markdown(self, self.pictures)

    def __str__(self) -> str:
        return self._markdown(self, ())

    def __repr__(self) -> str:
        return f"<analysis of {len(self['encoders'])} encoders on {self['data']}>\n{self}"

    def _repr_markdown_(self) -> str:
        return str(self)


class Analysis(Findings):
    """What an analysis of layers found: what `analysis.json` holds."""

    def __init__(self, result: Mapping[str, Any], pictures: Mapping[str, bytes]):
        super().__init__(result, pictures, layer_tables.markdown)

    def cka(self, a: str, b: str) -> np.ndarray:
        """Debiased linear CKA of the layers of one checkpoint with those of another or itself: (layers, layers).

        Raises:
          InputError: one of them is not in the analysis.
        """
        for pair in self["cka"]:
            values = np.array(pair["values"], float)
            if (pair["a"], pair["b"]) == (str(a), str(b)):
                return values
            if (pair["a"], pair["b"]) == (str(b), str(a)):
                return values.T
        there = ", ".join(encoder["checkpoint"] for encoder in self["encoders"])
        raise InputError(f"checkpoints {a} and {b}: the analysis is of {there}")


@dataclasses.dataclass(frozen=True)
class Stylized:
    """A picture by `stylize`; a notebook shows it.

    Attributes:
      image: the picture.
      record: what its .json file holds, apart from the environment: "config", "losses" by step, and what it came from.
    """

    image: Image.Image
    record: Mapping[str, Any]

    def _repr_png_(self) -> bytes:
        out = io.BytesIO()
        self.image.save(out, "png")
        return out.getvalue()


class FinetuneTable(_Table):
    """The results of training behind frozen layers: what `finetune.json` holds, as a mapping that shows itself."""

    def accuracy(self, checkpoint: str) -> tuple[float, float, float]:
        """Test accuracy behind the layers of one checkpoint and both ends of its 95 % interval, in percent.

        Raises:
          InputError: it is not in the table.
        """
        for result in self["results"]:
            if result["checkpoint"] == str(checkpoint):
                return result["accuracy"], result["low"], result["high"]
        there = ", ".join(result["checkpoint"] for result in self["results"])
        raise InputError(f"checkpoint {checkpoint}: not in this table, which has {there}")

    def __str__(self) -> str:
        return finetuned.markdown(self)

    def __repr__(self) -> str:
        return f"<training behind {len(self['results'])} encoders on {self['dataset']}>\n{self}"

    def _repr_markdown_(self) -> str:
        return finetuned.markdown(self)


class Zoo(_Table):
    """The encoders that come with the package, by name: what is known of each, as a mapping that shows itself."""

    def __str__(self) -> str:
        return zoo_tables.markdown(self)

    def __repr__(self) -> str:
        return f"<zoo of {len(self)} encoders>\n{self}"

    def _repr_markdown_(self) -> str:
        return zoo_tables.markdown(self)


class Page:
    """A report on disk: a link to it in a notebook."""

    def __init__(self, path: Path):
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def _repr_html_(self) -> str:
        shown = html.escape(str(self.path))
        return f'<a href="{shown}">{shown}</a>'


def _picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))
