"""What a PLM loses when its residual stream is replaced by something else.

Loss recovered = 1 − (CE(replaced) − CE(own)) / (CE(ablated) − CE(own)): 1 if the replacement loses
nothing, 0 if it is no better than the ablation (InterPLM, Methods, "fidelity", there in percent).
The ablation is zero, as InterPLM has it, or the mean activation, which is the harder to beat: a
layer of zeros is unlike anything the next block has seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from plmsae.plm.layer_states import logits_from, states_at_layers
from plmsae.plm.model import Plm
from plmsae.plm.packed import PackedLayout
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
) -> Fidelity:
    """Measure what replacing layer L costs the PLM's predictions.

    Parameters
    ----------
    plm : Plm
        Opened with ``head=True``.
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
    )[0]


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
    layers = {layer for layer, _ in replacements}
    references = _references(
        plm, sequences, layers, masked=masked, means=means or {}, share=share, seed=seed,
        token_budget=token_budget,
    )  # fmt: skip
    return _against(plm, references, replacements)


class KeptReferences:
    """What does not depend on the replacement, computed once: to measure one after another.

    The states of `layers` are held in memory, so it is meant for some ten proteins. At masked
    positions, with zero-ablation, as `fidelities` by default.

    Parameters
    ----------
    plm : Plm
        Opened with ``head=True``.
    layers : collection of int
        Those that will be replaced.

    Raises
    ------
    InputError
        As `fidelity` does.
    """

    def __init__(self, plm: Plm, sequences: Sequence[str], layers: Iterable[int]) -> None:
        self._plm = plm
        self._references = list(_references(plm, sequences, set(layers)))

    def fidelities(self, replacements: Sequence[tuple[int, Replace]]) -> list[Fidelity]:
        """Return what `fidelities` does; only the blocks above the replaced layers run."""
        return _against(self._plm, self._references, replacements)


@dataclass(frozen=True, kw_only=True)
class _Reference:
    """One batch of sequences under the PLM untouched and ablated."""

    states: dict[int, Tensor]
    """Of the layers to be replaced."""
    layout: PackedLayout
    residues: Tensor
    """Which tokens are residues."""
    where: Tensor
    """Tokens to predict, and what they are."""
    target: Tensor
    own_log_p: Tensor
    own: float
    zero: dict[int, float]
    """By layer."""
    mean: dict[int, float]


@torch.inference_mode()
def _references(
    plm: Plm,
    sequences: Sequence[str],
    layers: set[int],
    *,
    masked: bool = True,
    means: Mapping[int, Tensor] = MappingProxyType({}),
    share: float = 0.15,
    seed: int = 0,
    token_budget: int = 8192,
) -> Iterator[_Reference]:
    plm.check_head()
    for layer in layers:
        plm.check_layer(layer)
    rng = np.random.default_rng(seed)
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
        zero, mean = {}, {}
        for layer in sorted(layers):
            x_ND = states[layer]
            zeros = x_ND.masked_fill(residues.unsqueeze(1), 0.0)
            logits = logits_from(plm, zeros, layout, layer, where)
            zero[layer] = _loss(_log_p(logits), target)
            if layer in means:
                averages = torch.where(residues.unsqueeze(1), means[layer].to(x_ND), x_ND)
                logits = logits_from(plm, averages, layout, layer, where)
                mean[layer] = _loss(_log_p(logits), target)
        yield _Reference(
            states={layer: states[layer] for layer in layers},
            layout=layout,
            residues=residues,
            where=where,
            target=target,
            own_log_p=own_log_p,
            own=_loss(own_log_p, target),
            zero=zero,
            mean=mean,
        )


@torch.inference_mode()
def _against(
    plm: Plm, references: Iterable[_Reference], replacements: Sequence[tuple[int, Replace]]
) -> list[Fidelity]:
    """Sum up the losses of each replacement over all batches."""
    own, count = 0.0, 0
    zero: dict[int, float] = defaultdict(float)
    mean: dict[int, float] = defaultdict(float)
    replaced, kl = [0.0] * len(replacements), [0.0] * len(replacements)
    for batch in references:
        own += batch.own
        for layer, loss in batch.zero.items():
            zero[layer] += loss
        for layer, loss in batch.mean.items():
            mean[layer] += loss
        for number, (layer, replace) in enumerate(replacements):
            x_ND = batch.states[layer].clone()
            x_ND[batch.residues] = replace(x_ND[batch.residues].float()).to(x_ND.dtype)
            log_p = _log_p(logits_from(plm, x_ND, batch.layout, layer, batch.where))
            replaced[number] += _loss(log_p, batch.target)
            kl[number] += float((batch.own_log_p.exp() * (batch.own_log_p - log_p)).sum())
        count += len(batch.where)
    n = max(count, 1)
    return [
        Fidelity(
            own=own / n,
            replaced=replaced[number] / n,
            zero=zero[layer] / n,
            mean=mean[layer] / n if layer in mean else None,
            kl=kl[number] / n,
            n_positions=count,
        )
        for number, (layer, _) in enumerate(replacements)
    ]


def _log_p(logits: Tensor) -> Tensor:
    return logits.double().log_softmax(-1)


def _loss(log_p: Tensor, target: Tensor) -> float:
    return float(functional.nll_loss(log_p, target, reduction="sum"))
