"""A protein as the PLM sees it at layer L, and what the PLM predicts from changed states there.

Shapes: L residues, D width, A the 20 standard amino acids, W versions of the states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.plm.layer_states import logits_from, states_at
from plmsae.proteins.alphabet import Alphabet, tidy

_TOKENS = 8192


def check_encoder(encoder: Encoder) -> None:
    """Raise `InputError`, in one line, if predictions cannot be steered through this model."""
    if encoder.unit != "residue":
        raise InputError(
            "a protein-level SAE reads the mean over residues: nothing can be passed on to the "
            "next block",
            hint="give a residue-level model",
        )
    if encoder.sae.config.is_transcoder:
        raise InputError(
            "a transcoder does not reconstruct the layer it reads: its latents cannot be set there",
            hint="give the model of an autoencoder",
        )
    if encoder.plm.masked_lm is None and encoder.plm.family.headless is None:
        raise InputError(
            f"{encoder.plm.id} has no language-modelling head, so it predicts nothing to steer",
            hint=f"plmsae fetch {encoder.plm.id} --fit-head proteins.fasta fits one for a PLM that "
            "comes from a package",
        )
    encoder.plm.check_head()


def check_positions(positions: Sequence[int], length: int, *, option: str) -> list[int]:
    """Return 1-based positions sorted, each once; raise `InputError` for one outside."""
    wrong = [p for p in positions if not 1 <= p <= length]
    if wrong:
        raise InputError(
            f"the sequence has positions 1 to {length}", where=option, value=str(wrong[0])
        )
    return sorted(set(positions))


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """One protein, run up to layer L.

    Attributes
    ----------
    encoder : Encoder
    sequence : str
        Upper-case residues; at masked positions, what was there.
    masked_L : ndarray of bool, shape (L,)
        Residues that the PLM does not see.
    x_LD : Tensor, dtype=float32, shape (L, D)
        The residue activations.
    x_TD : Tensor, shape (L + special tokens, D)
        The same in the PLM's own precision, special tokens included.
    """

    encoder: Encoder
    sequence: str
    masked_L: np.ndarray[tuple[int], np.dtype[np.bool_]]
    x_LD: Tensor
    x_TD: Tensor

    @torch.inference_mode()
    def logits(self, versions: Sequence[Tensor]) -> Tensor:
        """Return the logits at all residues for versions of layer L.

        Parameters
        ----------
        versions : sequence of Tensor, shape (L, D)
            W versions of `x_LD`; special tokens stay as they are.

        Returns
        -------
        Tensor, shape (W, L, vocabulary)
        """
        plm, layer = self.encoder.plm, self.encoder.layer
        tokens = len(self.x_TD)
        is_residue = plm.is_residue([tokens]).to(plm.device)
        at_once = max(1, _TOKENS // tokens)
        parts = []
        for first in range(0, len(versions), at_once):
            some = versions[first : first + at_once]
            x_WTD = self.x_TD.repeat(len(some), 1, 1)
            x_WTD[:, is_residue] = torch.stack(list(some)).to(x_WTD)
            layout = plm.layout([tokens] * len(some))
            everywhere = is_residue.repeat(len(some))
            logits = logits_from(plm, x_WTD.flatten(0, 1), layout, layer, everywhere)
            parts.append(logits.reshape(len(some), -1, *logits.shape[1:]))
        return torch.cat(parts)

    def log_probabilities(self, versions: Sequence[Tensor]) -> Tensor:
        """Return log probabilities (natural) of the 20 amino acids, float64 (W, L, A), on the CPU.

        They are normalised over the 20, in the order of `plmsae.proteins.alphabet.AMINO_ACIDS`: a
        special token is no residue.
        """
        standard = torch.tensor(self.encoder.plm.vocabulary.standard, device=self.x_TD.device)
        return self.logits(versions)[..., standard].double().log_softmax(-1).cpu()


@torch.inference_mode()
def open_prompt(encoder: Encoder, sequence: str, masked: Sequence[int] = ()) -> Prompt:
    """Run a protein up to layer L.

    Parameters
    ----------
    encoder : Encoder
        With a PLM that was opened with ``head=True``.
    sequence : str
        One-letter residues; blanks and lower case are tidied.
    masked : sequence of int
        1-based positions that the PLM does not see.

    Raises
    ------
    InputError
        If predictions cannot be steered through this model, or the sequence is empty, too long for
        one window of the PLM or has letters that are none of residues.
    """
    check_encoder(encoder)
    plm = encoder.plm
    sequence = tidy(sequence)
    if not 1 <= len(sequence) <= plm.max_residues:
        raise InputError(
            f"a sequence to steer has 1 to {plm.max_residues} residues: {plm.id} reads it at once",
            where="--sequence",
            value=str(len(sequence)),
        )
    wrong = Alphabet().first_illegal(sequence)
    if wrong is not None:
        raise InputError(
            f"position {wrong + 1} is no residue", where="--sequence", value=sequence[wrong]
        )
    masked_L = np.zeros(len(sequence), dtype=bool)
    masked_L[[p - 1 for p in check_positions(masked, len(sequence), option="--mask")]] = True
    ids, lengths = plm.pack([sequence])
    if masked_L.any():
        ids[len(plm.vocabulary.prefix) + torch.from_numpy(np.flatnonzero(masked_L))] = (
            plm.vocabulary.mask_id
        )
    x_TD, _ = states_at(plm, ids, lengths, encoder.layer)
    is_residue = plm.is_residue(lengths).to(plm.device)
    return Prompt(
        encoder=encoder,
        sequence=sequence,
        masked_L=masked_L,
        x_LD=x_TD[is_residue].float(),
        x_TD=x_TD,
    )
