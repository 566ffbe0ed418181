"""From the proteins of one part to sparse latents, losing only proteins that cannot be encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from plmsae.core.errors import InputError, PlmsaeError, is_out_of_memory
from plmsae.proteins.records import Protein, Rejected

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.concepts.calling.callers import Callers
    from plmsae.encode import Encoder
    from plmsae.plm.choices import Device, Precision


class SequenceEncoder(Protocol):
    """What scoring needs of `plmsae.encode.Encoder`."""

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        """Return one sparse array a sequence, in input order."""
        ...


class ModelMeta(Protocol):
    """What scoring needs of `plmsae.bundle.meta.BundleMeta`."""

    @property
    def plm(self) -> str:
        """Catalogue name or hub id of the PLM."""
        ...

    @property
    def plm_revision(self) -> str:
        """Exact revision of its weights."""
        ...

    @property
    def plm_vocabulary(self) -> str:
        """Fingerprint of its vocabulary; empty if it is not known."""
        ...

    @property
    def layer(self) -> int:
        """Layer the SAE reads, 1-based."""
        ...

    @property
    def unit(self) -> str:
        """``residue`` or ``protein``."""
        ...

    @property
    def d_sae(self) -> int:
        """F, the number of latents."""
        ...

    @property
    def extra(self) -> Mapping[str, str | float | int | bool | None]:
        """What else is known: the ontology of its evaluation, the folder of its PLM."""
        ...

    @property
    def min_precision(self) -> float:
        """Precision below which the model makes no calls unless asked to."""
        ...


class ModelBundle(Protocol):
    """What scoring needs of `plmsae.bundle.reading.Bundle`."""

    @property
    def path(self) -> Path:
        """Folder of the bundle."""
        ...

    @property
    def meta(self) -> ModelMeta:
        """Content of ``model.json``."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 that covers every file of the bundle."""
        ...

    @property
    def features(self) -> pl.DataFrame:
        """Content of ``features.parquet``."""
        ...

    @property
    def concepts(self) -> pl.DataFrame:
        """Content of ``concepts.parquet``."""
        ...

    @property
    def callers(self) -> Callers:
        """Content of ``callers.json``; empty where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Latents of the proteins that could be encoded."""

    proteins: tuple[Protein, ...]
    """In input order."""
    latents: tuple[csr_array, ...]
    """One a protein: (length, F), or (1, F) where the unit is the protein."""
    rejected: tuple[Rejected, ...]
    """Proteins that could not be encoded, in input order, each with its reason."""


def load_encoder(
    bundle: ModelBundle,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    head: bool = False,
) -> Encoder:
    """Return the encoder that a bundle describes: its PLM, at its revision, its layer and its SAE.

    With `head`, the PLM keeps all its blocks and its language-modelling head.

    Raises
    ------
    InputError
        If the PLM cannot be opened, or is another than the SAE was trained on.
    """
    from plmsae.bundle.meta import PLM_FOLDER
    from plmsae.encode import Encoder
    from plmsae.plm.model import load_plm
    from plmsae.plm.revision import body_revision
    from plmsae.sae.model import load_sae

    meta = bundle.meta
    recorded = meta.extra.get(PLM_FOLDER)
    plm = load_plm(
        meta.plm,
        revision=meta.plm_revision or None,
        device=device,
        precision=precision,
        max_layer=meta.layer,
        head=head,
        recorded=None if recorded is None else str(recorded),
    )
    # A head that was fitted since then changes no activation.
    if meta.plm_revision and body_revision(plm.revision) != body_revision(meta.plm_revision):
        raise InputError(
            f"the PLM {meta.plm} is here at revision {plm.revision}, the SAE was trained on "
            f"{meta.plm_revision}",
            where=bundle.path,
            hint="set PLMSAE_PLMS to the folder that holds the PLM it was trained on"
            + ("" if recorded is None else f", which was {recorded}"),
        )
    if meta.plm_vocabulary and plm.vocabulary.fingerprint != meta.plm_vocabulary:
        raise InputError(
            f"the PLM {meta.plm} reads proteins with another vocabulary here than the one that the "
            "SAE was trained with",
            where=bundle.path,
            hint="use the tokenizer files of the checkpoint that it was trained on",
        )
    sae = load_sae(bundle.path / "sae", device=plm.device)
    return Encoder(plm, meta.layer, sae, unit="protein" if meta.unit == "protein" else "residue")


