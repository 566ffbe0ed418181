"""What makes a concept's calls, as it is stored with a model: probes, segments and calibrators.

All are a few numbers, kept as JSON: nothing in them can run. A concept without a probe is called
by the latent that ``concepts.parquet`` names, and one without a segment decoder by runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array

from plmsae.concepts.calling.calibrators import Calibrator
from plmsae.concepts.calling.calls import call_spans
from plmsae.concepts.calling.decoders.activations import BY_SEGMENTS, with_decoder
from plmsae.concepts.calling.decoders.segments import SegmentModel
from plmsae.concepts.calling.probes import Probe, contributions, probe_activations
from plmsae.concepts.latents import Float32, Int64, chunks_of_proteins, stack_rows
from plmsae.core.errors import FormatError, InputError

BY_LATENT, BY_PROBE = "latent", "probe"


@dataclass(frozen=True, kw_only=True)
class Callers:
    """The probes, segment decoders and calibrators of a model, by concept."""

    probes: Mapping[str, Probe] = field(default_factory=dict)
    """For the concepts whose ``caller`` is ``probe``."""
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)
    """From the score of a call to the probability that it is right."""
    segments: Mapping[str, SegmentModel] = field(default_factory=dict)
    """For the concepts whose ``decoder`` is ``segments``."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to store."""
        return bool(self.probes or self.calibrators or self.segments)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "probes": {name: self.probes[name].to_dict() for name in sorted(self.probes)},
            "calibrators": {
                name: self.calibrators[name].to_dict() for name in sorted(self.calibrators)
            },
            "segments": {name: self.segments[name].to_dict() for name in sorted(self.segments)},
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any], d_sae: int) -> Callers:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        FormatError
            Naming the concept whose entry is wrong.
        """
        if not {"probes", "calibrators"} <= set(stored) <= {*_PARTS}:
            raise FormatError(
                "must hold 'probes' and 'calibrators', may hold 'segments', and nothing else"
            )
        made: dict[str, dict[str, Any]] = {}
        for part in _PARTS:
            entries = stored.get(part, {})
            if not isinstance(entries, dict):
                raise FormatError(f"{part!r} must be an object")
            made[part] = {}
            for name, entry in entries.items():
                if not isinstance(entry, dict):
                    raise FormatError("an entry must be an object", record=name)
                try:
                    made[part][name] = _PARTS[part](entry, d_sae)
                except InputError as error:
                    raise FormatError(
                        error.what, record=name, value=error.value, hint=error.hint
                    ) from error
        return cls(**made)


_PARTS: Mapping[str, Callable[[dict[str, Any], int], Any]] = {
    "probes": Probe.from_dict,
    "calibrators": lambda entry, d_sae: Calibrator.from_dict(entry),
    "segments": lambda entry, d_sae: SegmentModel.from_dict(entry),
}


def with_caller(concepts: pl.DataFrame) -> pl.DataFrame:
    """Add the column ``caller`` to a table from before there were probes: all latents."""
    if "caller" in concepts.columns:
        return concepts.with_columns(pl.col("caller").fill_null(BY_LATENT))
    return concepts.with_columns(pl.lit(BY_LATENT).alias("caller"))


def can_call() -> pl.Expr:
    """Return which rows of a table :func:`with_caller` made have something that calls them."""
    by_probe = pl.col("caller") == BY_PROBE
    return pl.col("call_threshold").is_not_null() & (pl.col("call_latent").is_not_null() | by_probe)


def missing_probes(concepts: pl.DataFrame, callers: Callers) -> list[str]:
    """Return the concepts that a probe should call and that have none."""
    by_probe = with_caller(concepts).filter((pl.col("caller") == BY_PROBE) & can_call())
    return [name for name in by_probe["concept"] if name not in callers.probes]


def missing_segments(concepts: pl.DataFrame, callers: Callers) -> list[str]:
    """Return the concepts whose segment decoder is not there."""
    rows = with_decoder(with_caller(concepts)).filter(can_call())
    rows = rows.filter((pl.col("decoder") == BY_SEGMENTS) & (pl.col("kind") == "span"))
    return [name for name in rows["concept"] if name not in callers.segments]


class Caller:
    """The callable concepts of a model, ready for many batches.

    Parameters
    ----------
    concepts : polars.DataFrame
        Rows of ``concepts.parquet``.
    callers : Callers
        Stored with them.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.

    Raises
    ------
    InputError
        If a concept is called by a probe or a segment decoder that is not there, or the table
        names a latent outside the SAE.
    """

    def __init__(
        self, concepts: pl.DataFrame, callers: Callers, max_activation_F: npt.ArrayLike
    ) -> None:
        concepts = with_caller(concepts)
        self._scale_F: Float32 = np.asarray(max_activation_F, dtype=np.float32)
        self._n_latents = len(self._scale_F)
        self._calibrators = callers.calibrators
        by_probe = concepts.filter((pl.col("caller") == BY_PROBE) & can_call())
        lost = missing_probes(concepts, callers)
        if lost:
            raise InputError("the probe that calls a concept is missing", record=lost[0])
        if lost := missing_segments(concepts, callers):
            raise InputError("the segment decoder of a concept is missing", record=lost[0])
        self._segments = callers.segments
        names = by_probe["concept"].unique(maintain_order=True).to_list()
        self._probes: Sequence[Probe] = [callers.probes[name] for name in names]
        # Probes follow the latents, as latents F, F + 1, …
        number = {name: self._n_latents + j for j, name in enumerate(names)}
        place = pl.col("concept").replace_strict(number, default=None, return_dtype=pl.Int64)
        self.rows = concepts.with_columns(
            pl.when(pl.col("caller") == BY_PROBE)
            .then(place)
            .otherwise(pl.col("call_latent"))
            .alias("call_latent")
        )
        used = self.rows["call_latent"].drop_nulls().unique().sort().to_numpy()
        if len(used) and not 0 <= used[0] <= used[-1] < self._n_latents + len(names):
            raise InputError(
                f"a concept names a latent outside the SAE of {self._n_latents} latents",
                value=str(used[-1]),
            )
        self._used: Int64 = used[used < self._n_latents].astype(np.int64)
        new = np.concatenate([self._used, self._n_latents + np.arange(len(names))])
        at = np.searchsorted(new, self.rows["call_latent"].fill_null(0).to_numpy())
        self._narrow = self.rows.with_columns(
            pl.when(pl.col("call_latent").is_not_null()).then(pl.Series(at)).alias("call_latent")
        )
        self._names: Int64 = new

    def calls(self, latents: csr_array, offsets_P: npt.ArrayLike) -> pl.DataFrame:
        """Make the calls of some proteins.

        Parameters
        ----------
        latents : csr_array, shape=(N, F)
            Raw activations of the proteins under one another.
        offsets_P : array_like, shape=(P + 1,)
            First row of each protein, and N.

        Returns
        -------
        polars.DataFrame
            As `calls.call_spans`, where ``latent`` is F or more for a call of
            a probe.
        """
        from scipy.sparse import hstack

        own = csr_array(latents)[:, self._used]
        scale = self._scale_F[self._used]
        if self._probes:
            fires = probe_activations(latents, self._probes, self._scale_F)
            own = hstack([own, fires], format="csr")
            scale = np.append(scale, np.ones(len(self._probes), dtype=np.float32))
        calls = call_spans(csr_array(own), self._narrow, scale, offsets_P, self._segments)
        latent = self._names[calls["latent"].to_numpy()] if calls.height else calls["latent"]
        return calls.with_columns(pl.Series("latent", latent, dtype=pl.Int32))

    def calls_of(self, latents: Sequence[csr_array]) -> pl.DataFrame:
        """Make the calls of many proteins, a chunk at a time."""
        parts = []
        for first, last in chunks_of_proteins(latents):
            chunk = latents[first:last]
            offsets = np.concatenate([[0], np.cumsum([array.shape[0] for array in chunk])])
            calls = self.calls(stack_rows(chunk), offsets)
            parts.append(calls.with_columns(pl.col("protein") + first))
        return pl.concat(parts)

    def explain(
        self, calls: pl.DataFrame, latents: csr_array, offsets_P: npt.ArrayLike
    ) -> pl.DataFrame:
        """Add ``contributors`` and ``probability`` to what :meth:`calls` returned.

        ``contributors`` (list of int, null for a call of a latent) are the probe's latents that
        speak for the call, the strongest first; ``probability`` (null without a calibrator) is that
        it is right.
        """
        return calls.with_columns(
            self._contributors(calls, latents, np.asarray(offsets_P, dtype=np.int64)),
            self.probability(calls),
        )

    def probability(self, calls: pl.DataFrame) -> pl.Series:
        """Return the calibrated probability of each call, float32; null without a calibrator."""
        found = np.full(calls.height, np.nan)
        score = calls["score"].to_numpy()
        groups = calls.with_row_index("row").group_by("concept").agg("row")
        for concept, rows in groups.iter_rows():
            if concept in self._calibrators:
                found[rows] = self._calibrators[concept](score[rows])
        return pl.Series("probability", found.astype(np.float32)).fill_nan(None)

    def _contributors(self, calls: pl.DataFrame, latents: csr_array, offsets: Int64) -> pl.Series:
        named: list[list[int] | None] = [None] * calls.height
        latent = calls["latent"].to_numpy()
        base = offsets[calls["protein"].to_numpy()]
        start, end = base + calls["start"].to_numpy() - 1, base + calls["end"].to_numpy()
        for j, probe in enumerate(self._probes):
            mine = np.flatnonzero(latent == self._n_latents + j)
            if len(mine):
                spoken = contributions(latents, probe, self._scale_F, start[mine], end[mine])
                for k, those in zip(mine, spoken, strict=True):
                    named[k] = those
        return pl.Series("contributors", named, dtype=pl.List(pl.Int32))
