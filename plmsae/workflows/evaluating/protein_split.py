"""Which proteins choose and which report: by homology cluster, by organism, or by table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plmsae.concepts.evaluation import SPLITS
from plmsae.core.errors import InputError, TooFewClustersError, printable
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.proteins.leak import Leak

_COLUMNS = ("accession", "sequence", "cluster")
_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Which proteins choose and which report, before homologues on both sides are searched for.

    That search may take minutes, so whatever can be refused is refused in between.
    """

    table: pl.DataFrame
    """``accession``, ``sequence``, ``cluster``; one row per protein."""
    names: NDArray[np.str_]
    """``select`` or ``report``."""
    clusters: NDArray[np.int64] | None
    """What the sides are made of; None where they are organisms or tables."""
    how: str
    """The split, in words, as far as it is known."""


@dataclass(frozen=True, kw_only=True)
class Divided:
    """Proteins, and the split and the cluster of each."""

    table: pl.DataFrame
    """``accession``, ``sequence``; one row per protein."""
    names: NDArray[np.str_]
    """``select`` or ``report``."""
    clusters: NDArray[np.int64]
    """No cluster is in both splits. Where the splits are organisms or tables, which homologues do
    cross, each split is clustered by itself."""
    how: str
    """The split, in words."""
    leak: Leak
    """The homologous pairs that it parts."""


def choose_sides(tables: Sequence[pl.DataFrame], request: EvaluateRequest) -> Sides:
    """Split one table as `request.split` says, or choose on the first and report on the second.

    Parameters
    ----------
    tables : sequence of polars.DataFrame
        One or two, with ``accession``, ``sequence``, ``cluster``; to split by organism also
        ``organism`` or ``organism_id``.
    request : EvaluateRequest
        `split`, `identity`, `select_share`, `seed`.

    Raises
    ------
    InputError
        If there are too few clusters or organisms for two splits, or an accession is in both
        tables.
    """
    from plmsae.proteins.splits import cluster_table, describe_clusters, split

    if len(tables) == 2:
        shared = set(tables[0]["accession"]) & set(tables[1]["accession"])
        if shared:
            raise InputError(
                f"{len(shared)} accessions are in both tables",
                where=request.report_on,
                value=min(shared),
            )
        told = [printable(Path(path).name) for path in (request.concepts, str(request.report_on))]
        return _two_sides(tables, told)
    (table,) = tables
    if request.split == "organism":
        return _by_organism(table, request)
    clusters = cluster_table(table, identity=request.identity)
    return Sides(
        table=table.select(_COLUMNS),
        names=np.array(SPLITS)[split(clusters, _shares(request), request.seed)],
        clusters=clusters,
        how=f"{describe_clusters(table, identity=request.identity)}, none in both splits",
    )


def divide(sides: Sides, request: EvaluateRequest) -> Divided:
    """Cluster each side where they are not made of clusters, and measure the leak."""
    from plmsae.proteins.leak import measure_leak
    from plmsae.proteins.search import resolve_method
    from plmsae.proteins.splits import IDENTITY, cluster_table, describe_clusters, names_clusters

    table, clusters, how = sides.table, sides.clusters, sides.how
    by_search = promised = False
    if clusters is None:
        # Homologues of either split count once there: in intervals, in bounds, and in the folds of
        # select. That they are in both is what was asked for.
        clusters = np.empty(table.height, np.int64)
        for name in SPLITS:
            of_side = cluster_table(table.filter(sides.names == name), identity=request.identity)
            clusters[sides.names == name] = of_side + (table.height if name == "report" else 0)
        report = table.filter(sides.names == "report")
        how += f"; intervals by {describe_clusters(report, identity=request.identity)}"
    else:
        by_search = request.identity is not None or not names_clusters(table)
        promised = (IDENTITY if request.identity is None else request.identity) <= IDENTITY
    leak = measure_leak(
        table["sequence"].to_list(),
        sides.names,
        made_by=resolve_method("auto") if by_search else None,
        promised=promised,
        seed=request.seed,
    )
    kept = table.select("accession", "sequence")
    return Divided(table=kept, names=sides.names, clusters=clusters, how=how, leak=leak)


def species_of(table: pl.DataFrame) -> pl.Series:
    """Return the species of each protein, null where the table names none.

    The name without what stands in brackets, so that strains of a species are one: UniProt writes
    ``Saccharomyces cerevisiae (strain ATCC 204508 / S288c) (Baker's yeast)``. Where there is only
    the taxon's number, its name is taken from other rows, or the number stands for it.
    """
    import polars as pl

    columns = {"organism": pl.String, "organism_id": pl.Int64}
    present = [
        pl.col(name) if name in table.columns else pl.lit(None, kind).alias(name)
        for name, kind in columns.items()
    ]
    frame = table.select("accession", *present).with_columns(
        pl.col("organism")
        .map_elements(lambda name: re.sub(r"\s*\(.*", "", name).strip(), return_dtype=pl.String)
        .replace("", None)
        .alias("species")
    )
    known = frame.filter(
        pl.col("species").is_not_null() & pl.col("organism_id").is_not_null()
    ).unique("organism_id", keep="first", maintain_order=True)
    joined = frame.join(
        known.select("organism_id", pl.col("species").alias("of_number")),
        on="organism_id",
        how="left",
        maintain_order="left",
    )
    number = pl.format("taxon {}", "organism_id")
    return joined.select(pl.coalesce("species", "of_number", number).alias("species"))["species"]


def _by_organism(table: pl.DataFrame, request: EvaluateRequest) -> Sides:
    from plmsae.proteins.splits import split

    species = species_of(table)
    named = species.is_not_null()
    n_unnamed = int((~named).sum())
    table, species = table.filter(named), species.filter(named)
    kinds, member, sizes = np.unique(species.to_numpy(), return_inverse=True, return_counts=True)
    if len(kinds) < 2:
        raise InputError(
            f"proteins of {len(kinds)} organisms cannot be split by organism",
            where=request.concepts,
            hint="the table needs a column Organism or Organism ID, and two species; or give "
            "--report-on",
        )
    try:
        numbers = split(member, _shares(request), request.seed)
    except TooFewClustersError as error:
        raise InputError(
            f"{len(kinds)} organisms cannot be divided in that share",
            where="--select-share",
            value=str(request.select_share),
        ) from error
    told = [_in_words(kinds, sizes, np.unique(member[numbers == side])) for side in (0, 1)]
    sides = _two_sides([table.filter(numbers == side) for side in (0, 1)], told)
    if not n_unnamed:
        return sides
    how = f"{sides.how}; {n_unnamed} proteins of no named organism left out"
    return dataclasses.replace(sides, how=how)


def _in_words(
    kinds: NDArray[np.str_], sizes: NDArray[np.integer], chosen: NDArray[np.integer]
) -> str:
    """Name the organisms with most proteins."""
    largest = chosen[np.argsort(-sizes[chosen], kind="stable")]
    text = ", ".join(str(kinds[i]) for i in largest[:_SHOWN])
    return text + (f" and {len(largest) - _SHOWN} more" if len(largest) > _SHOWN else "")


def _two_sides(tables: Sequence[pl.DataFrame], told: Sequence[str]) -> Sides:
    import polars as pl

    return Sides(
        table=pl.concat([table.select(_COLUMNS) for table in tables]),
        names=np.repeat(SPLITS, [table.height for table in tables]),
        clusters=None,
        how=f"chosen on {told[0]}, reported on {told[1]}, homologues may be in both",
    )


def _shares(request: EvaluateRequest) -> dict[str, float]:
    return {"select": request.select_share, "report": 1 - request.select_share}
