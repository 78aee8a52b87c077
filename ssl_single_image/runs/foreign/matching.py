"""Which layout a file has: the one that accounts for every tensor in it, by name and by shape."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
from flax import traverse_util
from tabulate import tabulate

from ssl_single_image import keys, models
from ssl_single_image.errors import InputError
from ssl_single_image.runs.checkpoint import variables_of
from ssl_single_image.runs.foreign.layouts import NORM, OWN, Block, Layout
from ssl_single_image.runs.foreign.tensors import Tensor

COUNTER = "num_batches_tracked"
"""What PyTorch's batch norms count; nothing here needs it."""
MOST_ROWS = 30
"""Of a table of differences."""
FAMILIAR = 0.5
"""A file is compared with a layout only if it has this share of its names: "conv1.weight" is in many networks."""

Shape = tuple[int, ...]
Difference = tuple[str, str, str]
"""A tensor's name, what the file has and what the layout wants."""


@dataclasses.dataclass(frozen=True)
class Match:
    """A layout, with the options that suit a file best, and where the file differs.

    Attributes:
      layout: the layout.
      options: of its backbone.
      normed: whether the file has batch norms.
      differences: missing, extra and mis-shaped tensors; none where the layout fits.
      shared: how many tensors of the trunk agree.
      known: the share of the trunk's tensors whose names are in the file, whatever their shapes.
    """

    layout: Layout
    options: Mapping[str, Any]
    normed: bool
    differences: Sequence[Difference]
    shared: int
    known: float


