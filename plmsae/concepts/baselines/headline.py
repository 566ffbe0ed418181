"""The headline table: what every method finds, how surely, and how far the SAE is ahead of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from plmsae.concepts.association.bootstrap import bias_corrected_interval
from plmsae.concepts.baselines.comparison import Detection
from plmsae.concepts.latents import Int64
from plmsae.core.errors import InputError

HEADLINE_SCHEMA = {
    "method": pl.String,
    "n_latents": pl.Int64,
    **{
        f"{name}{end}": pl.Float64 if end else pl.Int64
        for name in ("n_features", "n_concepts", "ahead_features", "ahead_concepts")
        for end in ("", "_low", "_high")
    },
    "note": pl.String,
}


def headline_table(found: Sequence[Detection], *, confidence: float = 0.95) -> pl.DataFrame:
    """Put what the methods find side by side.

    Parameters
    ----------
    found : sequence of Detection
        The SAE first; all on the same samples of the same report proteins.
    confidence : float
        Two-sided level of the intervals, in (0, 1).

    Returns
    -------
    polars.DataFrame
        One row a method, in the order given: ``method``, ``n_latents``, ``n_features`` and
        ``n_concepts`` (F1 > 0.5 on both splits), ``ahead_features`` and ``ahead_concepts`` (how
        many more the first method has, null for itself), ``note``. Each number has its interval in
        ``…_low`` and ``…_high``, null without samples; those of ``ahead_…`` are of differences on
        the same samples.
    """
    if not found:
        return pl.DataFrame(schema=HEADLINE_SCHEMA)
    first = found[0]
    rows = []
    for row in found:
        if len(row.n_features_B) != len(first.n_features_B):
            raise InputError("the methods were resampled differently", record=row.method)
        record: dict[str, object] = {"method": row.method, "n_latents": row.n_latents}
        numbers = {
            "features": (row.n_features, row.n_features_B),
            "concepts": (len(row.concepts), row.n_concepts_B),
        }
        own = {
            "features": (first.n_features, first.n_features_B),
            "concepts": (len(first.concepts), first.n_concepts_B),
        }
        for name, (count, count_B) in numbers.items():
            record |= _with_interval(f"n_{name}", count, count_B, confidence)
            if row is not first:
                ahead, ahead_B = own[name][0] - count, own[name][1] - count_B
                record |= _with_interval(f"ahead_{name}", ahead, ahead_B, confidence)
        rows.append({**record, "note": row.note})
    return pl.DataFrame(rows, schema=HEADLINE_SCHEMA)


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
        return not name.endswith(("_f1_50_low", "_f1_50_high")) or name.startswith(
            ("sae_features", "sae_concepts")
        )

    return {name: value for name, value in metrics.items() if kept(name)}


def headline_lines(table: pl.DataFrame) -> list[str]:
    """Return the table in words, a line a method."""
    lines = []
    for row in table.iter_rows(named=True):
        line = f"  {row['method']:<20} {_shown(row, 'n_features'):>20} features"
        line += f" {_shown(row, 'n_concepts'):>16} concepts"
        lines.append(line + (f"  ({row['note']})" if row["note"] else ""))
    neuron = table.filter(pl.col("method") == "neuron").to_dicts()
    if neuron and neuron[0]["ahead_features"] is not None:
        ahead = neuron[0]
        lines.append(
            f"  the SAE is ahead of the neurons by {_shown(ahead, 'ahead_features')} features and "
            f"{_shown(ahead, 'ahead_concepts')} concepts"
        )
    return lines


def _shown(row: dict[str, float | None], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None or high is None else f" [{low:.0f}, {high:.0f}]"
    return f"{row[name]}{interval}"


def _with_interval(
    name: str, value: int, value_B: Int64, confidence: float
) -> dict[str, float | None]:
    low, high = bias_corrected_interval(value, value_B, confidence)
    known = not np.isnan(low)
    return {
        name: value,
        f"{name}_low": low if known else None,
        f"{name}_high": high if known else None,
    }
