"""Sections of a configuration: frozen dataclasses whose fields say which values they take.

A section is written as a dataclass that derives from `Section`; `Annotated` puts the legal values beside the type:

    @dataclasses.dataclass(frozen=True)
    class Optimizer(Section):
        TITLE = "optimizer"
        name: Annotated[str, OneOf("sgd", "adam")] = "sgd"
        learning_rate: Annotated[float, Within(0, ends="()")] = 0.05

Every instance is valid: a wrong type, a value out of range and an unknown name raise `InputError` when it is made.
What a field means stands under `Attributes:` in the docstring of its section, where `describe` reads it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import math
import numbers
import typing
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self, TypeVar

from ssl_single_image.errors import InputError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Within:
    """Numbers from `low` to `high`; `ends` says of each end whether it belongs: "[" or "(", then "]" or ")"."""

    low: float = -math.inf
    high: float = math.inf
    ends: str = "[]"

    def allows(self, value: float) -> bool:
        above = value > self.low if self.ends[0] == "(" else value >= self.low
        return above and (value < self.high if self.ends[1] == ")" else value <= self.high)

    def describe(self, noun: str) -> str:
        if self.high == math.inf:
            return (
                f"{noun} above {self.low:.10g}"
                if self.ends[0] == "("
                else f"{noun}, at least {self.low:.10g}"
            )
        return f"{noun} in {self.ends[0]}{self.low:.10g}, {self.high:.10g}{self.ends[1]}"


@dataclasses.dataclass(frozen=True, init=False)
class OneOf:
    """One of a few values."""

    values: tuple[Any, ...]

    def __init__(self, *values: Any):
        object.__setattr__(self, "values", values)

    def allows(self, value: Any) -> bool:
        return value in self.values

    def describe(self, noun: str) -> str:
        del noun
        return f"one of {', '.join(map(str, self.values))}"


@dataclasses.dataclass(frozen=True)
class Told:
    """Says in words what the section's own `check` allows, where no rule can. It refuses nothing."""

    text: str


Rule = Within | OneOf
LARGEST = 2**32
"""Of whole numbers: what a field counts fits into 32 bits."""
SEED = Within(0, 2**32, "[)")
"""Seeds of `jax.random.key`."""


