"""`ssl-single-image COMMAND ...`: runs `ssl_single_image.cli.COMMAND`."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Sequence

import ssl_single_image
from ssl_single_image.schema import suggestion

COMMANDS = {
    "pretrain": "train an encoder by self-supervision on crops of one image (or a few)",
    "probe": "train linear classifiers on every layer of frozen encoders",
    "finetune": "train networks on labels behind frozen first layers of encoders",
    "study": "do all rows of the paper's tables, judge its conclusions, and report",
    "analyse": "look into the layers of encoders: similarity, ranks, invariance, landmarks",
    "stylize": "paint one image in the style of another, by the features of an encoder",
    "sample": "draw crops as the network sees them, or export them as files",
    "export": "write an encoder as a file for other programs, with a model card",
    "status": "print how far workdirs are, how fast they go, and how long they will take",
    "report": "write a page of tables and figures about finished runs",
    "prepare": "download, convert or check a labelled data set for probes",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command named by the first argument of `argv`; default: this process's arguments."""
    words = list(sys.argv if argv is None else argv)
    name = words[1] if len(words) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print("usage: ssl-single-image COMMAND [--flag=value ...]   (COMMAND --help lists its flags)\n")
        print("\n".join(_listed(command, text) for command, text in COMMANDS.items()))
        return
    if name == "--version":
        print(f"ssl-single-image {ssl_single_image.__version__}")
        return
    if name not in COMMANDS:
        sys.stderr.write(f"ssl-single-image: error: no command {name!r}{suggestion(name, COMMANDS)}\n")
        sys.exit(2)
    from ssl_single_image.cli import common

    if argv is None:
        common.own_process()
    common.run(name, [words[0], *words[2:]], program="ssl-single-image")


def _listed(command: str, text: str) -> str:
    """A line of the help, or more on a narrow terminal."""
    width = max(40, shutil.get_terminal_size().columns)
    return textwrap.fill(f"  {command:<10}{text}", width, subsequent_indent=" " * 12)


if __name__ == "__main__":
    main()
