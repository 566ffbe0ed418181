"""Annotate sequences held in memory: for the MLflow model and the Python API."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import Alphabet, tidy
from plmsae.proteins.records import Protein
from plmsae.scoring.encoding import ModelBundle, SequenceEncoder, encode_part

if TYPE_CHECKING:
    import polars as pl

COLUMNS = (
    *("accession", "start", "end", "concept", "score", "precision", "precision_low"),
    *("probability", "latents", "implied"),
)
"""Columns of the table."""


def proteins_in_memory(
    sequences: Iterable[object], accessions: Iterable[object] | None = None
) -> list[Protein]:
    """Return sequences as proteins.

    Parameters
    ----------
    sequences : iterable of str
        Amino-acid letters; white space, gaps and a trailing ``*`` are removed.
    accessions : iterable of str, optional
        A protein without one is named by its 1-based place.

    Raises
    ------
    InputError
        If a sequence is not text, is empty or has an illegal letter.
    """
    alphabet = Alphabet()
    raws = list(sequences)
    names = [None] * len(raws) if accessions is None else list(accessions)
    proteins = []
    for place, (name, raw) in enumerate(zip(names, raws, strict=True), 1):
        if not isinstance(raw, str) or not (sequence := tidy(raw)):
            raise InputError("a sequence is empty or not text", record=f"row {place}")
        if (illegal := alphabet.first_illegal(sequence)) is not None:
            raise InputError(
                f"illegal character at position {illegal + 1}",
                record=f"row {place}",
                value=sequence[illegal],
            )
        accession = name if isinstance(name, str) and name else str(place)
        proteins.append(Protein(accession=accession, sequence=sequence, where=f"row {place}"))
    return proteins


def annotate_proteins(
    bundle: ModelBundle,
    encoder: SequenceEncoder,
    proteins: Sequence[Protein],
    *,
    min_precision: float | None = None,
) -> pl.DataFrame:
    """Return the calls of a model on proteins.

    Parameters
    ----------
    min_precision : float, optional
        Leave out annotations whose ``precision_low`` is less or was never measured; 0 keeps all
        that were measured; by default the bundle's own bound.

    Returns
    -------
    polars.DataFrame
        `COLUMNS`, one row per annotation, in the order of the input; positions are 1-based
        inclusive.

    Raises
    ------
    InputError
        If a sequence cannot be scored or `min_precision` is out of range.
    """
    from plmsae.scoring.annotate import Annotator

    if min_precision is None:
        min_precision = bundle.meta.min_precision
    if not isinstance(min_precision, int | float) or not 0.0 <= min_precision <= 1.0:
        raise InputError("min_precision must lie between 0 and 1", value=str(min_precision))
    annotator = Annotator(bundle, model_uri="", min_precision=float(min_precision))
    encoded = encode_part(
        encoder,
        proteins,
        unit=annotator.unit,
        d_sae=annotator.d_sae,
        strict=True,
        on_done=lambda proteins, residues: None,
    )
    return annotator.annotations(encoded).select(COLUMNS)
