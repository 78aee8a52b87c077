"""What the paper concludes, judged by the lines of a study: it holds, it does not, or it can't be told.

The rules were fixed before any study was run. Each compares scores of rows by their intervals, and no point estimate
decides alone. The conclusions are those of Asano, Rupprecht and Vedaldi (ICLR 2020), in this package's words.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from tabulate import tabulate

from ssl_single_image.analysis.study_lines import Line, Score, difference, mean

HOLDS, DOES_NOT, UNTOLD = "holds", "does not hold", "cannot be told at this budget"
METHODS = {
    "RotNet": "rotnet-{}",
    "DeepCluster": "deepcluster-{}",
    "BiGAN's discriminator": "bigan-{}#discriminator",
}
"""Method -> key of its line, with a place for what it was trained on."""
EQUAL = 2.0
"""Points within which two rows count as equally good."""
CLOSE = 3.0
"""Points within which training behind frozen layers comes close to full supervision."""
WHOLE = "b-scale-rotation-jitter"
"""Image B with all augmentations, trained as long as the rows that it is compared with."""
SYNTHETIC = ("leaves", "pink", "white", "fractal")

Lines = Mapping[str, Line]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One comparison.

    Attributes:
      subject: what is compared with what.
      score: the difference in points; None where a row is missing.
      verdict: HOLDS, DOES_NOT or UNTOLD.
    """

    subject: str
    score: Score | None
    verdict: str


@dataclasses.dataclass(frozen=True)
class Claim:
    """A conclusion of the paper.

    Attributes:
      name: a short one.
      text: the conclusion, a sentence.
      rule: when it counts as holding, a sentence.
      rows: patterns of the rows that it needs.
      gather: makes the comparisons.
    """

    name: str
    text: str
    rule: str
    rows: tuple[str, ...]
    gather: Callable[[Lines], list[Evidence]]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A claim with its evidence, and what follows."""

    claim: Claim
    evidence: tuple[Evidence, ...]

    @property
    def verdict(self) -> str:
        """HOLDS where all comparisons say so, DOES_NOT where one contradicts, else UNTOLD."""
        said = {one.verdict for one in self.evidence}
        if DOES_NOT in said:
            return DOES_NOT
        return HOLDS if said == {HOLDS} else UNTOLD


def judge(lines: Iterable[Line]) -> list[Verdict]:
    """Every claim, judged by the lines of a study."""
    by_key = {line.key: line for line in lines}
    return [Verdict(claim, tuple(claim.gather(by_key))) for claim in CLAIMS]


def markdown(verdicts: Sequence[Verdict], command: Callable[[Sequence[str]], str]) -> str:
    """The claims page: for each the verdict, the numbers, and the command that makes them.

    Args:
      verdicts: of `judge`.
      command: rows (patterns) -> the shell command that makes them.
    """
    parts = []
    for number, one in enumerate(verdicts, 1):
        header, rows = table(one)
        align = ("left", "right", "left")
        drawn = tabulate(rows, header, tablefmt="pipe", colalign=align, disable_numparse=True)
        said = f"**{one.verdict[:1].upper()}{one.verdict[1:]}.** {one.claim.rule}"
        made = f"```bash\n{command(one.claim.rows)}\n```\n"
        parts.append(f"## {number}. {one.claim.text}\n\n{said}\n\n{drawn}\n\n{made}")
    return "\n".join(parts)


def table(verdict: Verdict) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the evidence."""
    rows = [
        [one.subject, "row missing" if one.score is None else _signed(one.score), one.verdict]
        for one in verdict.evidence
    ]
    return ["comparison", "points", "says"], rows


def _signed(score: Score) -> str:
    return f"{score.value:+.1f} ±{score.half:.1f}"


def _above(score: Score | None, bound: float = 0.0) -> str:
    """HOLDS where the whole interval lies above the bound, DOES_NOT where it lies below."""
    if score is None:
        return UNTOLD
    return HOLDS if score.low > bound else DOES_NOT if score.high < bound else UNTOLD


def _apart(one: Score | None, other: Score | None) -> str:
    """HOLDS where the whole interval of one lies above that of the other, DOES_NOT where it lies below."""
    if one is None or other is None:
        return UNTOLD
    return HOLDS if one.low > other.high else DOES_NOT if one.high < other.low else UNTOLD


def _part(line: Line | None, places: slice) -> Score | None:
    """The mean of a range of a line's layers, by depth."""
    scores = list(line.layers.values())[places] if line is not None else []
    return mean(scores) if scores else None


def _of(lines: Lines, key: str, source: str) -> Line | None:
    """A method's line on a source; its main encoder where the study measured no other."""
    name = key.format(source)
    return lines.get(name, lines.get(name.partition("#")[0]))


def _less(a: Score | None, b: Score | None) -> Score | None:
    return difference(a, b) if a is not None and b is not None else None


FIRST, LATER, MIDDLE = slice(0, 2), slice(2, None), slice(1, 4)
"""conv1 and conv2; conv3 and later; conv2 to conv4."""


Compared = tuple[str, Score | None, str]
"""What a comparison is of, the difference in points, and what it says."""


