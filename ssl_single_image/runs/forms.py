"""What a form of reference is, and the parts that several forms share."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ssl_single_image.errors import InputError
from ssl_single_image.runs.encoders import LoadedEncoder

_SOURCE = re.compile(r"(?:^|,)source=(synthetic:\w*(?:,size=\w*)?@\d+|[^,]*?(?=@\d+$|,|$))")
"""The source in a reference. A synthetic image has a seed of its own, before that of the network, and maybe a comma."""


@dataclasses.dataclass(frozen=True)
class Form:
    """A way to name an encoder that is no run's checkpoint.

    Attributes:
      load: (reference, what follows the colon) -> the encoder. It raises InputError where there is none.
      looks: the form in a message, such as "random:BACKBONE[,OPTION=VALUE][@SEED]".
      needs_argument: whether a reference without a colon is the name of a folder instead.
    """

    load: Callable[[str, str], LoadedEncoder]
    looks: str
    needs_argument: bool = True


def seeded(reference: str, rest: str) -> tuple[str, int]:
    """What stands before the seed, and the seed: "alexnet32@3" -> ("alexnet32", 3); 0 where there is none.

    Raises:
      InputError: a seed that is no whole number in [0, 2**32).
    """
    described, at, seed = rest.rpartition("@")
    if not at:
        described, seed = seed, "0"
    if not seed.isdecimal() or int(seed) >= 2**32:
        raise InputError(f"checkpoint {reference}: the seed after @ must be a whole number in [0, 2**32)")
    return described, int(seed)


def options(reference: str, words: Sequence[str]) -> dict[str, Any]:
    """["sobel=true"] -> {"sobel": True}.

    Raises:
      InputError: a word without "=".
    """
    found = {}
    for word in words:
        option, equals, value = word.partition("=")
        if not equals:
            raise InputError(f"checkpoint {reference}: {word!r} is no option; expected OPTION=VALUE")
        found[option] = _value(value)
    return found


class OfSource(NamedTuple):
    """What a reference to a network made from a source says.

    Attributes:
      source: as `datasets.sources.load_source` takes it.
      backbone: its name.
      options: all others by name, of the backbone or of what makes the network.
      seed: 0 where none is given.
    """

    source: str
    backbone: str
    options: dict[str, Any]
    seed: int


def of_source(reference: str, rest: str, looks: str) -> OfSource:
    """Reads `BACKBONE[,OPTION=VALUE],source=IMAGE[@SEED]`.

    Only digits after the last @ are a seed, because a file may have @ in its name. `synthetic:NAME` has a seed of its
    own, which comes first: `alexnet32,source=synthetic:fractal@3@0`.

    Args:
      reference: the whole, for messages.
      rest: what follows the word and the colon.
      looks: the form, for messages.

    Raises:
      InputError: no source, a word that is no option, or a bad seed.
    """
    found = _SOURCE.search(rest)
    source = found[1] if found else ""
    if not found or not source:
        raise InputError(f"checkpoint {reference}: names no image; expected {looks}")
    others = rest[: found.start()] + rest[found.end() :]
    described, seed = seeded(reference, others) if re.search(r"@\d+$", others) else (others, 0)
    name, *words = described.split(",")
    return OfSource(source, name, options(reference, words), seed)


def _value(text: str) -> Any:
    """A number or truth value where the text is one, else the text."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
