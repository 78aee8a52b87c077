"""Which metrics share axes, and in which order the axes come. It goes by names, so that a new metric finds its place.

Metrics whose names begin alike are compared: `latent_shuffled` with `latent`, `size_max` with `size_min`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

KINDS = ("train", "eval", "probe", "refresh")
"""What metrics are of."""
FIRST = ("loss", "accuracy")
LAST = ("grad_norm", "learning_rate", "warning", "seconds", "share_of_time")
"""What says more about how the run was made than about what it learnt; clocks are only in runs of old versions."""
UNIT = ("accuracy", "nmi", "warning")
"""Their axes show all of [0, 1], so that runs can be compared by eye."""
CONTROL = "_shuffled"
"""Ends the name of what another metric would be by chance."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """Axes and the metrics on them.

    Attributes:
      name: what the metrics' names have in common.
      lines: KIND/NAME each; all training ones of a name before its evaluations.
    """

    name: str
    lines: tuple[str, ...]

    @property
    def title(self) -> str:
        """In words: what the metrics have in common; of two, their names."""
        names = self._names()
        return _words(self.name if self.name in names or len(names) > 2 else ", ".join(names))

    @property
    def kinds(self) -> list[str]:
        """What its metrics are of."""
        return list(dict.fromkeys(line.split("/", 1)[0] for line in self.lines))

    @property
    def unit(self) -> bool:
        """Whether the values are read on a scale from 0 to 1."""
        return self.name in UNIT

    def label(self, line: str) -> str:
        """What the legend calls a line: as much as tells it from the others."""
        kind, name = line.split("/", 1)
        return ", ".join([_words(name)] * (len(self._names()) > 1) + [kind] * (len(self.kinds) > 1)) or kind

    def _names(self) -> list[str]:
        return list(dict.fromkeys(line.split("/", 1)[1] for line in self.lines))


def arrange(metrics: Iterable[str]) -> list[Panel]:
    """The panels of metrics KIND/NAME, in the order to show them; names without a kind are no metrics.

    Loss and accuracy come first, what is of the run and not of what it learnt last.
    """
    known = [name for name in dict.fromkeys(metrics) if name.split("/", 1)[0] in KINDS and "/" in name]
    names = list(dict.fromkeys(line.split("/", 1)[1] for line in known))
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(stem(name, names), []).append(name)
    panels = []
    for shared, members in groups.items():
        members.sort(key=lambda name: (name != shared, name.endswith(CONTROL)))
        lines = [f"{kind}/{name}" for name in members for kind in KINDS if f"{kind}/{name}" in known]
        panels.append(Panel(shared, tuple(lines)))
    return sorted(
        panels, key=lambda panel: _rank(panel.name)
    )  # stable: the rest stays in order of appearance


def stem(name: str, names: Sequence[str]) -> str:
    """The longest beginning of a metric's name, in whole words, that another metric's name has too; else the name."""
    words = name.split("_")
    for count in range(len(words), 0, -1):
        start = "_".join(words[:count])
        if any(other != name and (other == start or other.startswith(f"{start}_")) for other in names):
            return start
    return name


def _rank(name: str) -> int:
    if name in FIRST:
        return FIRST.index(name) - len(FIRST)
    return 1 + LAST.index(name) if name in LAST else 0


def _words(name: str) -> str:
    return name.replace("_", " ")