def encode_part(
    encoder: SequenceEncoder,
    proteins: Sequence[Protein],
    *,
    unit: str,
    d_sae: int,
    chunk_residues: int,
    strict: bool,
    on_chunk: Callable[[int, int], None],
) -> Encoded:
    """Encode proteins in chunks of like length; set aside those the PLM cannot take.

    Proteins of the same sequence are encoded once. A chunk that fails is halved until the protein
    at fault stands alone, so that one bad protein costs itself only. Chunks follow from the
    proteins alone: the same part always gives the same numbers.

    Parameters
    ----------
    encoder : SequenceEncoder
        The PLM and SAE.
    proteins : sequence of Protein
        One part, in input order.
    unit : {"residue", "protein"}
        What a row of latents is.
    d_sae : int
        F, the number of latents to expect.
    chunk_residues : int
        Residues after which a chunk is closed.
    strict : bool
        Raise instead of setting aside.
    on_chunk : callable
        Called after each chunk with the proteins and residues it held.

    Raises
    ------
    InputError
        Under `strict`, for the first protein that cannot be encoded; otherwise when none of eight
        or more proteins can be: then it is the model or the machine that is wrong.
    """
    same: dict[str, list[int]] = {}
    for i, protein in enumerate(proteins):
        same.setdefault(protein.sequence, []).append(i)
    # The first protein of each sequence stands for the others.
    order = sorted((of[0] for of in same.values()), key=lambda i: (len(proteins[i].sequence), i))
    latents: dict[int, csr_array] = {}
    refused: dict[int, Exception] = {}
    for chunk in _chunks(order, proteins, chunk_residues):
        _encode_or_halve(encoder, proteins, chunk, latents, refused, strict=strict)
        for first in chunk:
            result: dict[int, Any] = latents if first in latents else refused
            result |= dict.fromkeys(same[proteins[first].sequence], result[first])
        done = [i for member in chunk for i in same[proteins[member].sequence]]
        on_chunk(len(done), sum(len(proteins[i].sequence) for i in done))
    if len(refused) >= 8 and len(refused) == len(proteins):
        error = refused[min(refused)]
        raise InputError(f"no protein could be encoded; the first fails with: {_reason(error)}")
    kept = sorted(latents)
    for i in kept:
        rows = len(proteins[i].sequence) if unit == "residue" else 1
        if latents[i].shape != (rows, d_sae):
            raise PlmsaeError(
                f"latents of {proteins[i].accession} have shape {latents[i].shape}, "
                f"expected {(rows, d_sae)}: the SAE does not fit its features.parquet"
            )
    return Encoded(
        proteins=tuple(proteins[i] for i in kept),
        latents=tuple(latents[i] for i in kept),
        rejected=tuple(
            Rejected(
                accession=proteins[i].accession,
                where=proteins[i].where,
                reason=_reason(refused[i]),
            )
            for i in sorted(refused)
        ),
    )


def _chunks(
    order: Sequence[int], proteins: Sequence[Protein], chunk_residues: int
) -> Iterator[list[int]]:
    chunk: list[int] = []
    residues = 0
    for i in order:
        chunk.append(i)
        residues += len(proteins[i].sequence)
        if residues >= chunk_residues:
            yield chunk
            chunk, residues = [], 0
    if chunk:
        yield chunk


def _encode_or_halve(
    encoder: SequenceEncoder,
    proteins: Sequence[Protein],
    chunk: list[int],
    latents: dict[int, csr_array],
    refused: dict[int, Exception],
    *,
    strict: bool,
) -> None:
    try:
        arrays = encoder.encode([proteins[i].sequence for i in chunk])
    except Exception as error:
        if not _is_about_proteins(error):
            raise
        if len(chunk) == 1:
            protein = proteins[chunk[0]]
            if strict:
                raise InputError(
                    _reason(error), where=protein.where or None, record=protein.accession
                ) from error
            refused[chunk[0]] = error
            return
        middle = len(chunk) // 2
        for half in (chunk[:middle], chunk[middle:]):
            _encode_or_halve(encoder, proteins, half, latents, refused, strict=strict)
        return
    if len(arrays) != len(chunk):
        raise PlmsaeError(f"the encoder returned {len(arrays)} arrays for {len(chunk)} sequences")
    for i, array in zip(chunk, arrays, strict=True):
        if np.isfinite(array.data).all():
            latents[i] = array
        elif strict:
            raise InputError(
                "its latents are not finite",
                where=proteins[i].where or None,
                record=proteins[i].accession,
            )
        else:
            refused[i] = ValueError("its latents are not finite")


def _is_about_proteins(error: Exception) -> bool:
    return is_out_of_memory(error) or isinstance(error, InputError | ValueError)


def _reason(error: Exception) -> str:
    if isinstance(error, InputError | ValueError):
        return " ".join(str(error).split()) or type(error).__name__
    return "it does not fit into memory"
