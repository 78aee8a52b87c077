"""What all commands share: parsing of their own flags, one-line errors and exit statuses.

A command module has `main(args)`; its flags are in `cli.flags`. They live in a `flags.FlagValues` made for the call:
importing or running a command leaves no global flag behind.
"""

from __future__ import annotations

import importlib
import inspect
import io
import logging as std_logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from absl import flags, logging

from ssl_single_image.cli import host, interrupts
from ssl_single_image.cli.flags import CONFIG_HELP, CONFIGURED, PRINT_CONFIG, define
from ssl_single_image.errors import Halted, InputError

SELECTORS = ("backbone", "objective", "kind")
"""Fields whose value decides which other fields the config has."""


def run(command: str, argv: Sequence[str] | None = None, *, program: str = "") -> None:
    """Runs one command and exits the process.

    Args:
      command: its name in `flags.COMMANDS`.
      argv: argument list with the program's name first; default: this process's. Only then is the host tuned.
      program: put before the command's name in errors and help.

    The exit status is 0 when the command completed, and 2 for bad input, after one line on stderr. Any other exception
    is a defect of this package and keeps its traceback.
    """
    if argv is None:
        own_process()
    argv = list(sys.argv if argv is None else argv)
    name = f"{program} {command}".strip()
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(_ours_or_serious)
    flags.FLAGS.mark_as_parsed()  # grain and absl.logging ask the global flags, of which we define none
    try:
        args = parse(name, command, argv)
        if "workdir" in args:
            host.keep_compiled()
        importlib.import_module(f"ssl_single_image.cli.{command}").main(args)
        if sys.stdout is not None:
            sys.stdout.flush()
    except InputError as error:
        notes = getattr(error, "__notes__", [])  # a table, say, that one line has no room for
        _end("\n".join([f"{name}: error: {one_line(error)}", *notes]), 2)
    except Halted as end:
        if end.lost:  # an ordinary exit would wait for the process that is gone
            _say(f"{name}: {end}")
            os._exit(end.status)
        _end(f"{name}: {end}", end.status)
    except KeyboardInterrupt:
        _end(f"{name}: interrupted", 128 + signal.SIGINT)
    except BrokenPipeError:  # as `| head` leaves it; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        _end(
            f"{name}: {error.strerror or error}: {error.filename or 'a file'} could not be read or written", 1
        )
    sys.exit(0)


def _end(message: str, status: int) -> NoReturn:
    _say(message)
    sys.exit(status)


