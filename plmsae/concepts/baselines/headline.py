"""The headline table: what every method finds, with intervals, and the lead of the SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from plmsae.concepts.association.bootstrap import bias_corrected_interval
from plmsae.concepts.association.chance import MARGIN
from plmsae.concepts.baselines.comparison import COUNTS, Detection
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

_ENDS = ("low", "high")

HEADLINE_SCHEMA = {
    "method": pl.String,
    "n_latents": pl.Int64,
    **{
        f"{name}{end}": pl.Float64 if end else pl.Int64
        for name in (*COUNTS, "ahead_features", "ahead_concepts")
        for end in ("", "_low", "_high")
    },
    "note": pl.String,
}


def headline_table(found: Sequence[Detection]) -> pl.DataFrame:
    """Put what the methods find side by side.

    Parameters
    ----------
    found : sequence of Detection
        The SAE first; all on the same samples of the same report proteins.

    Returns
    -------
    polars.DataFrame
        One row per method, in the order given: ``method``, ``n_latents``, ``n_features`` and
        ``n_concepts`` (F1 > 0.5 on both splits), ``n_features_beyond_chance`` and
        ``n_concepts_beyond_chance`` (of these, what also beats the detector that always fires;
        `plmsae.concepts.association.chance`), ``ahead_features`` and ``ahead_concepts`` (how
        many more the first method has, null for itself), ``note``. Each number has its 95 %
        interval in ``…_low`` and ``…_high``, null without samples; those of ``ahead_…`` are of
        differences on the same samples.
    """
    if not found:
        return pl.DataFrame(schema=HEADLINE_SCHEMA)
    first = found[0]
    rows = []
    for row in found:
        if {len(n_B) for n_B in row.counts_B.values()} != {
            len(n_B) for n_B in first.counts_B.values()
        }:
            raise InputError("the methods were resampled differently", record=row.method)
        record: dict[str, object] = {"method": row.method, "n_latents": row.n_latents}
        for name, count in row.counts().items():
            record |= _with_interval(name, count, row.counts_B[name])
        if row is not first:
            for what in ("features", "concepts"):
                name = f"n_{what}"
                ahead = first.counts()[name] - row.counts()[name]
                ahead_B = first.counts_B[name] - row.counts_B[name]
                record |= _with_interval(f"ahead_{what}", ahead, ahead_B)
        rows.append({**record, "note": row.note})
    return pl.DataFrame(rows, schema=HEADLINE_SCHEMA)


def best_f1(found: Sequence[Detection]) -> pl.DataFrame:
    """Put the best F1 that each method has for a concept side by side.

    Returns
    -------
    polars.DataFrame
        ``concept``, and one column ``f1_<method>`` a method: F1 on report of the unit that is best
        on select; null where none is promising there.
    """
    names = sorted({concept for row in found for concept in row.best})
    columns = {f"f1_{row.method}": [row.best.get(name) for name in names] for row in found}
    schema = {"concept": pl.String, **dict.fromkeys(columns, pl.Float64)}
    return pl.DataFrame({"concept": names, **columns}, schema=schema)


def headline_metrics(table: pl.DataFrame) -> dict[str, float]:
    """Return the table as metrics: ``neuron_concepts_f1_50``, ``…_low``, ``sae_ahead_of_neuron_…``.

    Parameters
    ----------
    table : polars.DataFrame
        As :func:`headline_table` returns it.
    """
    metrics: dict[str, float | None] = {}
    for row in table.iter_rows(named=True):
        for what in ("features", "concepts"):
            for end in ("", "_low", "_high"):
                metrics[f"{row['method']}_{what}_f1_50{end}"] = row[f"n_{what}{end}"]
                beyond = f"{what}_beyond_chance{end}"
                metrics[f"{row['method']}_{beyond}"] = row[f"n_{beyond}"]
                metrics[f"sae_ahead_of_{row['method']}_{what}{end}"] = row[f"ahead_{what}{end}"]
    return {name: float(value) for name, value in metrics.items() if value is not None}


def registered_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that a model carries with it, of all that a run logs.

    Of the headline, every method's counts, with intervals for the SAE and its lead over the
    neurons; the rest is in ``baselines.parquet``.
    """

    def kept(name: str) -> bool:
        if name.startswith("sae_ahead_of_"):
            return name.startswith("sae_ahead_of_neuron_")
        ends = tuple(f"_{rule}_{end}" for rule in ("f1_50", "beyond_chance") for end in _ENDS)
        return not name.endswith(ends) or name.startswith(("sae_features", "sae_concepts"))

    return {name: value for name, value in metrics.items() if kept(name)}


def headline_lines(table: pl.DataFrame) -> list[str]:
    """Return the table in words, one line per method."""
    if not table.height:
        return []
    lines = [
        f"  {'at F1 > 0.5; and beyond chance':<20} {'features':>15} {'beyond':>20}"
        f" {'concepts':>16} {'beyond':>16}"
    ]
    for row in table.iter_rows(named=True):
        line = f"  {row['method']:<20}"
        for name, width in (("features", 20), ("concepts", 16)):
            line += f" {_shown(row, f'n_{name}'):>{width}}"
            line += f" {_shown(row, f'n_{name}_beyond_chance'):>{width}}"
        lines.append(line + (f"  ({row['note']})" if row["note"] else ""))
    neuron = table.filter(pl.col("method") == "neuron").to_dicts()
    if neuron and neuron[0]["ahead_features"] is not None:
        ahead = neuron[0]
        lines.append(
            f"  the SAE is ahead of the neurons by {_shown(ahead, 'ahead_features')} features and "
            f"{_shown(ahead, 'ahead_concepts')} concepts"
        )
    lines.append(
        f"  beyond chance: F1 is more than {MARGIN} above that of a detector that always fires"
    )
    if table["n_features_low"].null_count() < table.height:
        lines.append(
            "  [95 %] from samples of homology clusters of both splits, pairs chosen in each; "
            "they do not cover the training of SAE and PLM, nor other labels"
        )
    return lines


def _shown(row: dict[str, float | None], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None or high is None else f" [{low:.0f}, {high:.0f}]"
    return f"{row[name]}{interval}"


def _with_interval(name: str, value: int, value_B: Int64) -> dict[str, float | None]:
    low, high = bias_corrected_interval(value, value_B)
    known = not np.isnan(low)
    return {
        name: value,
        f"{name}_low": low if known else None,
        f"{name}_high": high if known else None,
    }