@dataclasses.dataclass(frozen=True)
class Section:
    """The base of all sections; see the module's docstring.

    Attributes:
      TITLE: the section's name in messages; "" for the outermost.
      RENAMED: old name of a field -> its name, for stored configs.
    """

    TITLE: ClassVar[str] = ""
    RENAMED: ClassVar[Mapping[str, str]] = {}

    def __post_init__(self) -> None:
        for name, (kind, rules, _) in _annotations(typing.cast(Any, type(self))).items():
            object.__setattr__(self, name, _checked(kind, rules, getattr(self, name), self.path(name)))
        self.check()

    def check(self) -> None:
        """Checks that concern several fields.

        Raises:
          InputError: fields that contradict each other.
        """

    @classmethod
    def path(cls, name: str) -> str:
        """The field's name with the section's before it, for messages."""
        return f"{cls.TITLE}.{name}" if cls.TITLE else name

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """From a mapping of fields; those left out keep their defaults.

        Raises:
          InputError: an unknown or a missing field, or a value that the section refuses.
        """
        values = {cls.RENAMED.get(str(name), str(name)): value for name, value in config.items()}
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in values:
            if name not in fields:
                raise InputError(f"{cls.path(name)}: no such field{suggestion(name, fields)}")
        for name, field in fields.items():
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and name not in values:
                raise InputError(f"{cls.path(name)}: missing; it has no default")
        return cls(**values)

    @classmethod
    def completed(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """A stored config, and the sections in it, with defaults for fields that came later; nothing is checked."""
        found = {cls.RENAMED.get(str(name), str(name)): value for name, value in stored.items()}
        for field in dataclasses.fields(cls):
            kind, value = _annotations(typing.cast(Any, cls))[field.name][0], found.get(field.name)
            if field.name not in found and field.default is not dataclasses.MISSING:
                found[field.name] = _plain(field.default)
            elif field.name not in found and field.default_factory is not dataclasses.MISSING:
                found[field.name] = _plain(field.default_factory())
            elif isinstance(kind, type) and issubclass(kind, Section) and isinstance(value, Mapping):
                found[field.name] = kind.completed(value)
        return found

    @classmethod
    def from_value(cls, value: Any, path: str = "") -> Self:
        """`value` itself where it is such a section, else `from_config` of it.

        Raises:
          InputError: it is neither such a section nor a mapping, or `from_config` refuses it.
        """
        if isinstance(value, cls):
            return value
        if isinstance(value, Mapping):
            return cls.from_config(value)
        raise InputError(f"{path or cls.TITLE} = {value!r}: must be a mapping of fields")

    def to_config(self) -> dict[str, Any]:
        """All fields as JSON-able values; `from_config` gives the same section back."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


@dataclasses.dataclass(frozen=True)
class Described:
    """A field as users are told of it.

    Attributes:
      name: with the names of its sections before it, as "crop.rotation".
      value: what it holds.
      legal: which values it takes, in words.
      meaning: what its section's docstring says of it.
    """

    name: str
    value: Any
    legal: str
    meaning: str


def describe(section: Section, prefix: str = "") -> list[Described]:
    """All fields of a section and of the sections in it, in their order; `prefix` comes before each name."""
    found: list[Described] = []
    meaning = meanings(type(section))
    for name, (kind, rules, told) in _annotations(typing.cast(Any, type(section))).items():
        value = getattr(section, name)
        if isinstance(value, Section):
            found += describe(value, f"{prefix}{name}.")
        else:
            found.append(Described(prefix + name, value, told or _legal(kind, rules), meaning.get(name, "")))
    return found


def meanings(section: type[Section]) -> Mapping[str, str]:
    """Field -> what the docstring of the section, or of the section that it derives from, says of it."""
    import docstring_parser

    found: dict[str, str] = {}
    for base in reversed(section.__mro__):
        if issubclass(base, Section) and base is not Section:
            text = docstring_parser.parse(inspect.getdoc(base) or "", docstring_parser.DocstringStyle.GOOGLE)
            found |= {p.arg_name: " ".join((p.description or "").split()) for p in text.params}
    return found


def pick(registry: Mapping[str, T], name: str, field: str) -> T:
    """The entry of a registry that a field names.

    Raises:
      InputError: there is none of this name; says which there are.
    """
    if not isinstance(name, str) or name not in registry:  # a config's field may hold anything
        raise InputError(f"{field} = {name!r}: unknown{suggestion(str(name), registry)}")
    return registry[name]


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: those it resembles, or all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    inside = [other for other in names if other.rpartition(".")[2] == name]
    if near or inside:
        return f"; did you mean {' or '.join(dict.fromkeys([*inside, *near]))}?"
    return f"; there are {', '.join(names)}" if names else "; there are none"


@functools.cache
def _annotations(cls: Any) -> dict[str, tuple[Any, tuple[Rule, ...], str]]:
    """Field -> its type, its rules, and what it is told to take beside them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    found: dict[str, tuple[Any, tuple[Rule, ...], str]] = {}
    for field in dataclasses.fields(cls):
        hint: Any = hints[field.name]
        rules: tuple[Any, ...] = ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, rules = hint.__origin__, hint.__metadata__
        told = "".join(rule.text for rule in rules if isinstance(rule, Told))
        found[field.name] = (hint, tuple(rule for rule in rules if isinstance(rule, Within | OneOf)), told)
    return found


def _legal(kind: Any, rules: tuple[Rule, ...]) -> str:
    """Which values a field takes, in words."""
    if typing.get_origin(kind) is tuple:
        kinds = typing.get_args(kind)
        count = "any number of values" if kinds[-1] is Ellipsis else f"{len(kinds)} values"
        return f"{count}, each {_legal(kinds[0], rules)}"
    noun = _NOUNS.get(kind, "a value")
    return " and ".join(rule.describe(noun) for rule in rules) or noun


def _checked(kind: Any, rules: tuple[Rule, ...], value: Any, path: str) -> Any:
    """The value as its type wants it.

    Raises:
      InputError: it is of another type or out of range.
    """
    noun, legal = _NOUNS.get(kind, "a value"), _legal(kind, rules)
    if isinstance(kind, type) and issubclass(kind, Section):
        return kind.from_value(value, path)
    if typing.get_origin(kind) is tuple:
        return _checked_tuple(typing.get_args(kind), rules, value, path)
    convert = kind if kind in _NOUNS else (lambda value: value)
    if kind in _NOUNS:
        accepted = _TYPES[kind]
        wrong = not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool)
        if wrong or (kind is float and not math.isfinite(value)):
            raise InputError(f"{path} = {value!r}: must be {legal}")
    for rule in rules:
        if not rule.allows(value):
            raise InputError(f"{path} = {value!r}: must be {rule.describe(noun)}")
    if kind is int and not -LARGEST <= value <= LARGEST:
        raise InputError(f"{path} = {value!r}: must be {legal}, and at most {LARGEST}")
    return convert(value)


def _checked_tuple(kinds: tuple[Any, ...], rules: tuple[Rule, ...], value: Any, path: str) -> tuple[Any, ...]:
    each = _legal(kinds[0], rules)
    endless = kinds[-1] is Ellipsis
    if not isinstance(value, list | tuple) or (not endless and len(value) != len(kinds)):
        count = "a tuple" if endless else f"{len(kinds)} values"
        raise InputError(f"{path} = {value!r}: must be {count}, each {each}")
    return tuple(_checked(kinds[0], rules, item, f"{path}[{i}]") for i, item in enumerate(value))


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.to_config()
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


_NOUNS = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}
_TYPES: dict[type, type] = {int: numbers.Integral, float: numbers.Real, bool: bool, str: str}
