"""The back-test: hide known labels, propose as always, and count what comes back.

Calls do not depend on labels, so that one score run serves every way of hiding. What is proposed
where the full table has none either counts as wrong, though some of it is true and was never
recorded: the precision found is a lower bound, of the same kind as the one promised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from plmsae.concepts.calling.distance import BINS
from plmsae.concepts.labels.label_holdout import class_of, hide_labels
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.hierarchy import keep_most_specific
from plmsae.scoring.overlap import overlaps
from plmsae.scoring.proposal_precision import is_trusted, proposal_precision
from plmsae.scoring.relatives import Relatives, bins_of
from plmsae.scoring.schema import ANNOTATIONS, empty_frame
from plmsae.scoring.truth import check_against_truth

_PLACE = ["accession", "start", "end", "concept"]
ALL = "all"
"""What stands for a bin in the rows of all proteins together."""
BY_LABEL, BY_CLUSTER = "random", "cluster"
HIDINGS = (BY_LABEL, BY_CLUSTER)
"""One by one at random; each class of labels from whole homology clusters."""


def backtest(
    folder: ScoreFolder,
    labels: pl.DataFrame,
    concepts: pl.DataFrame,
    clusters: Mapping[str, int],
    *,
    hide_share: float,
    min_precision: float,
    seed: int = 0,
) -> pl.DataFrame:
    """Hide a share of the labels in each way, and measure the proposals that are then made.

    Parameters
    ----------
    folder : ScoreFolder
        All calls of the model on the table's proteins, whatever their precision.
    labels : DataFrame
        The label table of what the table has.
    concepts : DataFrame
        The bundle's ``concepts.parquet``; labels of other classes are never hidden.
    clusters : mapping of str to int
        Homology cluster of every protein of the table.
    hide_share : float
        Share of the labels to hide, in (0, 1); also the missing share that the precision of
        proposals is computed for, because that is what is missing.
    min_precision : float
        What the lower end of the stated precision must reach, as in `plmsae.scoring.fill.fill`.

    Returns
    -------
    DataFrame
        ``hiding`` (`HIDINGS`), then as `check_against_truth` returns it; one row for each way and
        concept of the model, if a label of it was hidden or proposed. Precision
        intervals count homology clusters.
    """
    found = []
    for hiding, rows, kept in _hide_each_way(labels, concepts, clusters, hide_share, seed):
        silent = [
            calls_without_label(folder.read("annotations", index), kept)
            for index in range(folder.manifest().n_parts)
        ]
        calls = pl.concat([empty_frame(ANNOTATIONS), *silent])
        proposals = proposal_precision(calls, concepts, hide_share).filter(
            is_trusted(min_precision)
        )
        proposals = keep_most_specific(proposals)
        table = check_against_truth(proposals, rows, kept, clusters=clusters)
        table = table.join(concepts.select("concept").unique(), on="concept", how="semi")
        found.append(table.select(pl.lit(hiding).alias("hiding"), pl.all()).sort("concept"))
    return pl.concat(found)


def backtest_homology(
    relatives: Relatives,
    labels: pl.DataFrame,
    concepts: pl.DataFrame,
    clusters: Mapping[str, int],
    *,
    hide_share: float,
    seed: int = 0,
    whole: bool = False,
) -> pl.DataFrame:
    """Measure in the same way what the best hit proposes: the labels of the nearest relative.

    Parameters
    ----------
    relatives : Relatives
        The homologues of all the table's proteins.
    labels, concepts, clusters, hide_share, seed
        As for `backtest`: the same labels are hidden.
    whole : bool
        Whether labels are of whole proteins.

    Returns
    -------
    DataFrame
        ``hiding``, ``bin`` (identity to the nearest protein that kept a label, by the names of
        `plmsae.concepts.calling.distance.BINS`, and ``all``), then as `check_against_truth` returns
        it; nothing is promised.
    """
    ours = concepts.select("concept").unique()
    found = []
    for hiding, rows, kept in _hide_each_way(labels, concepts, clusters, hide_share, seed):
        known = kept.join(ours, on="concept", how="semi")
        carried = relatives.carried(known, n=1, whole=whole)
        proposals = calls_without_label(carried, kept).unique(_PLACE, maintain_order=True)
        proposals = keep_most_specific(proposals)
        bin_of = bins_of(relatives.nearest(known))
        for name in (ALL, *BINS):
            mine = pl.Series(
                [a for a, own in bin_of.items() if name in (ALL, own)], dtype=pl.String
            )
            here = pl.col("accession").is_in(mine.implode())
            table = check_against_truth(
                proposals.filter(here), rows.filter(here), kept.filter(here), clusters=clusters
            )
            table = table.join(ours, on="concept", how="semi").sort("concept")
            place = [pl.lit(hiding).alias("hiding"), pl.lit(name).alias("bin")]
            found.append(table.select(*place, pl.all()))
    return pl.concat(found)


def homology_totals(measured: pl.DataFrame) -> pl.DataFrame:
    """Sum `backtest_homology` up over the concepts.

    Returns
    -------
    DataFrame
        ``hiding``, ``bin``, ``hidden``, ``recovered``, ``proposed``, ``correct``, ``precision``
        and ``recall``, null where nothing was proposed or hidden.
    """
    counts = ["hidden", "recovered", "proposed", "correct"]
    sums = measured.group_by("hiding", "bin", maintain_order=True).agg(pl.col(counts).sum())
    return sums.with_columns(
        precision=pl.col("correct") / pl.col("proposed"),
        recall=pl.col("recovered") / pl.col("hidden"),
    ).with_columns(pl.col("precision", "recall").fill_nan(None))


def _hide_each_way(
    labels: pl.DataFrame,
    concepts: pl.DataFrame,
    clusters: Mapping[str, int],
    hide_share: float,
    seed: int,
) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
    """Yield each way of hiding, all labels, and those that are kept."""
    kind = [name for name in ("kind",) if name in labels.columns]
    rows = labels.select(*_PLACE, *kind)
    # Whole classes, so that no label the model does not know gives away one that it does.
    classes = concepts.select(class_of(pl.col("concept")).unique().alias("class"))["class"]
    ours = class_of(pl.col("concept")).is_in(classes.implode())
    known, others = rows.filter(ours), rows.filter(~ours)
    for hiding in HIDINGS:
        groups = clusters if hiding == BY_CLUSTER else None
        kept, _ = hide_labels(known, hide_share, seed, groups)
        yield hiding, rows, pl.concat([kept, others])


def calls_without_label(calls: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return the calls on which `labels` has none of the concept, its class, or a member of it."""
    here = labels.join(calls.select("accession").unique(), on="accession", how="semi")
    return calls.filter(~overlaps(calls, here, relation="related"))
