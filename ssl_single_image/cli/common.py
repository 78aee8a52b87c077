"""What every command shares: flags of its own, errors for people, exit statuses.

A command module has `main(args)`; its flags are in `cli.flags`. They live in a
`flags.FlagValues` made for the call: importing or running a command leaves no global flag behind.
"""

from __future__ import annotations

import difflib
import logging as std_logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections
from absl import flags, logging

from ssl_single_image.cli.flags import DEFINE, Define
from ssl_single_image.errors import Halted, InputError

Main = Callable[[flags.FlagValues], None]


def run(command: str, main: Main, argv: Sequence[str] | None = None, *, program: str = "") -> None:
    """Runs one command and exits the process.

    Args:
      command: its name in `flags.DEFINE`.
      main: does the work; its argument holds the parsed flags, `.positional` the remaining words.
      argv: argument list with the program's name first; default: this process's.
      program: put before the command's name in errors and help.

    Exit status 0: complete. 2: bad input, after one line on stderr. Any other exception is a defect of
    ours and keeps its traceback.
    """
    argv = list(sys.argv if argv is None else argv)
    name = f"{program} {command}".strip()
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_ours_or_serious)
    flags.FLAGS.mark_as_parsed()  # grain and absl.logging ask the global flags, of which we define none
    try:
        args = parse(name, DEFINE[command], argv)
        main(args)
    except InputError as error:
        sys.stderr.write(f"{name}: error: {one_line(error)}\n")
        sys.exit(2)
    except Halted as end:
        sys.stderr.write(f"{name}: {end}\n")
        sys.exit(end.status)
    sys.exit(0)


def _ours_or_serious(record: std_logging.LogRecord) -> bool:
    """Orbax logs every file it touches, JAX every backend it tries; from other packages only warnings are shown."""
    return record.levelno >= std_logging.WARNING or "ssl_single_image" in record.pathname


def parse(name: str, define: Define, argv: Sequence[str]) -> flags.FlagValues:
    """Parses `argv` into the command's own flags.

    Raises:
      InputError: an unknown flag or config key, a value of the wrong type, a config that can't be read.
    """
    flag_values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "Show this text.", short_name="h", flag_values=flag_values)
    flags.DEFINE_alias("?", "help", flag_values=flag_values)
    define(flag_values, argv)
    if any(word in ("--help", "-help", "-h") for word in argv[1:]):
        print(f"{name}\n\n{flag_values.get_help(include_special_flags=False)}")
        sys.exit(0)
    try:
        positional = flag_values(list(argv))[1:]
        if "config" in flag_values:
            _ = flag_values.config.is_locked  # a file that could not be read raises here, not deep in the run
    except (AttributeError, KeyError) as error:
        raise InputError(_explain_key(flag_values, argv, error)) from error
    except (flags.Error, OSError, ValueError, TypeError, SyntaxError, ImportError) as error:
        raise InputError(one_line(error)) from error
    flag_values.__dict__["positional"] = positional
    return flag_values


def one_line(error: BaseException) -> str:
    """The message of an error on one line; of a long one (an echoed traceback) only the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 3:
        lines = [re.sub(r"^[\w.]*Error: ", "", lines[-1])]
    return " ".join(lines) or type(error).__name__


def parse_arg(arg: str, **defaults: Any) -> ml_collections.ConfigDict:
    """Parses the argument of a config file, "key=value,key=value", into a ConfigDict.

    Args:
      arg: what follows the colon in `--config FILE.py:key=value,key=value`.
      **defaults: the keys there are, with their defaults, whose types the values take.

    Raises:
      InputError: a word without "=", a key that `defaults` lacks, a value of another type.
    """
    parsed = ml_collections.ConfigDict(defaults)
    for word in filter(None, (part.strip() for part in arg.split(","))):
        key, equals, value = word.partition("=")
        if not equals or key not in defaults:
            raise InputError(
                f"config argument {word!r}: expected key=value with a key of {', '.join(defaults)}"
            )
        kind = type(defaults[key])
        try:
            parsed[key] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError) as error:
            raise InputError(f"config argument {word!r}: {value!r} is not a {kind.__name__}") from error
    return parsed


def _explain_key(flag_values: flags.FlagValues, argv: Sequence[str], error: Exception) -> str:
    config = _config_without_overrides(flag_values, argv)
    if config is None:
        return one_line(error)
    known = sorted(_keys(config))
    for word in argv[1:]:
        key = word.lstrip("-").split("=", 1)[0].removeprefix("config.")
        if word.lstrip("-").startswith("config.") and key not in known:
            near = difflib.get_close_matches(key, known, n=3, cutoff=0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; the keys are {', '.join(known)}"
            return f"--config.{key}: the config has no such key{hint}"
    return one_line(error)


def _config_without_overrides(flag_values: flags.FlagValues, argv: Sequence[str]) -> Any:
    for i, word in enumerate(argv):
        flag, _, value = word.lstrip("-").partition("=")
        if flag == "config" and word.startswith("-"):
            path = value or (argv[i + 1] if i + 1 < len(argv) else "")
            return flag_values["config"].parser.parse(path)
    return None


def _keys(config: ml_collections.ConfigDict, prefix: str = "") -> Iterator[str]:
    for key, value in config.items(preserve_field_references=True):
        yield prefix + key
        if isinstance(value, ml_collections.ConfigDict):
            yield from _keys(value, prefix + key + ".")
