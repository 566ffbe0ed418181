"""What the metrics of a model mean, in words, and which belong together.

The model card, the comparison of models and the charts of MLflow all take their groups and
explanations from here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

GROUPS: dict[str, str] = {
    "concepts": "Concepts and features",
    "calls": "Calls",
    "reconstruction": "Reconstruction",
    "fidelity": "What the reconstruction keeps of the PLM's predictions",
    "baselines": "Baselines, by the same protocol",
    "features": "How features behave",
    "split": "Leak of the split between the part to choose on and the part to report on",
    "training": "Training",
    "other": "Other",
}
"""Group of metrics → its title, in the order in which they are shown."""

HEADLINE: tuple[str, ...] = (
    *("n_concepts_callable", "n_concepts_f1_50", "n_features_f1_50", "n_concepts"),
    *("neuron_concepts_f1_50", "explained_variance", "loss_recovered", "l0", "dead_share"),
    *("ece", "instances_found"),
)
"""The metrics that a reader asks for first, in order."""

METHODS = {
    "sae": "the SAE's features",
    "neuron": "the PLM's own neurons",
    "pca": "principal components of the activations",
    "ica": "independent components of the activations",
    "random_plm_sae": "an SAE of the same PLM with random weights",
    "sae_shuffled_labels": "the SAE's features with the labels shuffled between proteins",
    "amino_acid": "the kind of amino acid",
    "window_of_3": "windows of three residues",
    "best_hit": "labels of the most similar protein (best hit)",
    "nearest_embedding": "labels of the protein with the nearest mean embedding",
}
"""Method that a model is compared with, by the start of its metrics → what it is, in words."""

_WHAT = {
    "concepts_f1_50": "concepts found (F1 > 0.5 on both parts), a class beside its members",
    "features_f1_50": "units that find a concept (F1 > 0.5 on both parts)",
    "concepts_beyond_chance": "concepts found beyond chance and a detector that always fires",
    "features_beyond_chance": "units that find one beyond chance and a detector that always fires",
}
_CALLED_BY = {
    "model": "the model",
    "best_hit": METHODS["best_hit"],
    "nearest_embedding": METHODS["nearest_embedding"],
}
_EXPLAINED: dict[str, dict[str, str]] = {
    "concepts": {
        "n_concepts": "concepts common enough to be chosen and measured",
        "n_concepts_skipped": "concepts that are too rare for that",
        "n_concepts_f1_50": "concepts that a feature finds (F1 > 0.5 on both parts), a class "
        "beside its members",
        "n_concepts_any_f1_50": "concepts for which any feature reaches F1 > 0.5 on both parts",
        "n_concepts_beyond_residue": "concepts found by more than their amino acids",
        "n_concepts_split": "concepts that several features find",
        "n_features_f1_50": "features that find their best concept (F1 > 0.5 on both parts)",
        "n_features_any_f1_50": "features that find any concept (F1 > 0.5 on both parts)",
        "n_concepts_beyond_chance": "concepts found beyond chance and a detector that always fires",
        "n_features_beyond_chance": "features that find one beyond chance and a detector that "
        "always fires",
        "n_features_q_05": "features associated with a concept beyond chance (q < 0.05)",
        "n_features_shared": "features that find several concepts",
        "n_pairs_f1_50": "pairs of feature and concept with F1 > 0.5 on both parts",
        "n_pairs_q_05": "pairs of feature and concept beyond chance (q < 0.05)",
        "mean_concept_f1": "mean over the concepts of their best feature's F1; none counts 0",
    },
    "calls": {
        "n_concepts_callable": "concepts that are called: precise enough, not implied by members",
        "n_concepts_by_distance": "concepts over which precision by identity to labelled proteins "
        "is counted: those called, or all where none is",
        "n_concepts_precise_90": "concepts whose precision interval begins at 0.9 or more",
        "n_concepts_probe": "concepts called by a probe over several features",
        "n_probes_fitted": "concepts for which a probe was tried",
        "n_probes_compared": "concepts over which probes are compared",
        "instances_found": "share of the labelled instances that a call finds, withheld calls too",
        "instances_iou_50": "share of the labelled instances that a call covers (IoU ≥ 0.5), "
        "withheld calls too",
        "ece": "calibration error of the calls' probabilities (ECE)",
        "latent_ap": "average precision of the best feature, mean over concepts",
        "latent_f1": "F1 of the best feature, mean over concepts",
        "probe_ap": "average precision of probes over features, mean over concepts",
        "probe_f1": "F1 of probes over features, mean over concepts",
        "probe_size": "features in a probe, mean over concepts",
        "raw_probe_ap": "average precision of probes over raw activations, mean over concepts",
        "raw_probe_f1": "F1 of probes over raw activations, mean over concepts",
        "raw_probe_size": "units in a probe over raw activations, mean over concepts",
    },
    "reconstruction": {
        "explained_variance": "share of the activations' variance that is reconstructed",
        "explained_variance_within": "the same of what is left when the amino acid is known",
        "fvu": "share of the variance that is not reconstructed",
        "mse": "mean squared error of the reconstruction, in units of the activations",
        "l0": "features active at once, mean",
        "dead_share": "share of the features that never fire on the proteins evaluated",
        "n_dead": "features that never fire on the proteins evaluated",
        "n_latents": "features of the SAE",
        "train_dead_share": "share of the features that did not fire at the end of training",
        "dense_share": "share of the features active on more than 10 % of residues",
        "silent_share": "share of the features that never fire",
        "n_vectors": "activation vectors measured on",
        "gamma": "norm of the activations' mean over that of their spread",
        "activation_scale": "distance of an activation from the mean (root mean square)",
        "bad_activation_share": "share of the activations that are NaN or infinite",
    },
    "fidelity": {
        "loss_recovered": "share of the PLM's loss that is recovered, against zero-ablation",
        "loss_recovered_mean": "the same against mean-ablation",
        "ce_own": "cross-entropy of the PLM itself, in nats",
        "ce_replaced": "cross-entropy with the reconstruction in place of the activations, in nats",
        "kl": "divergence of the predictions with the reconstruction from the PLM's own, in nats",
    },
    "split": {
        "homologous_pairs": "homologous pairs of proteins among those evaluated",
        "homologous_pairs_across": "homologous pairs of which the two parts have one protein each",
        "homology_leak": "share of homologous pairs that the split parts",
        "homology_leak_many_pairs": "the same, where there are enough pairs to test it as it is",
    },
    "training": {
        "loss": "what the optimiser lowers, of a batch",
        "lr": "learning rate",
        "vectors_per_second": "activation vectors trained on per second",
        "stall_share": "share of the time spent waiting for batches",
        "run_vectors_per_second": "activation vectors trained on per second, over the whole run",
        "run_stall_share": "share of the time spent waiting for batches, over the whole run",
    },
}
_PATTERN = re.compile(r"n_features_([a-z_]+)")
_BASELINE = re.compile(rf"({'|'.join(METHODS)})_({'|'.join(_WHAT)})")
_AHEAD = re.compile(rf"sae_ahead_of_({'|'.join(METHODS)})_(concepts|features)")
_IDENTITY = re.compile(
    r"(?:(best_hit|nearest_embedding)_)?identity_(.+)_(precision|recall|n_calls)"
)
_CALLS = re.compile(rf"({'|'.join(_CALLED_BY)})_calls_(precision|recall)")
_COUNT = re.compile(
    r"(n_.*|.*_n_calls|homologous_pairs.*|sae_ahead_of_.*|.*_(concepts|features)_"
    r"(f1_50|beyond_chance))(_low|_high)?"
)
_PLACES = (
    ("report_", "on the proteins reported on"),
    ("held_out_", "on proteins held out of training"),
)
_MEASURED_ON = (*(prefix for prefix, _ in _PLACES), "train_")
_ENDS = {"_low": "lower end of the 95 % interval", "_high": "upper end of the 95 % interval"}


@dataclass(frozen=True, slots=True)
class MetricName:
    """A metric's name, taken apart."""

    name: str
    """As it is registered."""
    group: str
    """A key of `GROUPS`."""
    meaning: str
    """In words; empty for a metric that this module does not know."""


