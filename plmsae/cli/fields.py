"""From a request dataclass to command-line parameters and back.

The dataclasses of `shared.requests` are the one definition of every setting: a field's
type, default and docstring become the option's type, default and help.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from plmsae.cli.values import parse_numbers, parse_rate, show_numbers

SHORT = {"out": "-o", "model": "-m", "format": "-f"}
"""Options that have a letter of their own, the same in every command."""

USUAL_HELP = {
    "out": "Folder to write.",
    "model": "Registered model (NAME@alias, NAME/3; NAME alone means @champion), bundle folder, or "
    "ready: the model that comes with plmsae.",
    "device": "auto, cpu, cuda, cuda:1 or mps.",
    "seed": "Seed of everything random.",
    "min_precision": "Abstain on concepts whose precision interval starts lower; 0 proposes all "
    "whose precision was measured. By default the model's own bound.",
    "strict": "Stop at the first bad record instead of listing it in rejected.",
    "validate": "Check input and output against the reviewed suites.",
}
"""Help of fields that need no docstring in each dataclass."""

METAVARS = {
    **{"model": "REF", "out": "DIR", "device": "DEVICE", "cache": "DIR", "from_": "DIR"},
    **dict.fromkeys(("proteins", "report_on", "truth", "held_out", "ontology", "fit_head"), "FILE"),
}

RECIPE_OPTIONS: dict[str, tuple[type, str]] = {
    "d_sae": (int, "Latents."),
    "arch": (str, "Architecture of the SAE, such as topk or batchtopk."),
    "n_vectors": (int, "Residues seen in training, repeats counted."),
    "batch_size": (int, "Residues a step."),
    "lr": (str, "Learning rate: auto or a number."),
    "target": (str, "What to reconstruct: input; layer or change make a transcoder."),
    "target_layer": (int, "Layer a transcoder reconstructs, or to which it gives the change."),
}
"""What a field called ``overrides`` becomes: recipe values worth an option of their own."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How one field shows on the command line, where type and name do not say it."""

    argument: str = ""
    """Metavar of a positional argument; empty for an option."""
    choices: tuple[str, ...] = ()
    """The only values allowed."""
    help: str = ""
    """Instead of the field's docstring."""
    is_name: bool = False
    """A positional argument that is a name, not the path of a file."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One field of a request, understood."""

    name: str
    """Name of the field, with underscores."""
    kind: type
    """``str``, ``int``, ``float``, ``bool``, ``Path``, ``dict``, or ``tuple``."""
    item: type
    """Type of the items of a tuple; else the same as `kind`."""
    optional: bool
    """None is a value it may have."""
    default: Any
    """`dataclasses.MISSING` if it must be given."""
    help: str
    """One paragraph."""
    shape: Shape

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is dataclasses.MISSING

    @property
    def flag(self) -> str:
        """``--like-this``; a name that Python keeps for itself ends with an underscore there."""
        return _flag(self.name)


def settings(
    request: type, shapes: Mapping[str, Shape] = types.MappingProxyType({})
) -> list[Setting]:
    """Read the fields of a request dataclass, arguments first, then what is required.

    Parameters
    ----------
    request : type
        A dataclass of `plmsae.workflows.shared.requests`.
    shapes : mapping of str to Shape, optional
        By field name.
    """
    hints = typing.get_type_hints(request)
    docs = _docstrings(request)
    names = {field.name for field in dataclasses.fields(request)}
    found = []
    for field in dataclasses.fields(request):
        shape = shapes.get(field.name, Shape())
        kind, item, optional = _kind(hints[field.name])
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        text = shape.help or docs.get(field.name) or USUAL_HELP.get(field.name, "")
        found.append(
            Setting(
                name=field.name,
                kind=kind,
                item=item,
                optional=optional,
                default=default,
                help=_plain(text, names, shapes),
                shape=shape,
            )
        )
    return sorted(found, key=lambda s: (not s.shape.argument, not s.required))