def plain_names(tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """The tensors by name, without what `DataParallel` adds to names ("module") and without counters.

    Raises:
      InputError: two tensors get one name.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        short = ".".join(part for part in name.split(".") if part != "module")
        if short in found:
            raise InputError(f"{where}: has {short} twice, with and without 'module' in its name")
        if not short.endswith(COUNTER):
            found[short] = tensor
    return found


@functools.lru_cache(maxsize=32)
def _abstract(backbone: str, options: str) -> dict[str, Shape]:
    spec = models.encoder_spec(backbone, json.loads(options))
    tree = jax.eval_shape(lambda key: variables_of(models.untrained(spec, key)), keys.unused())
    leaves = traverse_util.flatten_dict(tree, sep=".")
    return {
        name.partition(".")[2]: leaf.shape for name, leaf in leaves.items()
    }  # without the collection's name


def variables(backbone: str, options: Mapping[str, Any]) -> dict[str, Shape]:
    """Shapes of a network's variables by dotted name, such as "conv1.kernel" and "bn1.mean".

    Raises:
      InputError: no such backbone or option.
    """
    return _abstract(backbone, json.dumps(dict(options), sort_keys=True))


def match(layout: Layout, tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> Match | None:
    """The variant of a layout that fits a file, else the one that comes nearest; None where none has the given options.

    Args:
      layout: to compare with.
      tensors: of the file, by plain name.
      given: options of the backbone that the user chose.
    """
    found: list[Match] = []
    for options in layout.variants:
        if given.items() <= options.items():
            compared = _compare(layout, options, tensors)
            if not compared.differences:
                return compared  # shapes tell variants apart, and tracing another network takes time
            found.append(compared)
    return min(found, key=lambda one: (len(one.differences), -one.shared), default=None)


def _compare(layout: Layout, options: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Match:
    normed = _normed(layout, tensors)
    required, allowed = _expected(
        layout, variables(layout.backbone, options), normed, bool(options.get("sobel"))
    )
    differences = [(name, "missing", str(shape)) for name, shape in required.items() if name not in tensors]
    differences += [
        (name, str(tensors[name].shape), str(shape))
        for name, shape in (required | allowed).items()
        if name in tensors and tensors[name].shape != shape
    ]
    extra = _extra(layout, tensors, required | allowed)
    differences += [(name, str(tensors[name].shape), "no such tensor") for name in extra]
    shared = sum(name in tensors and tensors[name].shape == shape for name, shape in required.items())
    known = sum(name in tensors for name in required) / max(len(required), 1)
    return Match(layout, options, normed, differences, shared, known)


def _names_fit(layout: Layout, tensors: Mapping[str, Tensor]) -> bool:
    """Whether a file has the names of a layout, whatever its shapes: asked first, because it needs no network."""
    any_shape: dict[str, Shape] = {f"{block.conv}.kernel": (0, 0, 0, 0) for block in layout.blocks}
    any_shape |= {f"{block.norm}.{name}": (0,) for block in layout.blocks for name in NORM.values()}
    any_shape |= {f"{block.conv}.bias": (0,) for block in layout.blocks if not block.norm}
    required, allowed = _expected(layout, any_shape, _normed(layout, tensors), True)
    return required.keys() <= tensors.keys() and not _extra(layout, tensors, required | allowed)


def _normed(layout: Layout, tensors: Mapping[str, Tensor]) -> bool:
    return any(block.their_norm and f"{block.their_norm}.running_mean" in tensors for block in layout.blocks)


def _expected(
    layout: Layout, ours: Mapping[str, Shape], normed: bool, sobel: bool
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The tensors of a trunk that must be there and those that may be, with their shapes in PyTorch's order."""
    required: dict[str, Shape] = {}
    allowed: dict[str, Shape] = {}
    for block in layout.blocks:
        needed, optional = _wanted(block, ours, normed)
        required |= needed
        allowed |= optional
    if sobel:
        allowed |= dict(zip(front_names(layout), SOBEL_SHAPES, strict=False))  # none where it has no front
    return required, allowed


def _extra(layout: Layout, tensors: Mapping[str, Tensor], known: Mapping[str, Shape]) -> list[str]:
    """Names that neither the trunk nor the heads account for."""
    heads = re.compile("|".join(layout.heads) or "$^")
    return [name for name in tensors if name not in known and not heads.match(name)]


SOBEL_SHAPES: tuple[Shape, ...] = ((1, 3, 1, 1), (1,), (2, 1, 3, 3), (2,))
"""Of the front's weights and biases: grey, then derivatives."""


def front_names(layout: Layout) -> list[str]:
    """Weight and bias of the grey filter, then of the derivatives."""
    return [f"{prefix}.{part}" for prefix, part in itertools.product(layout.front, ("weight", "bias"))]


def _wanted(
    block: Block, ours: Mapping[str, Shape], normed: bool
) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """The tensors of a block that must be there and those that may be, with their shapes in PyTorch's order."""
    required: dict[str, Shape] = {}
    allowed: dict[str, Shape] = {}
    has_norm = bool(block.their_norm) and (normed or not block.conv)
    if block.conv:
        rows, columns, inputs, outputs = ours[f"{block.conv}.kernel"]
        required[f"{block.their_conv}.weight"] = (outputs, inputs, rows, columns)
        bias = {f"{block.their_conv}.bias": (outputs,)}
        if has_norm:  # it moves the mean alone
            allowed |= bias
        elif block.norm or f"{block.conv}.bias" in ours:
            required |= bias
    if has_norm:
        leaves = {f"{block.their_norm}.{theirs}": f"{block.norm}.{name}" for theirs, name in NORM.items()}
        required |= {theirs: ours[name] for theirs, name in leaves.items() if name in ours}
    return required, allowed


def find(
    tensors: Mapping[str, Tensor], layouts: Mapping[str, Layout], given: Mapping[str, Any], where: str
) -> Match:
    """The match of the layout that accounts for all tensors of a file.

    Args:
      tensors: of the file, by plain name.
      layouts: to choose from.
      given: options of the backbone that the user chose.
      where: what the error begins with.

    Raises:
      InputError: none fits, or several that give different networks. Its note is a table of what differs.
    """
    named = [layout for layout in layouts.values() if _names_fit(layout, tensors)]
    candidates = _matches(named, tensors, given)
    fitting = [candidate for candidate in candidates if not candidate.differences]
    if len({_network(candidate) for candidate in fitting}) > 1:
        names = ", ".join(candidate.layout.name for candidate in fitting)
        raise InputError(f"{where}: fits several layouts, choose one by layout=NAME: {names}")
    if fitting:
        return fitting[0]
    candidates = _matches(layouts.values(), tensors, given)
    if not candidates:
        raise _no_variant(layouts.values(), given, where)
    nearest = max(candidates, key=lambda candidate: (candidate.shared, -len(candidate.differences)))
    if nearest.shared and nearest.known >= FAMILIAR:
        raise refusal(nearest, f"{where}: fits no layout; the nearest is {nearest.layout.name}")
    raise _unknown(tensors, layouts.values(), where)


def _matches(
    layouts: Iterable[Layout], tensors: Mapping[str, Tensor], given: Mapping[str, Any]
) -> list[Match]:
    matches = [match(layout, tensors, given) for layout in layouts]
    return [found for found in matches if found is not None]


def _unknown(tensors: Mapping[str, Tensor], layouts: Iterable[Layout], where: str) -> InputError:
    there = "; ".join(f"{layout.name}, {layout.summary}" for layout in layouts)
    error = InputError(
        f"{where}: of no known layout. There are {there}; {OWN}, this package's exports (give backbone=NAME too)"
    )
    rows = [(name, str(tensor.shape), tensor.dtype) for name, tensor in tensors.items()]
    error.add_note(_table(rows, ("tensor in the file", "shape", "type")))
    return error


def _no_variant(layouts: Iterable[Layout], given: Mapping[str, Any], where: str) -> InputError:
    asked = _listed(given)
    there = "; ".join(dict.fromkeys(_listed(variant) for layout in layouts for variant in layout.variants))
    return InputError(f"{where}: {asked} suits no layout; their options are {there}")


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


def refusal(found: Match, start: str) -> InputError:
    """The error that tells where a file differs from a layout."""
    network = ", ".join(filter(None, (found.layout.backbone, _listed(found.options))))
    error = InputError(f"{start} ({network}): {len(found.differences)} tensors differ")
    error.add_note(_table(found.differences, ("tensor", "in the file", "expected")))
    return error


def chosen(tensors: Mapping[str, Tensor], layout: Layout, given: Mapping[str, Any], where: str) -> Match:
    """The match of the layout that the user named.

    Raises:
      InputError: it does not fit. Its note is a table of what differs.
    """
    found = match(layout, tensors, given)
    if found is None:
        raise _no_variant([layout], given, where)
    if found.differences:
        raise refusal(found, f"{where}: does not fit the layout {layout.name}")
    return found


def _network(found: Match) -> str:
    """What makes two matches the same network, whatever the layouts are called."""
    layout = found.layout
    parts = (layout.backbone, dict(found.options), layout.blocks, layout.epsilon, layout.mean, layout.std)
    return repr(parts)


def _table(rows: Sequence[Sequence[str]], header: Iterable[str]) -> str:
    text = tabulate(rows[:MOST_ROWS], list(header), disable_numparse=True)
    return text + (f"\nand {len(rows) - MOST_ROWS} more" if len(rows) > MOST_ROWS else "")
