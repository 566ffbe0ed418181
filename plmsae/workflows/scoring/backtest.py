"""The back-test of a fill: run it, keep its table and figure, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plmsae.tracking.runs import Run

if TYPE_CHECKING:
    import polars as pl

    from plmsae.bundle.reading import Bundle
    from plmsae.scoring.fill import FillResult

_WORDS = {"random": "one by one", "cluster": "by family"}
_SHOWN = 8


def run_backtest(
    result: FillResult,
    bundle: Bundle,
    tracked: Run,
    *,
    hide_share: float,
    min_precision: float | None,
    seed: int,
) -> pl.DataFrame:
    """Back-test a finished fill; write ``backtest.tsv``, ``.parquet``, ``.png`` and log them.

    Parameters
    ----------
    result : FillResult
        The fill, whose calls are used again.
    bundle, min_precision
        As for the fill.
    tracked : Run
        Where it is logged.
    hide_share, seed
        As for `plmsae.scoring.backtest.backtest`.
    """
    from plmsae.concepts.labels.names import names_of_ids
    from plmsae.proteins.splits import cluster_table
    from plmsae.reports.plots_of_calls import plot_backtest
    from plmsae.scoring.backtest import HIDINGS, backtest
    from plmsae.scoring.folder import ScoreFolder
    from plmsae.scoring.truth import totals

    accessions = result.proteins["accession"].to_list()
    clusters = dict(zip(accessions, cluster_table(result.proteins).tolist(), strict=True))
    measured = backtest(
        ScoreFolder(result.path / "scores"),
        result.labels,
        bundle.concepts,
        clusters,
        hide_share=hide_share,
        min_precision=bundle.meta.min_precision if min_precision is None else min_precision,
        seed=seed,
    )
    names = names_of_ids(bundle.concepts)
    measured = measured.join(names, on="concept", how="left", maintain_order="left")
    paths = [result.path / f"backtest.{kind}" for kind in ("tsv", "parquet", "png")]
    measured.write_csv(paths[0], separator="\t", float_precision=4)
    measured.write_parquet(paths[1])
    plot_backtest(measured, paths[2])
    for path in paths:
        tracked.log_artifact(path, "figures" if path.suffix == ".png" else None)
    for hiding in HIDINGS:
        sums = totals(measured.filter(measured["hiding"] == hiding))
        tracked.log_metrics(0, {f"backtest_{hiding}_{name}": v for name, v in sums.items()})
    return measured


def backtest_lines(rows: list[dict[str, Any]]) -> list[str]:
    """Return a back-test in words: a line for each way of hiding, then the busiest concepts."""
    import polars as pl

    from plmsae.concepts.labels.names import named
    from plmsae.scoring.truth import totals

    frame = pl.DataFrame(rows, infer_schema_length=None)
    lines = []
    for hiding, words in _WORDS.items():
        part = frame.filter(pl.col("hiding") == hiding)
        sums = totals(part)
        line = (
            f"back-test, labels hidden {words}: {sums['recovered']:,.0f} of {sums['hidden']:,.0f} "
            f"came back; {sums['correct']:,.0f} of {sums['proposed']:,.0f} proposals right"
        )
        if "precision" in sums:
            promised = sums["promised_precision"]
            line += f" (precision {sums['precision']:.2f}, promised {promised:.2f})"
        lines.append(line)
        made = part.filter(pl.col("proposed") > 0).sort(
            "proposed", "concept", descending=[True, False]
        )
        lines += [
            f"  {named(row):<40.40} hidden {row['hidden']:>5} back {row['recovered']:>5}  "
            f"right {row['correct']:>4} of {row['proposed']:>5}  precision {row['precision']:.2f} "
            f"[{row['precision_low']:.2f}, {row['precision_high']:.2f}] promised "
            f"{row['promised']:.2f}"
            for row in made.head(_SHOWN).iter_rows(named=True)
        ]
    return lines