def parameters(found: list[Setting]) -> list[inspect.Parameter]:
    """Make the signature that typer reads."""
    made = []
    for setting in found:
        if setting.kind is dict:
            made += [
                _parameter(name, kind | None, None, typer.Option(_flag(name), help=text))
                for name, (kind, text) in RECIPE_OPTIONS.items()
            ]
        else:
            made.append(_of_setting(setting))
    return made


def build(request: Callable[..., Any], found: list[Setting], values: Mapping[str, Any]) -> Any:
    """Make the request of what typer parsed.

    Raises
    ------
    InputError
        If a list of numbers is not one.
    """
    made: dict[str, Any] = {}
    for setting in found:
        if setting.kind is dict:
            given = {name: values[name] for name in RECIPE_OPTIONS if values[name] is not None}
            if "lr" in given:
                given["lr"] = parse_rate(given["lr"])
            made[setting.name] = given
        elif setting.item is int and setting.kind is tuple:
            made[setting.name] = parse_numbers(values[setting.name], option=setting.flag)
        elif setting.kind is tuple:
            made[setting.name] = tuple(values[setting.name] or ())
        else:
            made[setting.name] = values[setting.name]
    return request(**made)


def _of_setting(setting: Setting) -> inspect.Parameter:
    kind: Any = setting.kind
    default = inspect.Parameter.empty if setting.required else setting.default
    metavar = METAVARS.get(setting.name)
    if setting.shape.choices:
        kind, metavar = Literal[setting.shape.choices], None
    elif setting.kind is tuple and setting.item is int:
        kind, metavar = str, "LIST"
        default = show_numbers(setting.default)
    elif setting.kind is tuple:
        kind = list[setting.item]  # type: ignore[name-defined]
        default = default if setting.required else None
        kind = kind if setting.required else kind | None
    if setting.optional:
        kind = kind | None
    if setting.shape.argument:
        info: Any = typer.Argument(help=setting.help, metavar=setting.shape.argument)
        return _parameter(setting.name, kind, default, info)
    flags = [setting.flag]
    if setting.kind is bool and setting.default is True:
        flags = [f"{setting.flag}/--no-{setting.flag[2:]}"]
    if setting.name in SHORT:
        flags.append(SHORT[setting.name])
    # An empty default would show as "[default: ]".
    show = default is not None and default is not False and default != ""
    info = typer.Option(*flags, help=setting.help, metavar=metavar, show_default=show)
    return _parameter(setting.name, kind, default, info)


def _parameter(name: str, kind: Any, default: Any, info: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, info],
    )


def _flag(name: str) -> str:
    return "--" + name.rstrip("_").replace("_", "-")


def _kind(hint: Any) -> tuple[type, type, bool]:
    """Return kind, type of the items and whether None is allowed."""
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [part for part in typing.get_args(hint) if part is not type(None)]
        optional = True
    origin = typing.get_origin(hint) or hint
    if origin is tuple:
        return tuple, typing.get_args(hint)[0], optional
    if origin not in (str, int, float, bool, Path, dict):
        raise TypeError(f"no option can be made of a field of type {hint}")
    return origin, origin, optional


def _docstrings(request: type) -> dict[str, str]:
    """Return the docstring under each field; nothing where the source is not at hand."""
    try:
        tree = ast.parse(inspect.cleandoc(inspect.getsource(request)))
    except (OSError, SyntaxError):
        return {}
    (body,) = [node.body for node in tree.body if isinstance(node, ast.ClassDef)]
    docs: dict[str, str] = {}
    for before, node in itertools.pairwise(body):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str)
        ):
            docs[before.target.id] = node.value.value
    return docs


def _plain(text: str, names: set[str], shapes: Mapping[str, Shape]) -> str:
    """Take the markup out of a docstring; name other fields as the user knows them."""

    def known(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in names:
            return name
        shape = shapes.get(name, Shape())
        return shape.argument or _flag(name)

    text = re.sub(r"(?<!`)`([a-z_]+)`(?!`)", known, " ".join(text.split()))
    return text.replace("`", "")
