"""Settings dataclasses, read: name, type, default, choices and docstring of every field.

The command line, ``MLproject``, recipes, the Python API and the parameters of MLflow runs are all
derived from what is read here, so that a setting is declared once.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import os
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from plmsae.core.errors import InputError

T = TypeVar("T")
_KINDS = (str, int, float, bool, Path)


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting takes, by the names that pydantic uses.

    It stands in the type of the field, ``Annotated[int, Range(ge=1)]``.
    """

    ge: float | None = None
    """At least this."""
    gt: float | None = None
    """More than this."""
    le: float | None = None
    """At most this."""
    lt: float | None = None
    """Less than this."""

    def __contains__(self, value: float) -> bool:
        """Tell whether a number is in it; none that is not finite is."""
        return (
            math.isfinite(value)
            and (self.ge is None or value >= self.ge)
            and (self.gt is None or value > self.gt)
            and (self.le is None or value <= self.le)
            and (self.lt is None or value < self.lt)
        )

    def __str__(self) -> str:
        """Return it in words."""
        limits = (
            ("at least", self.ge),
            ("more than", self.gt),
            ("at most", self.le),
            ("less than", self.lt),
        )
        return " and ".join(f"{words} {limit}" for words, limit in limits if limit is not None)


PositiveInt = Annotated[int, Range(ge=1)]
NonNegativeInt = Annotated[int, Range(ge=0)]
NonNegativeFloat = Annotated[float, Range(ge=0)]
Share = Annotated[float, Range(ge=0, le=1)]
Seed = Annotated[int, Range(ge=0, le=2**32 - 1)]
"""What NumPy, PyTorch and scikit-learn all take."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a settings dataclass, or of a configuration embedded in it."""

    name: str
    """Name of the field, with underscores."""
    kind: type
    """``str``, ``int``, ``float``, ``bool``, ``Path`` or ``tuple``."""
    item: type
    """Type of the items of a tuple; otherwise the same as `kind`."""
    optional: bool
    """Whether None is a value it may have."""
    choices: tuple[str, ...] = ()
    """The allowed values; of a number, the words that may stand in its place."""
    default: Any
    """`dataclasses.MISSING` if it must be given."""
    doc: str
    """Its docstring, on one line."""
    hint: Any
    """Its type annotation."""
    range: Range | None = None
    """Of a number, or of each number of a tuple."""
    inside: str = ""
    """Name of the field that holds the configuration it belongs to; empty for a field itself."""

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return flag_of(self.name)

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is dataclasses.MISSING

    def convert(self, value: Any, *, where: str | Path | None = None) -> Any:
        """Return a value as the field's type.

        Whole numbers become floats, text becomes a path (and a path text), and lists and single
        items become tuples, where the field has that type.

        Raises
        ------
        InputError
            If it has another type, is not one of the choices or out of range.
        """
        if (value is None and self.optional) or (isinstance(value, str) and value in self.choices):
            return value
        if self.kind is tuple:
            items = value if isinstance(value, list | tuple) else [value]
            single = dataclasses.replace(self, kind=self.item, optional=False)
            return tuple(single.convert(item, where=where) for item in items)
        made = value
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            made = float(value)
        elif self.kind is Path and isinstance(value, str):
            made = Path(value)
        elif self.kind is str and isinstance(value, os.PathLike):
            made = os.fspath(value)
        fits = isinstance(made, self.kind) and isinstance(made, bool) == (self.kind is bool)
        if not fits or (self.kind is str and self.choices):
            raise InputError(
                f"{self.name!r} must be {self._wanted()}", where=where, value=str(value)
            )
        if self.range is not None and made not in self.range:
            raise InputError(f"must be {self.range}", where=where or self.flag, value=str(value))
        return made

    def _wanted(self) -> str:
        kinds = [] if self.kind is str and self.choices else [self.kind.__name__]
        return " or ".join([*self.choices, *kinds, *(["nothing"] if self.optional else [])])


def flag_of(name: str) -> str:
    """Return ``--like-this``; a name that Python keeps for itself ends with an underscore there."""
    return "--" + name.rstrip("_").replace("_", "-")