def metric_name(name: str) -> MetricName:
    """Return a metric's group and meaning."""
    extra = []
    base = name
    for prefix, words in _PLACES:
        if base.startswith(prefix):
            base = base.removeprefix(prefix)
            extra.append(words)
    for suffix, words in _ENDS.items():
        if base.endswith(suffix):
            base = base.removesuffix(suffix)
            extra.append(words)
    if base.endswith("_unmasked"):
        base = base.removesuffix("_unmasked")
        extra.append("at all positions, none masked")
    group, meaning = _known(base)
    elsewhere = ("n_latents", "dead_share", "n_dead")  # of the SAE; of all proteins evaluated
    measured = group in ("reconstruction", "fidelity") and base not in elsewhere
    if measured and not name.startswith(_MEASURED_ON):
        extra.append("on proteins held out of training, or of the import")
    return MetricName(name, group, ", ".join([meaning, *extra]) if meaning else "")


def _known(base: str) -> tuple[str, str]:
    for group, explained in _EXPLAINED.items():
        if base in explained:
            return group, explained[base]
    if found := _BASELINE.fullmatch(base):
        return "baselines", f"{METHODS[found[1]]}: {_WHAT[found[2]]}"
    if found := _AHEAD.fullmatch(base):
        return "baselines", f"{found[2]} by which the SAE is ahead of {METHODS[found[1]]}"
    if found := _IDENTITY.fullmatch(base):
        what = {"n_calls": "number of calls"}.get(found[3], f"{found[3]} of calls")
        near = (
            "without a homologue"
            if found[2] == "none"
            else f"{found[2]} % identical to the nearest"
        )
        by = f"{METHODS[found[1]]}: " if found[1] else ""
        group = "baselines" if found[1] else "calls"
        return group, f"{by}{what} on proteins {near} among those that concepts were chosen on"
    if found := _CALLS.fullmatch(base):
        group = "calls" if found[1] == "model" else "baselines"
        return group, f"{_CALLED_BY[found[1]]}: {found[2]} of all calls"
    if found := _PATTERN.fullmatch(base):
        return "features", f"features of the kind: {found[1].replace('_', ' ')}"
    return "other", ""


