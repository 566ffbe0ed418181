"""From sequences to sparse latents: a PLM up to layer L, then an SAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from plmsae.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae

Unit = Literal["residue", "protein"]


@dataclass(frozen=True)
class Encoder:
    """A PLM, a layer and an SAE, joined.

    Attributes
    ----------
    plm : Plm
    layer : int
        1-based; 0 is the embedding output.
    sae : Sae
        On the PLM's device.
    unit : {"residue", "protein"}
        ``protein`` encodes the mean over residues.
    """

    plm: Plm
    layer: int
    sae: Sae
    unit: Unit = "residue"

    def __post_init__(self) -> None:
        self.plm.check_layer(self.layer)
        if self.sae.config.d_in != self.plm.d_model:
            raise InputError(
                f"the SAE takes {self.sae.config.d_in} values per residue, {self.plm.id} gives "
                f"{self.plm.d_model}"
            )

    def encode(self, sequences: Sequence[str]) -> list[csr_array]:
        """Return the latents of each sequence, in input order.

        Returns
        -------
        list of csr_array, dtype=float32, shape (length, F), or (1, F) for unit ``protein``
        """
        latents: list[csr_array | None] = [None] * len(sequences)
        for index, rows in self.stream(sequences):
            latents[index] = rows
        return [rows for rows in latents if rows is not None]

    def stream(self, sequences: Sequence[str]) -> Iterator[tuple[int, csr_array]]:
        """Yield (index, latents) as sequences are done, the longest first."""
        for index, rows, _ in self.stream_with_states(sequences):
            yield index, rows

    def stream_with_states(
        self, sequences: Sequence[str]
    ) -> Iterator[tuple[int, csr_array, torch.Tensor]]:
        """Yield (index, latents, activations) as sequences are done, the longest first.

        The activations, float32 (length, D) on the PLM's device, are what the SAE was given: the
        mean, (1, D), where the unit is the protein.
        """
        pending: list[tuple[int, torch.Tensor]] = []
        rows = 0
        for index, states in self.plm.activations(sequences, [self.layer]):
            x_ND = states[self.layer]
            pending.append((index, x_ND if self.unit == "residue" else x_ND.mean(0, keepdim=True)))
            rows += len(pending[-1][1])
            # Large SAE batches are faster than one protein at a time.
            if rows >= 8192:
                yield from self._flush(pending)
                pending, rows = [], 0
        yield from self._flush(pending)

    def _flush(
        self, pending: list[tuple[int, torch.Tensor]]
    ) -> Iterator[tuple[int, csr_array, torch.Tensor]]:
        import torch

        if not pending:
            return
        codes = self.sae.encode_csr(torch.cat([x for _, x in pending]))
        first = 0
        for index, x_ND in pending:
            yield index, codes[first : first + len(x_ND)], x_ND
            first += len(x_ND)
