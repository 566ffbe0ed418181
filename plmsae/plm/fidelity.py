"""What a PLM loses when its residual stream is replaced by something else.

Loss recovered = 1 − (CE(replaced) − CE(own)) / (CE(ablated) − CE(own)): 1 if the replacement loses
nothing, 0 if it is no better than the ablation (InterPLM, Methods, "fidelity", there in percent).
The ablation is zero, as InterPLM has it, or the mean activation, which is the harder to beat: a
layer of zeros is unlike anything the next block has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plmsae.plm.model import Plm
from plmsae.plm.splice import logits_from, states_at_layers
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
    return fidelities(
        plm,
        sequences,
        [(layer, replace)],
        masked=masked,
        means={} if mean_D is None else {layer: mean_D},
        share=share,
        seed=seed,
        token_budget=token_budget,
    )[0]


@torch.inference_mode()
def fidelities(
    plm: Plm,
    sequences: Sequence[str],
    replacements: Sequence[tuple[int, Replace]],
    *,
    masked: bool = True,
    means: Mapping[int, Tensor] | None = None,
    share: float = 0.15,
    seed: int = 0,
    token_budget: int = 8192,
) -> list[Fidelity]:
    """Measure what each of several replacements costs, as `fidelity` does one by one.

    The PLM runs once for all of them, and its ablations once for each layer; only the blocks above
    a replaced layer run for each replacement.

    Parameters
    ----------
    replacements : sequence of (int, callable)
        A layer and what replaces it.
    means : mapping of int to Tensor (D,), optional
        By layer, its mean over residues, to ablate with as well.

    Returns
    -------
    list of Fidelity
        In the order of `replacements`.
    """
    plm.check_head()
    for layer, _ in replacements:
        plm.check_layer(layer)
    means = means or {}
    layers = sorted({layer for layer, _ in replacements})
    rng = np.random.default_rng(seed)
    own = 0.0
    zero, mean = dict.fromkeys(layers, 0.0), dict.fromkeys(means, 0.0)
    replaced, kl = [0.0] * len(replacements), [0.0] * len(replacements)
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
        states, layout = states_at_layers(plm, ids, lengths, {*layers, plm.n_layers})
        own_log_p = _log_p(plm.logits(states[plm.n_layers][where]))
        own += _loss(own_log_p, target)
        for layer in layers:
            x_ND = states[layer]
            zeros = x_ND.masked_fill(residues.unsqueeze(1), 0.0)
            logits = logits_from(plm, zeros, layout, layer, where)
            zero[layer] += _loss(_log_p(logits), target)
            if layer in means:
                averages = torch.where(residues.unsqueeze(1), means[layer].to(x_ND), x_ND)
                logits = logits_from(plm, averages, layout, layer, where)
                mean[layer] += _loss(_log_p(logits), target)
        for number, (layer, replace) in enumerate(replacements):
            x_ND = states[layer].clone()
            x_ND[residues] = replace(x_ND[residues].float()).to(x_ND.dtype)
            log_p = _log_p(logits_from(plm, x_ND, layout, layer, where))
            replaced[number] += _loss(log_p, target)
            kl[number] += float((own_log_p.exp() * (own_log_p - log_p)).sum())
        count += len(where)
    n = max(count, 1)
    return [
        Fidelity(
            own=own / n,
            replaced=replaced[number] / n,
            zero=zero[layer] / n,
            mean=mean[layer] / n if layer in means else None,
            kl=kl[number] / n,
            n_positions=count,
        )
        for number, (layer, _) in enumerate(replacements)
    ]


def _log_p(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)


def _loss(log_p: Tensor, target: Tensor) -> float:
    return float(functional.nll_loss(log_p, target, reduction="sum"))
