"""The model card: one Markdown page a biologist reads before trusting an SAE."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from plmsae.bundle.metric_names import (
    GROUPS,
    HEADLINE,
    MetricName,
    grouped,
    metric_name,
    number,
)
from plmsae.core import markdown
from plmsae.core.fingerprint import DataFingerprint

if TYPE_CHECKING:
    from plmsae.bundle.meta import BundleMeta
    from plmsae.bundle.reading import Bundle

_TOP = 15

escape = partial(markdown.escape, limit=120)


def model_card(bundle: Bundle) -> str:
    """Return the model card of a bundle as Markdown; text from outside is escaped.

    Parameters
    ----------
    bundle : Bundle
        Its frames and `meta` are read; the card it may already hold is not.
    """
    meta = bundle.meta
    parts = [
        f"# {meta.name}",
        _what_it_is(meta),
        "## Use",
        _use(bundle),
        "## Evidence",
        _evidence(bundle),
        "## Quality",
        _headline(meta),
        "## Limits",
        _limits(meta),
        "## Data",
        _data(meta),
        *_all_metrics(meta),
    ]
    return "\n\n".join(parts) + "\n"


def _what_it_is(meta: BundleMeta) -> str:
    place = "each residue" if meta.unit == "residue" else "each protein (mean over residues)"
    active = f", {meta.k} of them active" if meta.k else ""
    if meta.is_transcoder:
        aim = "what the blocks add up to" if meta.target == "change" else "the activations of"
        return (
            f"A transcoder ({escape(meta.arch)}) that reads the activations of {escape(meta.plm)} "
            f"after block {meta.layer} and gives {aim} layer {meta.target_layer}, through "
            f"{meta.d_sae:,} features for {place}{active}. PLM revision: "
            f"{escape(meta.plm_revision)}. Origin: {escape(meta.origin)}. Made "
            f"{escape(meta.created)}."
        )
    return (
        f"A sparse autoencoder ({escape(meta.arch)}) that re-writes the activations of "
        f"{escape(meta.plm)} after block {meta.layer} as {meta.d_sae:,} features for "
        f"{place}{active}. PLM revision: {escape(meta.plm_revision)}. "
        f"Origin: {escape(meta.origin)}. Made {escape(meta.created)}."
    )


def _headline(meta: BundleMeta) -> str:
    if not meta.metrics:
        return "Nothing was measured."
    return _metric_table(meta, [metric_name(name) for name in HEADLINE if name in meta.metrics])


def _all_metrics(meta: BundleMeta) -> list[str]:
    """Return all metrics by group, folded away where the reader's program can."""
    if not meta.metrics:
        return []
    tables = [
        f"### {GROUPS[group]}\n\n{_metric_table(meta, members)}"
        for group, members in grouped(meta.metrics).items()
    ]
    title = f"<summary>All {len(meta.metrics)} metrics, by group</summary>"
    return ["## All metrics", f"<details>{title}", *tables, "</details>"]


def _metric_table(meta: BundleMeta, members: Sequence[MetricName]) -> str:
    rows = [(m.meaning, number(meta.metrics[m.name]), f"`{m.name}`") for m in members]
    return _table(("what", "value", "metric"), rows)


def _evidence(bundle: Bundle) -> str:
    import polars as pl

    from plmsae.concepts.calling.matching import RULE

    found = bundle.concepts.filter(pl.col("f1").is_not_null())
    if found.is_empty():
        return "No concept was tied to a feature."
    top = found.sort("f1", "n_instances", descending=True, nulls_last=True).head(_TOP)
    rows = [
        (
            escape(row["concept"]),
            "" if row["best_latent"] is None else str(row["best_latent"]),
            number(row["f1"]),
            _share(row, "f1_lift"),
            _called_by(row),
            _precision(row),
            *(_share(row, name) for name in _BESIDE),
            f"{row['n_instances'] or 0:,}",
            f"{row['n_proteins'] or 0:,}",
        )
        for row in top.iter_rows(named=True)
    ]
    head = (
        "concept", "best feature", "F1", "F1 lift", "called by", "precision of calls", "IoU",
        "touching", "residues", "instances", "proteins",
    )  # fmt: skip
    shown = f"The {top.height} of {found.height:,} concept rows with the highest F1"
    return (
        f"{shown} of the best feature, measured on proteins that the choice of feature and "
        "threshold had not seen. F1 lift: by how much it is above the F1 of a detector that always "
        "fires. What makes the calls is chosen for their precision, and may be "
        "another feature, or a probe of several. "
        f"Precision: share of calls that are right, with its 95 % interval. {RULE} Beside it: mean "
        "IoU of right calls with their instance; share of calls that touch an instance at all, "
        "which is more; share of called residues that are labelled.\n\n" + _table(head, rows)
    )


def _called_by(row: dict[str, Any]) -> str:
    if row["call_threshold"] is None:
        return "nothing"
    return "a probe" if row["call_latent"] is None else f"feature {row['call_latent']}"


def _precision(row: dict[str, Any]) -> str:
    if row["call_precision"] is None or not row["n_calls"]:
        return "no calls"
    low, high = row["call_precision_low"], row["call_precision_high"]
    interval = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    return f"{number(row['call_precision'])}{interval} of {row['n_calls']:,} calls"


_BESIDE = ("iou", "call_precision_touch", "call_precision_residue")


def _share(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else f"{value:.2f}"


def _data(meta: BundleMeta) -> str:
    rows = [
        (use, *_fingerprint(data))
        for use, data in (("training", meta.train_data), ("evaluation", meta.eval_data))
    ]
    return _table(("use", "source", "proteins", "residues", "SHA-256"), rows)


def _fingerprint(data: DataFingerprint | None) -> tuple[str, str, str, str]:
    if data is None:
        return ("not recorded", "", "", "")
    proteins = "" if data.n_proteins is None else f"{data.n_proteins:,}"
    residues = "" if data.n_residues is None else f"{data.n_residues:,}"
    return (escape(data.source), proteins, residues, f"`{data.sha256[:16]}…`")


def _use(bundle: Bundle) -> str:
    model = f"{bundle.meta.name}@challenger"
    evaluate = f"plmsae evaluate labelled.tsv.gz --model {model}\n"
    score = (
        f"plmsae score proteome.fasta --model {model} --out scored\n"
        "plmsae validate scored\n"
        f"plmsae report proteome.fasta --model {model} --out report\n"
    )
    files = "`proteome.fasta` holds the proteins to annotate"
    if bundle.concepts.is_empty():
        files = "`labelled.tsv.gz` is a UniProt table with columns of features"
        score = evaluate
    return (
        f"```bash\n{score}```\n\n{files}; `{model}` is the version registered last, and "
        f"`{bundle.meta.name}@champion` the one that `plmsae promote {model}` made champion."
    )


def _limits(meta: BundleMeta) -> str:
    lines = [
        "- A feature is a pattern in the PLM, not a proof of function; precision holds for "
        "proteins like those it was measured on.",
        "- Concepts that the labels lack cannot be found by name; a feature without a concept is "
        "not a feature without meaning.",
        "- A missing label counts as a wrong call, so precision is rather under- than overstated.",
        f"- Only for activations of the PLM revision above, after block {meta.layer}.",
    ]
    if meta.eval_data is None:
        lines.insert(0, "- **The evaluation data was not recorded: treat the numbers with care.**")
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
