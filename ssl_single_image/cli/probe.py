"""`probe`: measures every layer of frozen encoders, and prints one table."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from ssl_single_image.cli import common, listing
from ssl_single_image.errors import InputError

OVERRIDES = ("data_dir", "seeds", "layers")
"""Flags that stand for a field of the config."""


def main(args: flags.FlagValues) -> None:
    """Runs the command."""
    import jax

    from ssl_single_image.analysis import tables
    from ssl_single_image.experiments import configs, preflight
    from ssl_single_image.experiments.probing import probe
    from ssl_single_image.parallel import distributed

    common.no_words(args, "probe")
    override(args)
    if args.print_config:
        print(listing.whole(configs.read("probe", args.config)))
        return
    distributed.initialize()
    if args.dry_run:
        print(preflight.probe(args.config, references(args.checkpoint), args.workdir))
        return
    table = probe(args.config, references(args.checkpoint), args.workdir)
    if jax.process_index() == 0:
        print(tables.markdown(table))


def override(args: flags.FlagValues) -> None:
    """Puts the flags that stand for a field into the config."""
    for name in OVERRIDES:
        if args[name].value:
            with args.config.ignore_type():
                args.config[name] = args[name].value


def references(words: Sequence[str]) -> list[str]:
    """The references in a list that was split at commas, with the options of each `WORD:NAME` joined to it again."""
    from ssl_single_image.runs.references import FORMS

    found: list[str] = []
    for word in words:
        before, equals, _ = word.partition("=")
        is_option = bool(equals) and before.strip().isidentifier() and bool(found)
        if is_option and found[-1].partition(":")[0] in FORMS:
            found[-1] += f",{word}"
        else:
            found.append(word)
    _refuse_cut(found)
    return found


def _refuse_cut(found: Sequence[str]) -> None:
    """A folder or file whose name has a comma in it looks like two.

    Raises:
      InputError: there is such a one; says how to give it.
    """
    for before, after in itertools.pairwise(found):
        whole = f"{before},{after}"
        step = "" if whole.startswith("file:") else after.partition("@")[2]
        file = whole.removeprefix("file:").removesuffix(f"@{step}")
        if Path(os.path.expanduser(file)).exists():
            raise InputError(
                f"checkpoint {before}: is cut at a comma; put double quotes around the name:"
                f" --checkpoint='\"{whole}\"'"
            )


if __name__ == "__main__":
    common.run("probe")
