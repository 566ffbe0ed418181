"""The other tables an expectation may need: proteins, known labels, the model's concepts, …."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from plmsae.core.errors import InputError
from plmsae.quality.sources import Table, TableLike, check_columns, open_table
from plmsae.quality.suites import ColumnType

_COLUMNS: Mapping[str, Mapping[str, ColumnType]] = {
    "proteins": {"accession": "string", "length": "integer"},
    "rejected": {"reason": "string"},
    "concepts": {"concept": "string"},
    "sequences": {"accession": "string", "sequence": "string"},
    "registered": {"fact": "string", "used": "string", "registered": "string"},
    "asked": {"min_precision": "number"},
    "labels": {"accession": "string", "start": "integer", "end": "integer", "concept": "string"},
    "backtest": {
        "concept": "string",
        "n_hidden": "integer",
        "n_recovered": "integer",
        "n_proposed": "integer",
        "n_correct": "integer",
    },
}

_OPTIONAL: Mapping[str, Mapping[str, ColumnType]] = {
    "concepts": {
        "kind": "string",
        "label_whole_share": "number",
        "label_one_residue_share": "number",
        "n_calls": "integer",
        "abstains": "string",
    },
    "labels": {"kind": "string"},
}
"""Columns that are used when they are there."""

CONTEXT_KEYS = tuple(_COLUMNS)


class Context:
    """What a table is checked against, opened once.

    Parameters
    ----------
    given : mapping, optional
        ``proteins``: accession, length. ``rejected``: reason (the records left out on reading).
        ``concepts``: the concepts a model knows, as a table with a column ``concept`` (and
        ``kind``, without which the lengths of calls are not checked) or a sequence of names.
        ``labels``: a label table. ``backtest``: per concept how many labels were hidden and found
        again, how many proposals were made and were right (``n_hidden``, ``n_recovered``,
        ``n_proposed``, ``n_correct``). ``sequences``: accession, sequence. ``registered``: facts of
        the run beside those of the registered model (``fact``, ``used``, ``registered``).
        ``asked``: the lowest precision that a proposal was asked to have (``min_precision``). Each
        a frame, a file or a folder of Parquet parts; None counts as not given.

    Raises
    ------
    InputError
        On an unknown key, or a table without its columns.
    """

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self._tables: dict[str, Table] = {}
        self._present: dict[str, Sequence[str]] = {}
        self._shared: dict[Any, tuple[pl.LazyFrame, pl.DataFrame]] = {}
        for key, source in (given or {}).items():
            if key not in _COLUMNS:
                known = ", ".join(CONTEXT_KEYS)
                raise InputError(
                    "unknown context for a validation", value=key, hint=f"known: {known}"
                )
            if source is None:
                continue
            table = open_table(_as_table(key, source), what=key)
            self._present[key] = check_columns(table, _COLUMNS[key], _OPTIONAL.get(key, {}))
            self._tables[key] = table

    def has(self, needs: Sequence[str]) -> bool:
        """Whether all of `needs` were given."""
        return all(key in self._tables for key in needs)

    def scan(self, key: str) -> pl.LazyFrame:
        """Scan the table under `key` lazily, with the columns that may be used (and no others)."""
        return self._tables[key].scan().select(self._present[key])

    @cached_property
    def concepts(self) -> frozenset[str]:
        """The concepts the model knows."""
        frame = self.scan("concepts").select("concept").unique().collect()
        return frozenset(frame["concept"].drop_nulls().to_list())

    @cached_property
    def span_concepts(self) -> pl.DataFrame | None:
        """The concepts that are spans, and how often their labels are whole proteins, or residues.

        ``concept``, ``label_whole_share``, ``label_one_residue_share`` (0 where not known); None if
        the table of concepts does not say which are spans.
        """
        if "kind" not in self._present["concepts"]:
            return None
        shares = ("label_whole_share", "label_one_residue_share")
        found = self._tables["concepts"].scan().filter(pl.col("kind") == "span")
        columns = [
            pl.col(name).cast(pl.Float64).fill_null(0.0).max()
            if name in self._present["concepts"]
            else pl.lit(0.0).alias(name)
            for name in shares
        ]
        return found.group_by(pl.col("concept").cast(pl.String)).agg(columns).collect()

    @cached_property
    def reference_calls(self) -> pl.DataFrame | None:
        """How many calls of each concept the model made on its held-out proteins.

        ``concept``, ``n_calls``, ``abstains`` (whether it is not called by default); None if the
        table of concepts does not say.
        """
        if "n_calls" not in self._present["concepts"]:
            return None
        abstains = (
            pl.col("abstains").is_not_null().all()
            if "abstains" in self._present["concepts"]
            else pl.lit(value=False).alias("abstains")
        )
        return (
            self.scan("concepts")
            .group_by(pl.col("concept").cast(pl.String))
            .agg(pl.col("n_calls").max().fill_null(0).cast(pl.Int64), abstains)
            .sort("concept")
            .collect()
        )

    @cached_property
    def min_precision(self) -> float:
        """The lowest precision that was asked for; a half where nobody says."""
        if not self.has(["asked"]):
            return 0.5
        return float(self.scan("asked").select(pl.col("min_precision").max()).collect().item())

    def shared(
        self, make: Callable[[pl.LazyFrame, Context], pl.DataFrame], frame: pl.LazyFrame
    ) -> pl.DataFrame:
        """Return what `make` makes of the table that is checked; made once for all measures."""
        kept = self._shared.get(make)
        if kept is None or kept[0] is not frame:
            kept = self._shared[make] = (frame, make(frame, self))
        return kept[1]

    def sequences(self, accessions: pl.Series) -> dict[str, str]:
        """Look up the sequences of some proteins."""
        wanted = pl.LazyFrame({"accession": accessions.unique().cast(pl.String)})
        found = (
            self.scan("sequences")
            .with_columns(pl.col("accession").cast(pl.String))
            .join(wanted, on="accession", how="semi")
            .collect(engine="streaming")
        )
        return dict(found.select("accession", "sequence").iter_rows())

    @cached_property
    def labels(self) -> pl.DataFrame:
        """The label table, in memory: it is joined with every batch."""
        return self.scan("labels").collect()

    def lengths(self, accessions: pl.Series, part: str) -> pl.DataFrame:
        """Look up the lengths of some proteins without holding all of them.

        The score output has a part of ``proteins/`` of the same name beside each part of
        ``annotations/``, so that one is looked at first, and the rest only for what it lacks.

        Returns
        -------
        polars.DataFrame
            ``accession`` and ``protein_length``, one row for each accession that is known.
        """
        wanted = pl.DataFrame({"accession": accessions.unique().cast(pl.String)})
        parts = self._tables["proteins"].parts
        same = [frame for name, frame in parts if name == part]
        rest = [frame for name, frame in parts if name != part]
        found = pl.DataFrame(schema={"accession": pl.String, "protein_length": pl.Int64})
        for frames in (same, rest):
            missing = wanted.join(found, on="accession", how="anti")
            if frames and missing.height:
                more = (
                    pl.concat(frames)
                    .select(
                        pl.col("accession").cast(pl.String),
                        pl.col("length").cast(pl.Int64).alias("protein_length"),
                    )
                    .join(missing.lazy(), on="accession", how="semi")
                    .unique("accession", keep="any")
                    .collect(engine="streaming")
                )
                found = pl.concat([found, more])
        return found


def _as_table(key: str, source: Any) -> TableLike:
    if isinstance(source, pl.DataFrame | str | Path):
        return source
    if key == "concepts" and isinstance(source, Sequence | set | frozenset):
        return pl.DataFrame({"concept": sorted(source)}, schema={"concept": pl.String})
    raise InputError(f"the {key} are neither a table nor a path", value=type(source).__name__)
