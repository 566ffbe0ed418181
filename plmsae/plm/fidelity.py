"""What a PLM loses when its residual stream is replaced by something else.

Loss recovered = 1 − (CE(replaced) − CE(own)) / (CE(ablated) − CE(own)): 1 if the replacement loses
nothing, 0 if it is no better than the ablation (InterPLM, Methods, "fidelity", there in percent).
The ablation is zero, as InterPLM has it, or the mean activation, which is the harder to beat: a
layer of zeros is unlike anything the next block has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plmsae.plm.model import Plm
from plmsae.plm.splice import logits_from, states_at
from plmsae.plm.windows import batches

Replace = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """Cross-entropies (natural log) at the same residues under some versions of layer L.

    Attributes
    ----------
    own : float
        The PLM untouched.
    replaced : float
        Layer L replaced at every residue.
    zero : float
        Layer L set to zero at every residue.
    kl : float
        Mean KL divergence from the PLM's own predictions to those under replacement.
    n_positions : int
        Residues predicted.
    mean : float or None
        Layer L set to its mean at every residue, if the mean was given.
    """

    own: float
    replaced: float
    zero: float
    kl: float
    n_positions: int
    mean: float | None = None

    @property
    def loss_recovered(self) -> float:
        """Share of the loss between zero-ablation and the PLM that the replacement keeps.

        NaN where the ablation loses nothing.
        """
        return self._recovered(self.zero)

    @property
    def loss_recovered_mean(self) -> float | None:
        """The same with mean-ablation as the other end; None if there was none."""
        return None if self.mean is None else self._recovered(self.mean)

    def _recovered(self, ablated: float) -> float:
        lost = ablated - self.own
        return 1.0 - (self.replaced - self.own) / lost if lost else float("nan")


@torch.inference_mode()
def fidelity(
    plm: Plm,
    sequences: Sequence[str],
    layer: int,
    replace: Replace,
    *,
    masked: bool = True,
    mean_D: Tensor | None = None,
    share: float = 0.15,
    seed: int = 0,
    token_budget: int = 8192,
) -> Fidelity:
    """Measure what replacing layer L costs the PLM's predictions.

    Parameters
    ----------
    plm : Plm
        Opened with ``head=True``.
    sequences : sequence of str
    layer : int
    replace : callable
        Takes residue activations (n, D) float32 and returns their replacement.
    masked : bool
        Predict `share` of the residues, masked; else every residue, none masked (as InterPLM).
    mean_D : Tensor, shape (D,), optional
        Mean of layer L over residues, to ablate with as well.

    Raises
    ------
    InputError
        If the PLM has no head or, for `masked`, no mask token.
    """
    plm.check_head()
    plm.check_layer(layer)
    rng = np.random.default_rng(seed)
    totals = np.zeros(5)
    count = 0
    standard = torch.tensor(plm.vocabulary.standard)
    for batch in batches([len(s) for s in sequences], plm.max_residues, token_budget):
        ids, lengths = plm.pack([sequences[w.protein][w.start : w.end] for w in batch])
        candidates = torch.isin(ids, standard)
        where = torch.nonzero(candidates).squeeze(1)
        if masked:
            chosen = rng.permutation(len(where))[: max(1, round(share * len(where)))]
            where = where[torch.from_numpy(np.sort(chosen))]
        target = ids[where].to(plm.device)
        if masked:
            ids[where] = plm.vocabulary.mask_id
        residues = plm.is_residue(lengths).to(plm.device)
        where = where.to(plm.device)
        x_ND, layout = states_at(plm, ids, lengths, layer)
        replaced = x_ND.clone()
        replaced[residues] = replace(x_ND[residues].float()).to(x_ND.dtype)
        versions = [x_ND, replaced, x_ND.masked_fill(residues.unsqueeze(1), 0.0)]
        if mean_D is not None:
            versions.append(torch.where(residues.unsqueeze(1), mean_D.to(x_ND), x_ND))
        log_p = [
            logits_from(plm, version, layout, layer, where).double().log_softmax(-1)
            for version in versions
        ]
        losses = [float(functional.nll_loss(lp, target, reduction="sum")) for lp in log_p]
        totals[1 : 1 + len(losses)] += losses
        totals[0] += float((log_p[0].exp() * (log_p[0] - log_p[1])).sum())
        count += len(where)
    kl, own, changed, zero, mean = (float(total) for total in totals / max(count, 1))
    return Fidelity(
        own=own,
        replaced=changed,
        zero=zero,
        mean=None if mean_D is None else mean,
        kl=kl,
        n_positions=count,
    )
