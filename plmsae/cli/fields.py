"""From a request dataclass to command-line parameters and back.

The dataclasses of `shared.requests` are the one definition of every setting: a field's
type, default and docstring become the option's type, default and help.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import typer

from plmsae.cli.values import parse_numbers, parse_rate, show_numbers
from plmsae.core.settings import Setting, flag_of, make_settings
from plmsae.workflows.shared.requests import request_settings

SHORT = {"out": "-o", "model": "-m", "format": "-f"}
"""Options that have a letter of their own, the same in every command."""

METAVARS = {
    **{"model": "REF", "out": "DIR", "device": "DEVICE", "cache": "DIR", "from_": "DIR"},
    **dict.fromkeys(("proteins", "report_on", "truth", "held_out", "ontology", "fit_head"), "FILE"),
}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How one field shows on the command line, where type and name do not say it."""

    argument: str = ""
    """Metavar of a positional argument; empty for an option."""
    choices: tuple[str, ...] = ()
    """The only values allowed, where its type does not name them: they are files of a folder."""
    help: str = ""
    """Instead of the field's docstring."""
    metavar: str = ""
    """What an option takes, where its name means something else in other commands."""
    repeated: bool = False
    """A list of numbers whose option may also be given several times."""
    is_name: bool = False
    """A positional argument that is a name, not the path of a file."""


@dataclass(frozen=True, kw_only=True)
class Option(Setting):
    """A setting as the command line shows it."""

    help: str
    """One paragraph."""
    shape: Shape


def options(
    request: type, shapes: Mapping[str, Shape] = types.MappingProxyType({})
) -> list[Option]:
    """Read the settings of a request dataclass, arguments first, then what is required.

    Parameters
    ----------
    request : type
        A dataclass of `plmsae.workflows.shared.requests`.
    shapes : mapping of str to Shape, optional
        By setting.
    """
    read = request_settings(request)
    names = {setting.name for setting in read}
    found = []
    for setting in read:
        shape = shapes.get(setting.name, Shape())
        text = _plain(shape.help or setting.doc, names, shapes)
        values = {field.name: getattr(setting, field.name) for field in dataclasses.fields(setting)}
        values["choices"] = shape.choices or setting.choices
        found.append(Option(**values, help=text, shape=shape))
    return sorted(found, key=lambda option: (not option.shape.argument, not option.required))


def build(request: type, found: list[Option], values: Mapping[str, Any]) -> Any:
    """Make the request of what typer parsed.

    Raises
    ------
    InputError
        If a list of numbers is not one, or a value is out of range.
    """
    made: dict[str, Any] = {}
    for option in found:
        value = values[option.name]
        if option.inside and value is None:
            continue
        if option.kind is tuple and option.item is int:
            text = ",".join(value) if option.shape.repeated else value
            value = parse_numbers(text, option=option.flag)
        elif option.kind is tuple:
            value = tuple(value or ())
        elif option.kind is float and option.choices and value is not None:
            value = parse_rate(value)
        made[option.name] = value
    return make_settings(request, made)


def parameter(option: Option) -> inspect.Parameter:
    """Make the parameter that typer reads."""
    kind: Any = option.kind
    default = inspect.Parameter.empty if option.required else option.default
    metavar = option.shape.metavar or METAVARS.get(option.name)
    if option.choices:
        # Typer knows no "number or word": such a value comes as text.
        is_number = option.kind is float
        kind = str if is_number else Literal[option.choices]
        metavar = f"<{'|'.join(option.choices)}|float>" if is_number else None
    elif option.kind is tuple and option.item is int:
        kind, metavar = list[str] if option.shape.repeated else str, "LIST"
        if not option.required:
            default = None if option.default is None else show_numbers(option.default)
    elif option.kind is tuple:
        kind = list[option.item]  # type: ignore[name-defined]
        default = default if option.required else None
        kind = kind if option.required else kind | None
    if option.optional:
        kind = kind | None
    if option.shape.argument:
        info: Any = typer.Argument(help=option.help, metavar=option.shape.argument)
    else:
        flags = [option.flag]
        if option.kind is bool and option.default is True:
            flags = [f"{option.flag}/--no-{option.flag[2:]}"]
        if option.name in SHORT:
            flags.append(SHORT[option.name])
        # An empty default would show as "[default: ]".
        show = default is not None and default is not False and default != ""
        info = typer.Option(*flags, help=option.help, metavar=metavar, show_default=show)
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, info],
    )


def _plain(text: str, names: set[str], shapes: Mapping[str, Shape]) -> str:
    """Take the markup out of a docstring; name other fields as the user knows them."""

    def known(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in names:
            return name
        shape = shapes.get(name, Shape())
        return shape.argument or flag_of(name)

    text = re.sub(r"(?<!`)`([a-z_]+)`(?!`)", known, " ".join(text.split()))
    return text.replace("`", "")
