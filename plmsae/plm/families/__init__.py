"""Model families: one module for each, found by being in this folder."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from plmsae.plm.families.base import Family, OpenedModel, family_of, open_config

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Family", "OpenedModel", "family_of", "open_config"]
