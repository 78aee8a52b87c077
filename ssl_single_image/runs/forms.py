"""What a form of reference is, and the parts that several forms share."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from ssl_single_image.errors import InputError
from ssl_single_image.runs.encoders import LoadedEncoder


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


def _value(text: str) -> Any:
    """A number or truth value where the text is one, else the text."""
    try:
        return ast.literal_eval(text.capitalize() if text.lower() in ("true", "false") else text)
    except (ValueError, SyntaxError):
        return text
