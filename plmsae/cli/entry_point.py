"""From an MLproject entry point's parameters to the command line.

``mlflow run`` hands every parameter over as text: an empty one means not given, ``true`` and
``false`` stand for switches, commas separate several files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from plmsae.cli import main
from plmsae.cli.commands import COMMANDS
from plmsae.cli.fields import Option
from plmsae.cli.running import EXIT_USAGE, fail
from plmsae.core.errors import InputError

_TRUE = ("true", "yes", "1")
_FALSE = ("false", "no", "0")


def run_entry_point(name: str, pairs: Sequence[str] | None = None) -> NoReturn:
    """Run the command of an entry point and exit with its code.

    Parameters
    ----------
    pairs : sequence of str, optional
        ``--parameter value`` again and again; by default the arguments of the process.
    """
    try:
        arguments = command_line(name, sys.argv[1:] if pairs is None else pairs)
    except InputError as error:
        fail(error)
        raise SystemExit(EXIT_USAGE) from error
    main(arguments)


def command_line(name: str, pairs: Sequence[str]) -> list[str]:
    """Return the arguments that `plmsae.cli.main` takes.

    Raises
    ------
    InputError
        If a parameter is unknown or a switch is neither true nor false.
    """
    (spec,) = [spec for spec in COMMANDS if spec.name == name]
    known = {option.name: option for option in spec.options}
    options: list[str] = []
    positional: list[str] = []
    names, values = pairs[::2], pairs[1::2]
    if len(names) != len(values) or any(not n.startswith("--") for n in names):
        raise InputError("parameters come as --name value", where=f"entry point {name}")
    for flag, value in zip(names, values, strict=True):
        parameter = flag[2:].replace("-", "_")
        if parameter not in known:
            hint = f"known: {', '.join(known)}"
            raise InputError(
                "unknown parameter", where=f"entry point {name}", value=parameter, hint=hint
            )
        if value == "":
            continue
        setting = known[parameter]
        if setting.shape.argument:
            positional += _several(setting, value)
        elif setting.kind is bool:
            options += _switch(setting, value)
        else:
            options += [f"{setting.flag}={one}" for one in _several(setting, value)]
    return [name, *options, "--", *positional] if positional else [name, *options]


def _several(setting: Option, value: str) -> list[str]:
    if setting.kind is tuple and setting.item is str:
        return [part for part in value.split(",") if part]
    return [value]


def _switch(setting: Option, value: str) -> list[str]:
    if value.lower() not in (*_TRUE, *_FALSE):
        raise InputError("must be true or false", where=setting.name, value=value)
    wanted = value.lower() in _TRUE
    if wanted == setting.default:
        return []
    return [setting.flag if wanted else f"--no-{setting.flag[2:]}"]
