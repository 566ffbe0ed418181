"""Which proteins choose and which report: by homology cluster, by organism, or by table."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plmsae.core.errors import InputError, TooFewClustersError, printable
from plmsae.workflows.shared.requests import EvaluateRequest

if TYPE_CHECKING:
    import polars as pl

    from plmsae.proteins.leak import Leak

_SHOWN = 3


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


def split_table(table: pl.DataFrame, request: EvaluateRequest) -> Divided:
    """Split one table as `request.split` says.

    Parameters
    ----------
    table : polars.DataFrame
        ``accession``, ``sequence``, ``cluster``; to split by organism also ``organism`` or
        ``organism_id``.
    request : EvaluateRequest
        `split`, `identity`, `select_share`, `seed`.

    Raises
    ------
    InputError
        If there are too few clusters or organisms for two splits.
    """
    from plmsae.proteins.leak import measure_leak
    from plmsae.proteins.search import resolve_method
    from plmsae.proteins.splits import (
        IDENTITY,
        cluster_table,
        describe_clusters,
        names_clusters,
        split,
    )

    if request.split == "organism":
        return _by_organism(table, request)
    clusters = cluster_table(table, identity=request.identity)
    numbers = split(clusters, _shares(request), request.seed)
    by_table = request.identity is None and names_clusters(table)
    return Divided(
        table=table.select("accession", "sequence"),
        names=np.array(["select", "report"])[numbers],
        clusters=clusters,
        leak=measure_leak(
            table["sequence"].to_list(),
            numbers,
            made_by=None if by_table else resolve_method("auto"),
            promised=(IDENTITY if request.identity is None else request.identity) <= IDENTITY,
            seed=request.seed,
        ),
        how=f"{describe_clusters(table, identity=request.identity)}, none in both splits",
    )


def split_tables(table: pl.DataFrame, other: pl.DataFrame, request: EvaluateRequest) -> Divided:
    """Choose on one table and report on the other.

    Raises
    ------
    InputError
        If an accession is in both.
    """
    shared = set(table["accession"]) & set(other["accession"])
    if shared:
        raise InputError(
            f"{len(shared)} accessions are in both tables",
            where=request.report_on,
            value=min(shared),
        )
    names = [printable(Path(path).name) for path in (request.concepts, str(request.report_on))]
    return _two_sides(table, other, request, names[0], names[1])


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


def _by_organism(table: pl.DataFrame, request: EvaluateRequest) -> Divided:
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
    select, report = (table.filter(numbers == side) for side in (0, 1))
    divided = _two_sides(select, report, request, told[0], told[1])
    if not n_unnamed:
        return divided
    how = f"{divided.how}; {n_unnamed} proteins of no named organism left out"
    return dataclasses.replace(divided, how=how)


def _in_words(
    kinds: NDArray[np.str_], sizes: NDArray[np.integer], chosen: NDArray[np.integer]
) -> str:
    """Name the organisms with most proteins."""
    largest = chosen[np.argsort(-sizes[chosen], kind="stable")]
    text = ", ".join(str(kinds[i]) for i in largest[:_SHOWN])
    return text + (f" and {len(largest) - _SHOWN} more" if len(largest) > _SHOWN else "")


def _two_sides(
    select: pl.DataFrame, report: pl.DataFrame, request: EvaluateRequest, chosen: str, told: str
) -> Divided:
    from plmsae.proteins.leak import measure_leak
    from plmsae.proteins.splits import cluster_table, describe_clusters

    # Homologues of either split count once there: in intervals, in bounds, and in the folds of
    # select. That they are in both is what was asked for.
    clusters = [cluster_table(table, identity=request.identity) for table in (select, report)]
    clusters[1] += select.height
    columns = ["accession", "sequence"]
    how = f"chosen on {chosen}, reported on {told}, homologues may be in both; intervals by "
    both = select.select(columns).vstack(report.select(columns))
    names = np.repeat(["select", "report"], [select.height, report.height])
    return Divided(
        table=both,
        names=names,
        clusters=np.concatenate(clusters),
        leak=measure_leak(both["sequence"].to_list(), names, made_by=None, promised=False),
        how=how + describe_clusters(report, identity=request.identity),
    )


def _shares(request: EvaluateRequest) -> dict[str, float]:
    return {"select": request.select_share, "report": 1 - request.select_share}
