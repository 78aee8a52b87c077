"""Sets of permutations of nine tiles that are far apart (Noroozi and Favaro 2016, section 4.2).

A set begins with one permutation of the 9! drawn at random. The one that is farthest from those chosen is added, again
and again, by Hamming distance. `max_min` takes the largest distance to the nearest of them, `max_avg` the largest mean
distance: both are in use. Ties go to the first in lexicographic order. Every set is the beginning of the larger ones.

`max_avg` has a flaw: after every ninth pick all candidates tie, so it keeps pairs that differ in two places.

`python -m ssl_single_image.objectives.jigsaw.permutations RULE` prints the table that comes with the package.
"""

from __future__ import annotations

import importlib.resources
import itertools
import sys
from typing import Literal

import numpy as np
from jaxtyping import UInt8

TILES = 9
STORED = 1000
"""Permutations of each rule that come with the package."""
MOST = 10_000
"""Permutations that a set may have; a choice of so many takes a minute."""
SEED = 0
"""Of the first permutation of a set."""
Rule = Literal["max_min", "max_avg"]


def permutations(count: int, rule: Rule) -> UInt8[np.ndarray, "count 9"]:
    """A set of `count` permutations, at most MOST: place k of puzzle p shows tile [p, k] of the crop, row by row."""
    if count > STORED:
        return choose(count, rule)
    text = (importlib.resources.files(__package__) / f"{rule}.txt").read_text()
    rows = text.split()[:count]
    return np.array([[int(tile) for tile in row] for row in rows], np.uint8)


def choose(count: int, rule: Rule, seed: int = SEED) -> UInt8[np.ndarray, "count 9"]:
    """Makes a set, without the table."""
    every = np.array(list(itertools.permutations(range(TILES))), np.uint8)
    chosen = [int(np.random.default_rng(seed).integers(len(every)))]
    score = np.full(len(every), TILES if rule == "max_min" else 0, np.int32)
    while len(chosen) < count:
        distance = (every != every[chosen[-1]]).sum(1, dtype=np.int32)
        score = np.minimum(score, distance) if rule == "max_min" else score + distance
        score[chosen[-1]] = -1
        chosen.append(int(score.argmax()))
        if rule == "max_avg":
            score[chosen[:-1]] = np.iinfo(np.int32).min // 2
    return every[chosen]


if __name__ == "__main__":
    for row in choose(STORED, sys.argv[1]):  # type: ignore[arg-type]
        print("".join(map(str, row)))
