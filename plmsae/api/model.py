"""A registered model in Python: encode and annotate sequences, and look at its evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from os import PathLike, fspath
from typing import TYPE_CHECKING

from plmsae.core.errors import InputError
from plmsae.core.telemetry import switch_off_telemetry

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_array

    from plmsae.bundle.meta import BundleMeta
    from plmsae.bundle.reading import Bundle
    from plmsae.encode import Encoder
    from plmsae.plm.choices import Device
    from plmsae.proteins.records import Protein


class Model:
    """A registered SAE with the PLM it was trained on, and the evidence of what its features mean.

    Made by `load`. The PLM and the SAE are opened when they are first needed.

    Parameters
    ----------
    bundle : Bundle
        The model's files.
    uri : str
        The exact version.
    device : str
        Where the PLM and the SAE run.
    """

    def __init__(self, bundle: Bundle, uri: str, *, device: Device = "auto") -> None:
        self.uri = uri
        self._bundle = bundle
        self._device = device

    def __repr__(self) -> str:
        meta = self.meta
        return f"<Model {self.uri}: {meta.arch}, {meta.d_sae} latents, {self.concepts.height} rows>"

    @property
    def meta(self) -> BundleMeta:
        """What the model is: PLM, layer, architecture, metrics, training data, …."""
        return self._bundle.meta

    @property
    def features(self) -> pl.DataFrame:
        """One row per latent: how often it is active, and the concept it detects best."""
        return self._bundle.features

    @property
    def concepts(self) -> pl.DataFrame:
        """One row per concept and latent that detects it, with its measured quality."""
        return self._bundle.concepts

    @property
    def card(self) -> str:
        """The model card, Markdown."""
        return self._bundle.card

    @cached_property
    def encoder(self) -> Encoder:
        """The PLM, the layer and the SAE, joined (see `plmsae.encode`)."""
        from plmsae.scoring.encoding import load_encoder

        return load_encoder(self._bundle, device=self._device)

    def encode(self, sequences: Sequence[str] | Mapping[str, str]) -> list[csr_array]:
        """Return the sparse latents of each sequence.

        Parameters
        ----------
        sequences : sequence of str, or mapping of accession to str
            Amino-acid letters.

        Returns
        -------
        list of scipy.sparse.csr_array, dtype=float32, shape (length, F)
            In input order; (1, F) for a protein-level model.

        Raises
        ------
        InputError
            If a sequence is empty or has an illegal letter.

        Examples
        --------
        >>> import plmsae
        >>> model = plmsae.load("runs/evaluate/bundle")
        >>> latents = model.encode(["MKTAYIAKQRQISFVKSHFSRQ"])
        >>> latents[0].shape
        (22, 512)
        """
        proteins = self._proteins(sequences)
        return self.encoder.encode([protein.sequence for protein in proteins])

    def annotate(
        self, sequences: Sequence[str] | Mapping[str, str], *, min_precision: float | None = None
    ) -> pl.DataFrame:
        """Return the concepts that the model calls in each sequence.

        Parameters
        ----------
        sequences : sequence of str, or mapping of accession to str
            Amino-acid letters; in a sequence of them, each is named by its 1-based place.
        min_precision : float, optional
            Leave out annotations whose ``precision_low`` is less or was never measured; 0 keeps all
            that were measured; by default the model's own bound.

        Returns
        -------
        polars.DataFrame
            One row per annotation: ``accession``, ``start``, ``end`` (1-based inclusive),
            ``concept``, ``score``, ``precision``, ``precision_low``, ``probability``, ``latents``,
            ``implied``.

        Raises
        ------
        InputError
            If a sequence cannot be scored or `min_precision` is out of range.

        Examples
        --------
        >>> import plmsae
        >>> model = plmsae.load("runs/evaluate/bundle")
        >>> calls = model.annotate({"P1": "MKTAYIAKQRQISFVKSHFSRQ"}, min_precision=0)
        >>> calls.columns[:4]
        ['accession', 'start', 'end', 'concept']
        """
        from plmsae.scoring.in_memory import annotate_proteins

        return annotate_proteins(
            self._bundle, self.encoder, self._proteins(sequences), min_precision=min_precision
        )

    @staticmethod
    def _proteins(sequences: Sequence[str] | Mapping[str, str]) -> list[Protein]:
        from plmsae.scoring.in_memory import proteins_in_memory

        if isinstance(sequences, str):
            raise InputError("give a list of sequences, not one sequence", value=sequences[:20])
        if isinstance(sequences, Mapping):
            return proteins_in_memory(sequences.values(), sequences.keys())
        return proteins_in_memory(sequences)


def load(
    model: str | PathLike[str], *, device: Device = "auto", tracking_uri: str | None = None
) -> Model:
    """Open a registered model, or a bundle folder without MLflow.

    Parameters
    ----------
    model : str or path
        ``NAME@champion``, ``NAME/3``, ``NAME`` (its champion), or a bundle folder.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    tracking_uri : str, optional
        MLflow store; by default ``MLFLOW_TRACKING_URI``, or ``mlflow.db`` in the working folder.
        Not used for a folder.

    Raises
    ------
    NotFoundError
        If there is no such model; the message names the nearest ones.
    UnsafeArtifactError
        If it carries code, or a file that was changed.

    Examples
    --------
    >>> import plmsae
    >>> model = plmsae.load("runs/evaluate/bundle")
    >>> model.meta.plm, model.meta.layer
    ('plmsae-mini', 4)
    >>> model.features.height
    512
    """
    from plmsae.registry.models import resolve_exactly

    switch_off_telemetry()
    bundle, uri = resolve_exactly(fspath(model), tracking_uri=tracking_uri)
    return Model(bundle, uri, device=device)