def read_settings(owner: type, defaults: Any = None) -> list[Setting]:
    """Return the settings of a dataclass; those of an embedded configuration stand in its place.

    A field whose metadata holds ``fixed`` hides the fields of its configuration that are named
    there; one whose metadata holds ``settings`` has those that this function returns.

    Parameters
    ----------
    owner : type
        A dataclass.
    defaults : object, optional
        An instance of it whose values are the defaults, instead of those of the class.
    """
    hints = typing.get_type_hints(owner)
    ranges = _ranges(owner)
    docs = _docstrings(owner)
    found: list[Setting] = []
    for field in dataclasses.fields(owner):
        default = _default(field) if defaults is None else getattr(defaults, field.name)
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            fixed = field.metadata.get("fixed", ())
            inner = [s for s in read_settings(hint, default) if s.name not in fixed]  # type: ignore[arg-type]
        elif "settings" in field.metadata:
            inner = field.metadata["settings"]()
        else:
            kind, item, optional, choices = _understood(hint)
            found.append(
                Setting(
                    name=field.name,
                    kind=kind,
                    item=item,
                    optional=optional,
                    choices=choices,
                    default=default,
                    doc=" ".join(docs.get(field.name, "").split()),
                    hint=hint,
                    range=ranges.get(field.name),
                )
            )
            continue
        found += [dataclasses.replace(setting, inside=field.name) for setting in inner]
    return found


def make_settings(owner: type[T], values: Mapping[str, Any]) -> T:
    """Return an instance of a settings dataclass, its embedded configurations filled as well.

    Parameters
    ----------
    owner : type
        A dataclass.
    values : mapping of str to object
        By the names of `read_settings`; each is converted.

    Raises
    ------
    InputError
        If a name is unknown or a value is wrong.
    """
    known = {setting.name: setting for setting in read_settings(owner)}
    own: dict[str, Any] = {}
    embedded: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in values.items():
        if name not in known:
            raise InputError(f"unknown setting {name!r}", hint=f"known: {', '.join(known)}")
        converted = known[name].convert(value)
        (embedded[known[name].inside] if known[name].inside else own)[name] = converted
    for field in dataclasses.fields(owner):  # type: ignore[arg-type]
        if field.name in embedded:
            default = _default(field)
            given = embedded[field.name]
            own[field.name] = (
                dataclasses.replace(default, **given)
                if dataclasses.is_dataclass(default) and not isinstance(default, type)
                else {name: value for name, value in given.items() if value is not None}
            )
    return owner(**own)


def settings_values(settings: Any) -> dict[str, Any]:
    """Return the values of a settings dataclass by name, those of embedded configurations too."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values |= settings_values(value)
        elif isinstance(value, Mapping):
            values |= value
        else:
            values[field.name] = value
    return values


def check_settings(settings: Any) -> None:
    """Check the values of a settings dataclass; configurations inside it check their own.

    Raises
    ------
    InputError
        If a field annotated as a `Literal` has another value than those, or a number is out of the
        `Range` of its field.
    """
    for setting in read_settings(type(settings), settings):
        if (setting.choices or setting.range) and not setting.inside:
            setting.convert(setting.default)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _understood(hint: Any) -> tuple[type, type, bool, tuple[str, ...]]:
    """Return kind, type of the items, whether None is allowed, and choices."""
    parts = [hint]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = list(typing.get_args(hint))
    optional = type(None) in parts
    literals = [part for part in parts if typing.get_origin(part) is typing.Literal]
    choices = tuple(choice for part in literals for choice in typing.get_args(part))
    rest = [part for part in parts if part not in literals and part is not type(None)] or [str]
    (hint,) = rest
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        return tuple, typing.get_args(hint)[0], optional, choices
    if origin not in _KINDS:
        raise TypeError(f"a setting cannot have the type {hint}")
    return origin, origin, optional, choices


@functools.cache
def _ranges(owner: type) -> dict[str, Range]:
    """Return the range of each field that has one, also of the items of a tuple."""

    def inside(hint: Any) -> Range | None:
        found = (part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Range))
        deeper = (inside(part) for part in typing.get_args(hint))
        return next((part for part in itertools.chain(found, deeper) if part is not None), None)

    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: found for name, hint in hints.items() if (found := inside(hint)) is not None}


def _docstrings(owner: type) -> dict[str, str]:
    """Return the docstring under each field; nothing where the source is not at hand."""
    return _docstrings_of_module(owner.__module__).get(owner.__name__, {})


@functools.cache
def _docstrings_of_module(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings of the fields of all classes of a module, which is parsed once."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[module]))
    except (OSError, SyntaxError, TypeError):
        return {}
    return {
        owner.name: {
            before.target.id: node.value.value
            for before, node in itertools.pairwise(owner.body)
            if isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        }
        for owner in tree.body
        if isinstance(owner, ast.ClassDef)
    }
