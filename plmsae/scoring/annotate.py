"""From the latents of one part to the rows of its tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from plmsae.concepts.calling.calibration import meets
from plmsae.concepts.calling.callers import Caller
from plmsae.core.errors import InputError
from plmsae.scoring.encoding import Encoded, ModelBundle
from plmsae.scoring.hierarchy import implied_concepts, keep_most_specific
from plmsae.scoring.merge import merge_calls
from plmsae.scoring.schema import ANNOTATIONS, FEATURES, PROTEINS, empty_frame

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray
    from scipy.sparse import csr_array


class Annotator:
    """What a bundle says about concepts, ready to be applied to many parts.

    Parameters
    ----------
    bundle : ModelBundle
        Where ``features.parquet`` and ``concepts.parquet`` come from.
    model_uri : str
        Written into every row.
    min_precision : float
        What concepts must meet to be called (`calibration.meets`); 0 calls all
        whose precision was measured, unless the annotator abstained at 0 itself.
    unmeasured : bool
        Call concepts whose precision was never measured, and those that abstain, too; then calls of
        a class stand beside those of its members, as nobody has said which of them may be called.
    """

    def __init__(
        self, bundle: ModelBundle, *, model_uri: str, min_precision: float, unmeasured: bool = False
    ) -> None:
        features, concepts = bundle.features, bundle.concepts
        if not unmeasured:
            concepts = concepts.filter(meets(concepts, min_precision))
        self.concepts = concepts
        self.unit = bundle.meta.unit
        self.d_sae = bundle.meta.d_sae
        self.model_uri = model_uri
        self.model_sha256 = bundle.digest
        self.max_activation_F = _scale(features, self.d_sae)
        self._most_specific = not unmeasured
        self._caller = Caller(concepts, bundle.callers, self.max_activation_F)
        self._precision = self._caller.rows.select(
            "concept",
            latent=pl.col("call_latent").cast(pl.Int32),
            precision=pl.col("call_precision").cast(pl.Float64).fill_nan(None),
            precision_low=pl.col("call_precision_low").cast(pl.Float64).fill_nan(None),
        ).unique(["concept", "latent"], keep="first", maintain_order=True)

    def annotations(self, encoded: Encoded) -> pl.DataFrame:
        """Return the rows of ``annotations/``, by protein in input order, then by place."""
        if not encoded.proteins or self.concepts.is_empty():
            return empty_frame(ANNOTATIONS)
        latents, offsets_P = _stack(encoded, self.d_sae)
        calls = self._caller.calls(latents, offsets_P)
        calls = self._caller.explain(calls, latents, offsets_P)
        if self.unit == "protein":
            # A row is a whole protein: the call covers all of it.
            lengths = pl.Series([len(protein.sequence) for protein in encoded.proteins])
            calls = calls.with_columns(start=pl.lit(1), end=lengths.gather(calls["protein"]))
        calls = calls.join(self._precision, on=["concept", "latent"], how="left")
        merged = self._named(merge_calls(calls)).sort("protein", "start", "end", "concept")
        names = pl.Series([protein.accession for protein in encoded.proteins], dtype=pl.String)
        rows = merged.with_columns(accession=names.gather(merged["protein"]))
        if self._most_specific:
            rows = keep_most_specific(rows)
        return rows.select(
            accession="accession",
            start=pl.col("start").cast(pl.Int32),
            end=pl.col("end").cast(pl.Int32),
            concept="concept",
            score=pl.col("score").cast(pl.Float32),
            precision="precision",
            precision_low="precision_low",
            probability="probability",
            latents="latents",
            implied=implied_concepts(),
            model_uri=pl.lit(self.model_uri),
        )

    def _named(self, merged: pl.DataFrame) -> pl.DataFrame:
        """Put the latents that support a call of a probe in the place of the probe's number."""
        own = pl.col("latents").list.filter(pl.element() < self.d_sae)
        return merged.with_columns(
            pl.when(pl.col("contributors").is_null())
            .then(own)
            .otherwise(pl.col("contributors"))
            .alias("latents")
        )

    def proteins(
        self, encoded: Encoded, annotations: pl.DataFrame, *, window: int | None
    ) -> pl.DataFrame:
        """Return the rows of ``proteins/``; `window` is the longest the PLM reads at once."""
        counts = dict(annotations.group_by("accession").len().iter_rows())
        rows = [
            (
                protein.accession,
                len(protein.sequence),
                protein.sha256,
                "windowed" if window is not None and len(protein.sequence) > window else "scored",
                counts.get(protein.accession, 0),
            )
            for protein in encoded.proteins
        ]
        return pl.DataFrame(rows, schema=empty_frame(PROTEINS).schema, orient="row")

    def features(self, encoded: Encoded) -> pa.Table:
        """Return the rows of ``features/``, by latent, then by protein and position.

        Sorted by latent so that a reader who wants one latent skips the other row groups.
        """
        import pyarrow as pa

        if not encoded.proteins:
            return FEATURES.empty_table()
        latents, offsets_P = _stack(encoded, self.d_sae)
        by_latent = latents.tocsc()
        by_latent.sort_indices()
        rows_N = by_latent.indices
        protein_N = np.searchsorted(offsets_P, rows_N, side="right") - 1
        names = pa.array([protein.accession for protein in encoded.proteins], pa.string())
        position_N = (rows_N - offsets_P[protein_N] + 1).astype(np.int32)
        residues = self.unit == "residue"
        return pa.table(
            {
                "accession": names.take(pa.array(protein_N)),
                "position": pa.array(position_N) if residues else pa.nulls(len(rows_N), pa.int32()),
                "latent": np.repeat(
                    np.arange(self.d_sae, dtype=np.int32), np.diff(by_latent.indptr)
                ),
                "activation": by_latent.data.astype(np.float32),
            }
        )


def _stack(encoded: Encoded, d_sae: int) -> tuple[csr_array, NDArray[np.int64]]:
    """Stack the latents: (N, F), and the offsets (P + 1) where each protein's rows begin."""
    from plmsae.concepts.latents import stack_rows

    offsets_P = np.zeros(len(encoded.latents) + 1, dtype=np.int64)
    np.cumsum([array.shape[0] for array in encoded.latents], out=offsets_P[1:])
    return stack_rows(encoded.latents, d_sae), offsets_P


def _scale(features: pl.DataFrame, d_sae: int) -> NDArray[np.float32]:
    """Return max_activation by latent; a latent the table leaves out counts as dead (0)."""
    scale_F = np.zeros(d_sae, dtype=np.float32)
    latent = features["latent"].to_numpy()
    if len(latent) and (latent.min() < 0 or latent.max() >= d_sae):
        raise InputError(
            f"features.parquet names latents outside 0..{d_sae - 1}", value=str(latent.max())
        )
    scale_F[latent] = features["max_activation"].fill_null(0.0).fill_nan(0.0).to_numpy()
    return scale_F
