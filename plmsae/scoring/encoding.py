"""From the proteins of one part to sparse latents, losing only proteins that cannot be encoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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

    def stream(self, sequences: Sequence[str]) -> Iterator[tuple[int, csr_array]]:
        """Yield the number of each sequence with its sparse array, in any order."""
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
    strict: bool,
    on_done: Callable[[int, int], None],
) -> Encoded:
    """Encode proteins, the longest first; set aside those the PLM cannot take.

    Proteins of the same sequence are encoded once. Where the encoder fails, what it has not
    returned yet is halved until the protein at fault stands alone, so that one bad protein costs
    itself only. The same part always gives the same numbers.

    Parameters
    ----------
    proteins : sequence of Protein
        One part, in input order.
    unit : {"residue", "protein"}
        What a row of latents is.
    d_sae : int
        F, the number of latents to expect.
    strict : bool
        Raise instead of setting aside.
    on_done : callable
        Called with the numbers of proteins and residues that are done since it was called last.

    Raises
    ------
    InputError
        Under `strict`, for the first protein that cannot be encoded; otherwise when none of eight
        or more proteins can be: then it is the model or the machine that is wrong.
    """
    same: dict[str, list[int]] = {}
    for i, protein in enumerate(proteins):
        same.setdefault(protein.sequence, []).append(i)
    latents: dict[int, csr_array] = {}
    refused: dict[int, Exception] = {}
    for sequence, result in _encode_or_halve(encoder, list(same)):
        copies = same[sequence]
        if not isinstance(result, Exception):
            latents |= dict.fromkeys(copies, result)
        elif strict:
            first = proteins[copies[0]]
            raise InputError(
                _reason(result), where=first.where or None, record=first.accession
            ) from result
        else:
            refused |= dict.fromkeys(copies, result)
        on_done(len(copies), len(copies) * len(sequence))
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
                accession=proteins[i].accession, where=proteins[i].where, reason=_reason(refused[i])
            )
            for i in sorted(refused)
        ),
    )


def _encode_or_halve(
    encoder: SequenceEncoder, sequences: Sequence[str]
) -> Iterator[tuple[str, csr_array | Exception]]:
    """Yield each sequence with its latents, or with the error that it alone leads to."""
    left = dict.fromkeys(sequences)
    try:
        for number, rows in encoder.stream(sequences):
            del left[sequences[number]]
            finite = np.isfinite(rows.data).all()
            yield sequences[number], rows if finite else ValueError("its latents are not finite")
    except Exception as error:
        if not left or not _is_about_proteins(error):
            raise
        if len(sequences) == 1:
            yield sequences[0], error
            return
    else:
        if left:
            raise PlmsaeError(f"the encoder returned nothing for {len(left)} sequences")
        return
    again = list(left)
    middle = len(again) // 2
    for half in filter(None, (again[:middle], again[middle:])):
        yield from _encode_or_halve(encoder, half)


def _is_about_proteins(error: Exception) -> bool:
    return is_out_of_memory(error) or isinstance(error, InputError | ValueError)


def _reason(error: Exception) -> str:
    if isinstance(error, InputError | ValueError):
        return " ".join(str(error).split()) or type(error).__name__
    return "it does not fit into memory"
