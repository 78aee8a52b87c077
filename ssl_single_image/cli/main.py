"""`ssl-single-image COMMAND ...`: reads the flags, then hands over to `ssl_single_image.cli.COMMAND`."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMANDS = {
    "pretrain": "train an encoder by self-supervision on crops of one image (or a few)",
    "probe": "train linear classifiers on every layer of frozen encoders",
    "sample": "draw crops as the network sees them",
    "report": "tables and figures of finished runs",
    "prepare": "put a labelled data set where probes find it, or check what a config needs",
}


HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Has malloc ask for huge pages. XLA takes its temporaries afresh at every step, hundreds of MiB on a CPU, and
faulting them in by pages of 4 KiB costs about a third of the time of a training step."""

XLA_FLAGS = "--xla_cpu_use_fusion_emitters=false"
"""Has XLA compile for CPUs by its older emitters, whose programs are as fast and take 400 MiB less to compile."""

COMPILED = ".compiled"
"""Folder beside a workdir for compiled programs, which all runs there share."""


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command named by the first argument of `argv`; default: this process's arguments."""
    if argv is None:
        tune()
        argv = sys.argv
    argv = list(argv)
    name = argv[1] if len(argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        print("usage: ssl-single-image COMMAND [--flag=value ...]   (COMMAND --help lists its flags)\n")
        print("\n".join(f"  {command:<10}{text}" for command, text in COMMANDS.items()))
        return
    if name not in COMMANDS:
        sys.stderr.write(f"ssl-single-image: error: no command {name!r}; there are {', '.join(COMMANDS)}\n")
        sys.exit(2)
    from ssl_single_image.cli import common

    def command(args: Any) -> None:
        if "workdir" in args:
            keep_compiled(Path(args.workdir).parent / COMPILED)
        importlib.import_module(f"ssl_single_image.cli.{name}").main(args)

    common.run(name, command, [argv[0], *argv[2:]], program="ssl-single-image")


def keep_compiled(folder: Path) -> None:
    """Has JAX keep compiled programs in `folder` for the next run, unless JAX_COMPILATION_CACHE_DIR is set."""
    import jax

    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        jax.config.update("jax_compilation_cache_dir", str(folder))


def tune() -> None:
    """Sets XLA's flags and, on Linux, starts this process anew with HUGE_PAGES: glibc reads its tunables only then.

    What the user has set wins.
    """
    set_xla_flags()
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = HUGE_PAGES
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def set_xla_flags() -> None:
    """Puts XLA_FLAGS before the user's in the environment; only before JAX is imported has it an effect."""
    flags = os.environ.get("XLA_FLAGS", "")
    # XLA aborts on a flag that it doesn't know, and flags come and go.
    if XLA_FLAGS not in flags and importlib.metadata.version("jaxlib").startswith("0.10."):
        os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {flags}".strip()  # of a flag given twice the last counts


if __name__ == "__main__":
    main()