def _each_method(
    compare: Callable[[Lines, str, str], Iterable[Compared]],
) -> Callable[[Lines], list[Evidence]]:
    """Makes the same comparisons for every method, given its name and the key of its lines."""

    def gather(lines: Lines) -> list[Evidence]:
        return [
            Evidence(f"{method}, {subject}", score, said)
            for method, key in METHODS.items()
            for subject, score, said in compare(lines, method, key)
        ]

    return gather


@_each_method
def _beats_untrained(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    line = _of(lines, key, "b-long") or _of(lines, key, "b")
    untrained = lines.get(line.untrained) if line else None
    for place in range(1, 4):
        one, other = (_part(of, slice(place, place + 1)) for of in (line, untrained))
        yield f"conv{place + 1}: one image less untrained", _less(one, other), _apart(one, other)


@_each_method
def _first_layers(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    score = _less(_part(_of(lines, key, "b"), FIRST), _part(_of(lines, key, "all"), FIRST))
    yield "conv1 and conv2: one image less all training images", score, _above(score, -EQUAL)


@_each_method
def _scale(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    scale = _part(_of(lines, key, "b-scale"), slice(None))
    for other in ("jitter", "rotation"):
        score = _less(scale, _part(_of(lines, key, f"b-{other}"), slice(None)))
        yield f"all layers: scale alone less {other} alone", score, _above(score)


@_each_method
def _gap_opens(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    line, labels = _of(lines, key, "b"), lines.get("supervised")
    later = _less(_part(labels, LATER), _part(line, LATER))
    score = _less(later, _less(_part(labels, FIRST), _part(line, FIRST)))
    yield "gap to supervision from conv3 on, less that of conv1 and conv2", score, _above(score)


@_each_method
def _gap_stays(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    score = _less(_part(lines.get("supervised"), LATER), _part(_of(lines, key, "all"), LATER))
    yield "conv3 and later: supervision less all training images without labels", score, _above(score)


@_each_method
def _more_images(lines: Lines, method: str, key: str) -> Iterator[Compared]:
    if method == "DeepCluster":
        return
    score = _less(_part(_of(lines, key, "thousand"), LATER), _part(_of(lines, key, "b"), LATER))
    said = _above(score) if method == "RotNet" else _no_gain(score)
    yield "conv3 and later: 1,000 images less one", score, said


def _no_gain(score: Score | None) -> str:
    """HOLDS where the whole interval lies below EQUAL points, DOES_NOT where it lies above none."""
    if score is None:
        return UNTOLD
    return DOES_NOT if score.low > 0 else HOLDS if score.high < EQUAL else UNTOLD


@_each_method
def _frozen(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    line, full = _of(lines, key, "b"), lines.get("none")
    score = _less(line.finetuned if line else None, full.finetuned if full else None)
    yield "conv1 and conv2 frozen: less full supervision", score, _above(score, -CLOSE)


@_each_method
def _photograph(lines: Lines, _: str, key: str) -> Iterator[Compared]:
    made = [_part(_of(lines, key, name), MIDDLE) for name in SYNTHETIC]
    known = [score for score in made if score is not None]
    best = max(known, key=lambda score: score.value) if len(known) == len(SYNTHETIC) else None
    score = _less(_part(_of(lines, key, WHOLE), MIDDLE), best)
    yield "conv2 to conv4: image B less the best image that no camera took", score, _above(score)


CLAIMS = (
    Claim(
        "one image",
        "One image and strong augmentation train features that are better than untrained ones.",
        "It holds where each of conv2 to conv4 lies above the untrained network, and their intervals do not meet.",
        ("*-b", "*-b-long", "random*"),
        _beats_untrained,
    ),
    Claim(
        "first layers",
        "One image suffices for the first two layers: more images make them no better.",
        f"It holds where one image is at most {EQUAL:g} points below all training images, with the whole interval.",
        ("*-b", "*-all"),
        _first_layers,
    ),
    Claim(
        "scale",
        "Of the augmentations, scale matters most.",
        "It holds where scale alone is better than jitter alone and than rotation alone, averaged over layers.",
        ("*-b-scale", "*-b-jitter", "*-b-rotation"),
        _scale,
    ),
    Claim(
        "gap",
        "The gap to supervision opens from conv3 on.",
        "It holds where the gap from conv3 on is larger than that of conv1 and conv2.",
        ("*-b", "supervised"),
        _gap_opens,
    ),
    Claim(
        "unlabelled data",
        "Unlabelled images do not close this gap.",
        "It holds where supervision is ahead of training on all images without labels, from conv3 on.",
        ("*-all", "supervised"),
        _gap_stays,
    ),
    Claim(
        "more images",
        "More images help RotNet, and not BiGAN.",
        f"It holds where 1,000 images are better than one for RotNet, and gain BiGAN less than {EQUAL:g} points.",
        ("rotnet-b", "rotnet-thousand", "bigan-b", "bigan-thousand"),
        _more_images,
    ),
    Claim(
        "frozen layers",
        "A network trained behind two frozen layers of one image comes close to full supervision.",
        f"It holds where it is at most {CLOSE:g} points below, with the whole interval.",
        ("*-b", "none"),
        _frozen,
    ),
    Claim(
        "photograph",
        "A photograph teaches more than an image that no camera took.",
        "It holds where image B is better than the best of the four synthetic images, averaged over conv2 to conv4.",
        (f"*-{WHOLE}", *(f"*-{name}" for name in SYNTHETIC)),
        _photograph,
    ),
)
