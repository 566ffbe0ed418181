"""Scoring one part: what every executor does, wherever it does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from plmsae.core.fingerprint import fingerprint_file
from plmsae.proteins.records import Rejected
from plmsae.scoring.annotate import Annotator
from plmsae.scoring.encoding import SequenceEncoder, encode_part
from plmsae.scoring.feature_files import cut_by_latent, file_name
from plmsae.scoring.folder import PartRecord, ScoreFolder
from plmsae.scoring.parquet_files import made_by, write_rows
from plmsae.scoring.parts import Part
from plmsae.scoring.schema import FEATURES, REJECTED, TABLES, empty_frame

EncoderSource = SequenceEncoder | Callable[[], SequenceEncoder]
"""An encoder, or a function that makes one: called only if something is left to score."""

OnDone = Callable[[int, int], None]
"""Called with the numbers of proteins and residues that are done since it was called last."""


def score_part(
    part: Part,
    annotator: Annotator,
    encoder: SequenceEncoder,
    folder: ScoreFolder,
    *,
    write_features: bool = False,
    strict: bool = False,
    on_done: OnDone = lambda proteins, residues: None,
) -> PartRecord:
    """Encode one part, make its calls and write its files, then its done-marker.

    It depends on nothing but its arguments, so that parts may be scored in any order and in any
    process that sees the folder.

    Parameters
    ----------
    part : Part
        The records.
    annotator : Annotator
        Makes the rows.
    write_features : bool
        Write ``features/`` too.
    strict : bool
        Raise at the first protein that cannot be encoded instead of rejecting it.
    on_done : callable, optional
        For progress.

    Returns
    -------
    PartRecord
        As written in the marker.

    Raises
    ------
    InputError
        As `encode_part` does.
    """
    # A manifest from an earlier, complete run must not stand while a part is being remade.
    folder.reopen()
    encoded = encode_part(
        encoder,
        part.proteins,
        unit=annotator.unit,
        d_sae=annotator.d_sae,
        strict=strict,
        on_done=on_done,
    )
    annotations = annotator.annotations(encoded)
    rejected = (*part.rejected, *encoded.rejected)
    tables = {
        "annotations": annotations,
        "proteins": annotator.proteins(encoded, annotations, window=_window(encoder)),
        "rejected": _rejected_frame(rejected),
    }
    pieces = {
        f"{name}/part-{part.index:05d}.parquet": (rows, TABLES[name])
        for name, rows in tables.items()
    }
    n_features = None
    if write_features:
        features = annotator.features(encoded)
        n_features = features.num_rows
        latent_N = features.column("latent").to_numpy()
        for first, last, span in cut_by_latent(latent_N, annotator.d_sae):
            name = f"features/{file_name(part.index, first, last)}"
            pieces[name] = (features.slice(span.start, span.stop - span.start), FEATURES)
    files = {}
    facts = made_by(annotator.model_uri, annotator.model_sha256)
    for name, (rows, schema) in pieces.items():
        with folder.write(name) as path:
            write_rows(path, rows, schema, facts)
            files[name] = fingerprint_file(path)
    record = PartRecord(
        index=part.index,
        input_sha256=part.sha256,
        n_read=part.n_read,
        n_scored=len(tables["proteins"]),
        n_rejected=len(rejected),
        n_residues=sum(len(protein.sequence) for protein in encoded.proteins),
        n_annotations=len(annotations),
        n_implied=int(annotations["implied"].list.len().sum()),
        n_features=n_features,
        files=files,
    )
    folder.finish_part(record)
    return record


@dataclass(kw_only=True)
class PartScorer:
    """What a process needs to score parts of one run; loads the encoder when the first one comes.

    The attributes are the arguments of `score_part`.
    """

    annotator: Annotator
    source: EncoderSource
    folder: ScoreFolder
    write_features: bool
    strict: bool

    @cached_property
    def encoder(self) -> SequenceEncoder:
        """The encoder."""
        return self.source() if callable(self.source) else self.source

    def __call__(self, part: Part, on_done: OnDone) -> PartRecord:
        """Score one part."""
        return score_part(
            part,
            self.annotator,
            self.encoder,
            self.folder,
            write_features=self.write_features,
            strict=self.strict,
            on_done=on_done,
        )


def _window(encoder: SequenceEncoder) -> int | None:
    """Return the longest sequence the PLM reads at once, where the encoder has one to ask."""
    limit = getattr(getattr(encoder, "plm", None), "max_residues", None)
    return None if limit is None else int(limit)


def _rejected_frame(rejected: tuple[Rejected, ...]) -> pl.DataFrame:
    rows = [(record.accession, record.where, record.reason) for record in rejected]
    return pl.DataFrame(rows, schema=empty_frame(REJECTED).schema, orient="row")
