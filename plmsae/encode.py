"""From sequences to sparse latents: a PLM up to layer L, then an SAE."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING, Literal

from plmsae.core.errors import InputError

if TYPE_CHECKING:
    import torch
    from scipy.sparse import csr_array

    from plmsae.plm.model import Plm
    from plmsae.sae.base import Sae

Unit = Literal["residue", "protein"]

_ROWS = 8192
"""Large SAE batches are faster than one protein at a time."""


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
        return [rows for _, rows in sorted(self.stream(sequences), key=itemgetter(0))]

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
        from plmsae.plm.parallel import in_order, pays

        rows = sum(map(len, sequences)) if self.unit == "residue" else len(sequences)
        side_by_side = pays(self.plm.device, rows // _ROWS)
        for done in in_order(self._encode, self._groups(sequences), side_by_side=side_by_side):
            yield from done

    def _groups(self, sequences: Sequence[str]) -> Iterator[list[tuple[int, torch.Tensor]]]:
        """Yield what the SAE is given at once: indices of proteins with their activations."""
        group: list[tuple[int, torch.Tensor]] = []
        rows = 0
        for index, states in self.plm.activations(sequences, [self.layer]):
            x_ND = states[self.layer]
            group.append((index, x_ND if self.unit == "residue" else x_ND.mean(0, keepdim=True)))
            rows += len(group[-1][1])
            if rows >= _ROWS:
                yield group
                group, rows = [], 0
        if group:
            yield group

    def _encode(
        self, group: list[tuple[int, torch.Tensor]]
    ) -> list[tuple[int, csr_array, torch.Tensor]]:
        import torch

        codes = self.sae.encode_csr(torch.cat([x for _, x in group]))
        ends = accumulate(len(x) for _, x in group)
        return [
            (index, codes[end - len(x) : end], x)
            for (index, x), end in zip(group, ends, strict=True)
        ]
