"""Numbers computed over a whole table, on which expectations are put like on a column.

Uniqueness, medians and shares cannot be checked part by part; polars computes them lazily over all
parts, and Great Expectations then judges one row of numbers. The modules of this folder declare
them; nothing lists the modules.
"""

from __future__ import annotations

from collections.abc import Mapping

from plmsae.core.plugins import Plugins
from plmsae.quality.measure import Measure

_MODULES: Plugins[Mapping[str, Measure]] = Plugins(__name__, "MEASURES")

MEASURES: Mapping[str, Measure] = {
    name: measure for module in _MODULES.values() for name, measure in module.items()
}