def grouped(names: Iterable[str]) -> dict[str, list[MetricName]]:
    """Return metrics by group, in the order of `GROUPS`; within one, the headline comes first."""
    rank = {name: i for i, name in enumerate(HEADLINE)}
    found: dict[str, list[MetricName]] = {group: [] for group in GROUPS}
    for name in sorted(names, key=lambda n: (rank.get(n, len(rank)), n)):
        known = metric_name(name)
        found[known.group].append(known)
    return {group: members for group, members in found.items() if members}


def charted(metrics: Mapping[str, float], prefix: str = "") -> dict[str, float]:
    """Return the metrics of a run by the names under which MLflow's charts gather them.

    Parameters
    ----------
    metrics : mapping of str to float
        By the names that bundles, gates and comparisons know.
    prefix : str
        Which of several SAEs of the run they are of, such as ``L4/``.

    Returns
    -------
    dict of str to float
        ``reconstruction/fvu``, ``reconstruction/L4/fvu``, …: MLflow shows the metrics of one prefix
        together.
    """
    return {f"{metric_name(name).group}/{prefix}{name}": v for name, v in metrics.items()}


def of_training(metrics: Mapping[str, float]) -> dict[str, float]:
    """Return the metrics that say how the SAE was trained or imported, and leave the others out.

    They outlive an evaluation. What an earlier evaluation found does not: it is of other proteins,
    and would stand beside the numbers of the new one, and before the gates, as if it were of them.
    """
    return {
        name: value
        for name, value in metrics.items()
        if metric_name(name).group in ("reconstruction", "fidelity", "training")
        and not name.startswith("report_")
    }


def is_count(name: str) -> bool:
    """Tell whether a metric counts something, so that it and its interval are whole numbers."""
    return _COUNT.fullmatch(name) is not None


def metric_value(name: str, value: float) -> str:
    """Return the value of a metric for readers; the ends of a count's interval are rounded."""
    return number(round(value) if is_count(name) else value)


def number(value: float) -> str:
    """Return a number for readers: whole numbers as such, the rest to two digits."""
    if float(value).is_integer():
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"
