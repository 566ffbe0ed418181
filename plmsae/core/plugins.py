"""Kinds of things to which one is added by adding a file.

Such a kind (an SAE architecture, an export format, …) has a package of its own. Each module of it
declares one, under the name of the module. Nothing lists them: the folder is the list.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TypeVar

T = TypeVar("T")


def plugin_names(package: str) -> tuple[str, ...]:
    """Return the names of the modules of a package, in alphabetical order, and import none."""
    found = pkgutil.iter_modules(import_module(package).__path__)
    return tuple(sorted(module.name for module in found))


class Plugins(Mapping[str, T]):
    """What the modules of a package declare, by the names of the modules, in alphabetical order.

    A module is imported when what it declares is asked for, not before.

    Parameters
    ----------
    package : str
        Dotted name of the package.
    attribute : str
        Name that each of its modules gives to what it declares.
    """

    def __init__(self, package: str, attribute: str) -> None:
        self._package = package
        self._attribute = attribute

    def __iter__(self) -> Iterator[str]:
        """Yield the names."""
        return iter(plugin_names(self._package))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(plugin_names(self._package))

    def __getitem__(self, name: str) -> T:
        """Return what the module `name` declares; KeyError if there is no such module."""
        if name not in self:
            raise KeyError(name)
        declared: T = getattr(import_module(f"{self._package}.{name}"), self._attribute)
        return declared

    def __contains__(self, name: object) -> bool:
        """Whether there is a module of that name."""
        return name in plugin_names(self._package)
