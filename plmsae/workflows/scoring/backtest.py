"""The back-test of a fill: run it, keep its table and figure, and say what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from plmsae.core.atomic import atomic_path, write_parquet
from plmsae.tracking.runs import Run

if TYPE_CHECKING:
    import polars as pl

    from plmsae.bundle.reading import Bundle
    from plmsae.scoring.fill import FillResult
    from plmsae.workflows.shared.requests import FillRequest

_WORDS = {"random": "one by one", "cluster": "by family"}
_SHOWN = 8


def run_backtest(
    request: FillRequest, result: FillResult, bundle: Bundle, tracked: Run
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Back-test a finished fill; write ``backtest.tsv``, ``.parquet``, ``.png`` and log them.

    What the best hit proposes where the same labels are hidden goes to ``backtest_homology.tsv``,
    by identity to the nearest labelled protein.

    The calls of the fill, `result`, are used again.

    Returns
    -------
    measured, homology : DataFrame
        `backtest`, with the name of each concept, and `homology_totals` of `backtest_homology`
        (`plmsae.scoring.backtest`).
    """
    from plmsae.concepts.labels.names import names_of_ids
    from plmsae.proteins.splits import cluster_table
    from plmsae.reports.plots_of_calls import plot_backtest
    from plmsae.scoring.backtest import HIDINGS, backtest, backtest_homology, homology_totals
    from plmsae.scoring.folder import ScoreFolder
    from plmsae.scoring.relatives import Relatives
    from plmsae.scoring.truth import totals

    accessions = result.proteins["accession"].to_list()
    clusters = dict(zip(accessions, cluster_table(result.proteins).tolist(), strict=True))
    measured = backtest(
        ScoreFolder(result.path / "scores"),
        result.labels,
        bundle.concepts,
        clusters,
        hide_share=request.hide_share,
        min_precision=result.min_precision,
        seed=request.seed,
    )
    names = names_of_ids(bundle.concepts)
    measured = measured.join(names, on="concept", how="left", maintain_order="left")
    paths = [result.path / f"backtest.{kind}" for kind in ("tsv", "parquet", "png")]
    with atomic_path(paths[0]) as temporary:
        measured.write_csv(temporary, separator="\t", float_precision=4)
    write_parquet(paths[1], measured)
    plot_backtest(measured, paths[2])
    for path in paths:
        tracked.log_artifact(path, "figures" if path.suffix == ".png" else None)
    for hiding in HIDINGS:
        sums = totals(measured.filter(measured["hiding"] == hiding))
        tracked.log_metrics(0, {f"backtest_{hiding}_{name}": v for name, v in sums.items()})
    by_bin = backtest_homology(
        Relatives(result.proteins),
        result.labels,
        bundle.concepts,
        clusters,
        hide_share=request.hide_share,
        seed=request.seed,
        whole=bundle.meta.unit == "protein",
    )
    path = result.path / "backtest_homology.tsv"
    with atomic_path(path) as temporary:
        by_bin.drop("promised", "promised_low").write_csv(
            temporary, separator="\t", float_precision=4
        )
    tracked.log_artifact(path)
    homology = homology_totals(by_bin)
    for row in homology.iter_rows(named=True):
        prefix = f"backtest_{row['hiding']}_homology_{row['bin']}_"
        shown = {name: row[name] for name in ("precision", "recall", "proposed", "hidden")}
        tracked.log_metrics(0, {prefix + k: float(v) for k, v in shown.items() if v is not None})
    return measured, homology


def backtest_lines(rows: list[dict[str, Any]], homology: list[dict[str, Any]]) -> list[str]:
    """Return a back-test in words: a line for each way of hiding, then the busiest concepts.

    Parameters
    ----------
    rows, homology : list of dict
        The rows of what `run_backtest` returns.
    """
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
        lines += [
            f"  the best hit alone{_in_bin(row['bin'])}: {row['recovered']:,} of {row['hidden']:,} "
            f"came back; {row['correct']:,} of {row['proposed']:,} right"
            for row in homology
            if row["hiding"] == hiding and (row["hidden"] or row["proposed"])
        ]
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


def _in_bin(name: str) -> str:
    if name == "all":
        return ""
    if name == "none":
        return ", no labelled homologue"
    return f", nearest labelled homologue at {name} %"