def _say(message: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()


def own_process() -> None:
    """Prepares a process that runs one command and nothing else.

    The host is tuned. Signals are answered at once. Names with letters that a terminal lacks are printed with
    stand-ins. What fails in threads of libraries is told in a line.
    """
    host.tune()
    interrupts.watch()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Pillow's own guard, which speaks before ours refuses.
    warnings.filterwarnings("ignore", message="Image size .* could be decompression bomb")
    usual = sys.unraisablehook

    def hook(event: Any) -> None:
        # Orbax closes its event loop before the threads and coroutines of a failed restore are done.
        if "Event loop is closed" not in str(event.exc_value) and not inspect.iscoroutine(event.object):
            usual(event)

    sys.unraisablehook = hook
    threading.excepthook = _told_in_a_line


def _told_in_a_line(event: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread on a full disk, say: the main thread meets the cause too."""
    logging.warning("%s: %s", event.exc_type.__name__, " ".join(str(event.exc_value).split()))


def _ours_or_serious(record: std_logging.LogRecord) -> bool:
    """Of other packages only warnings are shown: Orbax logs every file it touches, JAX every backend it tries.

    Orbax, with its asyncio, also logs the traceback of every thread and task in which a save or a restore failed. The
    command ends with the cause.
    """
    if "ssl_single_image" in record.pathname:
        return True
    told = record.exc_info and re.search(r"[/\\](orbax|asyncio)[/\\]", record.pathname)
    return record.levelno >= std_logging.WARNING and not told


def parse(name: str, command: str, argv: Sequence[str]) -> flags.FlagValues:
    """Parses `argv` into the command's own flags; all words are in `.words`, those that are not flags in `.positional`.

    Raises:
      InputError: an unknown flag or config field, a value of the wrong type, a config that can't be read.
    """
    flag_values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "Show this text.", short_name="h", flag_values=flag_values)
    flags.DEFINE_alias("?", "help", flag_values=flag_values)
    define(command, flag_values)
    if any(word in ("--help", "-help", "-h") for word in argv[1:]):
        _help(flag_values, name, command, list(argv))
        sys.exit(0)
    try:
        words = _define_config(flag_values, command, list(argv)) if command in CONFIGURED else list(argv)
        positional = flag_values(words)[1:]
    except InputError:
        raise
    except flags.UnrecognizedFlagError as error:
        raise InputError(_unknown_flag(error.flagname, flag_values)) from error
    except (flags.Error, OSError, ValueError, TypeError, SyntaxError) as error:
        raise InputError(one_line(error)) from error
    flag_values.__dict__["positional"] = positional
    flag_values.__dict__["words"] = list(argv[1:])
    return flag_values


def _help(flag_values: flags.FlagValues, name: str, command: str, argv: list[str]) -> None:
    """Prints the flags, and then the fields of the config, which takes seconds to read."""
    if command in CONFIGURED:
        flags.DEFINE_string("config", None, CONFIG_HELP, flag_values=flag_values)
    print(f"{name}\n\n{flag_values.get_help(include_special_flags=False)}", flush=True)
    if command not in CONFIGURED:
        return
    from ssl_single_image.cli import listing
    from ssl_single_image.experiments import configs

    text = take(argv, "config")[0] or CONFIGURED[command]
    config = configs.read(command, configs.load(command, text, _chosen(argv)))
    print(
        f"\nFields of --config={text}, changed by --config.FIELD=VALUE. --{PRINT_CONFIG} lists the legal values too.\n"
    )
    print(listing.short(config))


def _unknown_flag(given: str, flag_values: flags.FlagValues) -> str:
    """The message about a flag that there is not; it may be the config's field that is meant."""
    from ssl_single_image.schema import suggestion

    known = [flag for flag in flag_values if len(flag) > 1]
    if "config" in flag_values:
        from ssl_single_image.experiments import configs

        known += [f"config.{path}" for path in configs.paths(flag_values["config"].value)]
    near = suggestion(given, known)
    return f"--{given}: no such flag{near if 'did you mean' in near else '; --help lists them'}"


def no_words(args: flags.FlagValues, command: str) -> None:
    """Refuses words that are not flags.

    Raises:
      InputError: there is one.
    """
    if args.positional:
        hint = "; quote a pattern of files, or the shell fills it in" if "image" in args else ""
        raise InputError(
            f"{args.positional[0]!r}: {command} takes flags only, such as --workdir=runs/a{hint}"
        )


def one_line(error: BaseException) -> str:
    """The message of an error on one line; of a long one (an echoed traceback) only the end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 3:
        lines = [re.sub(r"^[\w.]*Error: ", "", lines[-1])]
    return " ".join(lines) or type(error).__name__


def _define_config(flag_values: flags.FlagValues, command: str, argv: list[str]) -> list[str]:
    """Reads the config, makes a flag of each of its fields that `argv` changes, and returns the other words."""
    from ml_collections import config_flags

    from ssl_single_image.experiments import configs
    from ssl_single_image.schema import suggestion

    text, words = take(argv, "config")
    if not text:
        raise InputError("--config: missing; " + ", ".join(configs.names(command)) + ", or a file like them")
    config = configs.load(command, text, _chosen(words))
    known = configs.paths(config)
    for word in words:
        flag = re.match(r"--?(?:no)?config\.([^=]*)", word)
        if flag and flag[1] not in known:
            raise InputError(f"{flag[1]}: the config has no such field{suggestion(flag[1], known)}")
    config_flags.DEFINE_config_dict(
        "config", config, lock_config=True, flag_values=flag_values, sys_argv=words
    )
    return words


def _chosen(words: list[str]) -> dict[str, str]:
    """Those of SELECTORS that an argument list sets, and to what."""
    chosen = {field: take(words, f"config.{field}")[0] for field in SELECTORS}
    return {field: value for field, value in chosen.items() if value}


def take(argv: list[str], name: str) -> tuple[str, list[str]]:
    """The last value of a flag in an argument list, "" if there is none, and the list without the flag."""
    value, words, rest = "", [], iter(argv)
    for word in rest:
        flag, equals, after = word.partition("=")
        if flag in (f"--{name}", f"-{name}"):
            value = after if equals else next(rest, "")
        else:
            words.append(word)
    return value, words
