"""Views trained a second of wall time, from one photograph on: the published way in PyTorch against this package.

The published way writes augmented crops of the photograph to disk with a process for each core, and then trains RotNet
from a DataLoader over the files. Ours trains the same network on the same batches, and renders its crops inside the
step. Contenders take turns on the same cores; start and compilation are over before. PyTorch runs eager and
compiled, in both memory layouts. `python benchmarks/end_to_end.py --json --repeats 5`

Rows "1 epoch" are measured as a whole: every crop is written and seen once. Rows "N epochs, computed" follow from the
parts of the same rounds, writing once and training N times, with the number of epochs that was published.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import common
from end_to_end_peers import MODES, PARTS


class Case(NamedTuple):
    """What is trained.

    Attributes:
      crops: a piece of work has so many; each is seen in four rotations.
      batch: crops of a step.
      epochs: what was published for this network.
    """

    crops: int
    batch: int
    epochs: int


CASES = {"alexnet32": Case(512, 32, 200), "alexnet": Case(32, 8, 50)}
"""By network: crops of 32 pixels, and of 224."""
ONE_PIECE = 0.01
"""Seconds that a contender is asked to work: so few that it does one piece of work, which takes longer."""


def measure(network: str, args: argparse.Namespace, root: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of one network, PyTorch's best first, and who could not start."""
    case = CASES[network]
    folders = {name: root / f"{network}-{name}" for name in ("ours", *MODES)}
    words = {}
    for name, folder in folders.items():
        folder.mkdir()
        sizes = [str(case.crops), str(case.batch)]
        words[name] = ["end_to_end_peers.py", name, network, *sizes, str(folder), str(args.loaders)]
    workers, skipped = common.start(words)
    rates, peaks = common.compare(workers, args.repeats, ONE_PIECE)
    label = f"{network} B={4 * case.batch}"
    rows = common.against_ours(f"{label}, 1 epoch", "views/s", rates, peaks)
    for row in rows:  # a contender here has several processes, and this is the memory of one
        del row["ours_peak_mib"], row["theirs_peak_mib"]
    for row in rows:
        name = row["peer"].removeprefix("PyTorch ")
        row |= rates_of_parts(folders[name] / PARTS, case) if name else {}
    longer = f"{label}, {case.epochs} epochs, computed"
    known = [computed(row, longer, case.epochs) for row in rows if row["peer"]]
    return rows + sorted(known, key=lambda row: row["ratio"])[:1], skipped


def rates_of_parts(file: Path, case: Case) -> dict[str, float]:
    """Medians of what the published way wrote and trained on in a second, each part by itself."""
    lines = [json.loads(line) for line in file.read_text().splitlines()][1:]  # the first began cold
    write, train = (statistics.median(line[part] for line in lines) for part in ("write", "train"))
    seen = case.crops // case.batch * case.batch
    return {"theirs_crops_written": case.crops / write, "theirs_views_trained": 4 * seen / train}


def computed(row: dict[str, Any], label: str, epochs: int) -> dict[str, Any]:
    """The row of a run that writes its crops once and trains on them for several epochs."""
    seconds_a_view = 1 / (4 * epochs * row["theirs_crops_written"]) + 1 / row["theirs_views_trained"]
    theirs = 1 / seconds_a_view
    return row | {"case": label, "theirs": theirs, "ratio": row["ours"] / theirs}


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--networks", nargs="*", default=list(CASES), choices=CASES, help="default: all")
    parser.add_argument("--loaders", type=int, default=1, help="processes of PyTorch's DataLoader")


def main() -> None:
    args = common.parse(__doc__ or "", add_flags)
    rows, skipped = [], []
    with tempfile.TemporaryDirectory() as folder:
        for network in args.networks:
            more, left_out = measure(network, args, Path(folder))
            rows += more
            skipped += left_out
    common.report(rows, args.json, skipped)


if __name__ == "__main__":
    main()
