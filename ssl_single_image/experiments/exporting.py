"""Exporting as a function: an encoder as a file for other programs, and the model card that goes with it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from absl import logging

from ssl_single_image.analysis import cards
from ssl_single_image.analysis.report import checks
from ssl_single_image.errors import Halted, InputError, disk_is_full
from ssl_single_image.experiments import commands, publishing
from ssl_single_image.runs import LoadedEncoder, load_encoder, workdir, zoo
from ssl_single_image.runs.foreign import convert, files, own, safetensors_file, torch_writer
from ssl_single_image.runs.foreign.tensors import NOTES
from ssl_single_image.schema import suggestion

Write = Callable[[Mapping[str, np.ndarray], Mapping[str, str]], bytes]
FORMATS: dict[str, Write] = {
    ".safetensors": safetensors_file.write,
    ".pth": torch_writer.write,
    ".pt": torch_writer.write,
}
"""Extension -> what makes the bytes of such a file."""
DTYPES = ("float32", "float16")


def export_encoder(
    reference: str | os.PathLike[str] | LoadedEncoder,
    path: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    licence: str = "",
    probe: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes an encoder's weights as a file for other programs, and a model card NAME.md beside it.

    The file holds the trunk with its batch-norm statistics, and a note with the encoder's spec, its run's config, the
    licence of its source and what the probe measured. `load_encoder("file:PATH")` gives the encoder back, in float32
    with the same bits. Of paths only the last part is written.

    Args:
      reference: an encoder as `load_encoder` takes or gives it.
      path: of the file: NAME.safetensors, or NAME.pth or NAME.pt for `torch.load`.
      dtype: "float32" or "float16".
      licence: of the source image, for the card; "": what is known of a built-in photograph.
      probe: a `probe.json` that measured the encoder; its table goes into the card.

    Returns:
      The path of the weights.

    Raises:
      InputError: another extension or type, no such encoder, weights that are not finite or too large for the type, a
        probe of other encoders, or files in the way that no export wrote.
      Halted: the disk is full.
    """
    target = Path(os.path.expanduser(path))
    if target.suffix not in FORMATS:
        raise InputError(f"{target}: exports are {', '.join(FORMATS)} files; give one of these extensions")
    if dtype not in DTYPES:
        raise InputError(f"dtype = {dtype!r}: unknown{suggestion(str(dtype), DTYPES)}")
    loaded = reference if isinstance(reference, LoadedEncoder) else load_encoder(reference)
    measured = checks.read_probe(Path(os.path.expanduser(probe))) if probe is not None else None
    config = publishing.without_folders(dict(loaded.meta.get("config", {})))
    told = publishing.statement(loaded, config, licence, measured, str(probe))
    published = dataclasses.replace(loaded, meta=loaded.meta | {"config": config, own.PUBLISHED: told})
    tensors = _as(convert.to_file(loaded.encoder), dtype, loaded.name)
    text = cards.card(
        published,
        target.name,
        dtype=dtype,
        reference=_reference(target),
        command=commands.pretraining(config, f"runs/{target.stem}"),
        probe=publishing.without_places(measured) if measured is not None else None,
    )
    workdir.make(target.parent)
    _check_free(target)
    _write(target, FORMATS[target.suffix](tensors, {NOTES: own.write_note(published)}))
    _write(target.with_suffix(".md"), text)
    logging.info("wrote %s and %s", target, target.with_suffix(".md").name)
    return target


def _reference(target: Path) -> str:
    """How a user of the file names it; what lies in the package's own zoo has a name there."""
    if target.suffix == zoo.SUFFIX and target.parent.resolve() == zoo.FOLDER.resolve():
        return zoo.PREFIX + target.stem
    return f"file:{target.name}"


def _as(tensors: Mapping[str, np.ndarray], dtype: str, name: str) -> dict[str, np.ndarray]:
    """The tensors in another type.

    Raises:
      InputError: one is not finite, or not finite in that type.
    """
    largest = np.finfo(dtype).max
    for tensor, values in tensors.items():
        if not np.isfinite(values).all():
            raise InputError(f"checkpoint {name}: {tensor} has NaN or infinite values; export another step")
        if np.abs(values).max() > largest:
            raise InputError(f"dtype = {dtype}: {tensor} has values above {largest:.0f}; use float32")
    return {tensor: values.astype(dtype) for tensor, values in tensors.items()}


def _check_free(target: Path) -> None:
    """Refuses to overwrite what no export wrote.

    Raises:
      InputError: such a file is there.
    """
    card = target.with_suffix(".md")
    if card.exists() and not card.read_bytes().startswith(cards.MARK.encode()):
        raise InputError(
            f"{card}: is no model card of an export, and would be overwritten; give another --out"
        )
    if target.exists() and not _is_export(target):
        raise InputError(
            f"{target}: is no export of this package, and would be overwritten; give another --out"
        )


def _write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
      InputError: the place can't be written to.
      Halted: the disk is full.
    """
    try:
        workdir.write_whole(path, content)
    except OSError as error:
        if disk_is_full(error):
            raise Halted(f"{path}: the disk is full, it is not written", 1) from error
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _is_export(path: Path) -> bool:
    try:
        return NOTES in files.read(str(path)).notes
    except InputError:
        return False
