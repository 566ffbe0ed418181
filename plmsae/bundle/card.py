"""The model card: one Markdown page a biologist reads before trusting an SAE."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from plmsae.bundle.meta import QUALITY_WARNINGS
from plmsae.bundle.metric_names import (
    GROUPS,
    HEADLINE,
    METHODS,
    MetricName,
    grouped,
    metric_name,
    metric_value,
    number,
)
from plmsae.core import markdown
from plmsae.core.fingerprint import DataFingerprint
from plmsae.core.resources import READY

if TYPE_CHECKING:
    from plmsae.bundle.meta import BundleMeta
    from plmsae.bundle.reading import Bundle

_TOP = 15

escape = partial(markdown.escape, limit=120)


def model_card(bundle: Bundle, reference: str | None = None) -> str:
    """Return the model card of a bundle as Markdown; text from outside is escaped.

    Parameters
    ----------
    bundle : Bundle
        Its frames and `meta` are read; the card it may already hold is not.
    reference : str, optional
        What the commands of the card call the model: ``NAME/3``, or ``ready``. By default the
        version that is registered last.
    """
    sections = _sections(bundle, reference or f"{bundle.name}@challenger")
    return "\n\n".join([*sections, *_all_metrics(bundle.meta)]) + "\n"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of one gate, for the page of a version."""

    what: str
    """The gate: a condition, or what was checked."""
    found: str
    met: bool | None
    """None where it could not be checked."""
    page: str = ""
    """Address of its page inside MLflow's UI, if it has one."""


def version_page(
    bundle: Bundle,
    reference: str,
    *,
    verdicts: Sequence[Verdict] = (),
    pages: Mapping[str, str] | None = None,
) -> str:
    """Return the card as MLflow shows it on the page of a registered version.

    MLflow folds nothing and puts no space between the columns of a table, nor below it. So the
    metrics that the logged model has anyway are left out, and space is added.

    Parameters
    ----------
    reference : str
        ``NAME/3``.
    verdicts : sequence of Verdict, optional
        Of the gates of promotion that need no other version, and of the quality gates.
    pages : mapping, optional
        What there is to see elsewhere: label → Markdown. `with_page` changes a line of it.
    """
    title, about, *rest = _sections(bundle, reference)
    quality = rest.index("## Limits")
    sections = [
        *(title, about, *_verdict_line(verdicts)),
        *(PAGES, "\n".join(_page_line(*entry) for entry in (pages or {}).items())),
        *(*rest[:quality], *_verdict_table(verdicts, reference), *rest[quality:]),
    ]
    page = _PADDED.sub("&nbsp; | ", "\n\n".join(sections) + "\n")
    return page.replace("|\n\n##", "|\n\n&nbsp;\n\n##")


PAGES = "## Pages"
"""Heading, on the page of a version, of what there is to see elsewhere."""


def with_page(page: str, label: str, content: str) -> str:
    """Return the page of a version with one line under `PAGES` changed, or added.

    What else is there, a user's own words too, stays.

    Parameters
    ----------
    page : str
        As `version_page` made it, or as a user changed it.
    content : str
        Markdown.
    """
    line = _page_line(label, content)
    old = re.compile(rf"^- {re.escape(label)}: .*$", re.MULTILINE)
    if old.search(page):
        return old.sub(lambda _: line, page, count=1)
    if f"{PAGES}\n\n" in page:
        return page.replace(f"{PAGES}\n\n", f"{PAGES}\n\n{line}\n", 1)
    return f"{page.rstrip()}\n\n{PAGES}\n\n{line}\n"


def _page_line(label: str, content: str) -> str:
    return f"- {label}: {content}"


def _verdict_line(verdicts: Sequence[Verdict]) -> list[str]:
    """Return in one line how many gates are met, and which are not."""
    if not verdicts:
        return []
    of = {met: [v for v in verdicts if v.met is met] for met in (True, False, None)}
    counts = [f"{len(of[True])} met", f"{len(of[False])} not met"]
    if skipped := len(of[None]):
        counts.append(f"{skipped} {'does' if skipped == 1 else 'do'} not apply")
    named = ": " + ", ".join(escape(verdict.what) for verdict in of[False]) if of[False] else ""
    return [f"**Gates: {', '.join(counts)}**{named}."]


def _verdict_table(verdicts: Sequence[Verdict], reference: str) -> list[str]:
    if not verdicts:
        return []
    rows = [
        (
            f"[{escape(v.what)}]({v.page})" if v.page else escape(v.what),
            escape(v.found),
            {True: "met", False: "**not met**", None: "does not apply"}[v.met],
        )
        for v in sorted(verdicts, key=lambda verdict: verdict.met is not False)
    ]
    about = (
        f"As it was registered. `plmsae promote {reference}` holds it against the champion too, "
        "and shows both side by side."
    )
    return ["## Gates", f"{about}\n\n{_table(('gate', 'found', ''), rows)}"]


# The bar after a cell with text; bars that belong to the text have a backslash.
_PADDED = re.compile(r"(?<=[^-|\s\\]) \| ")


def _sections(bundle: Bundle, reference: str) -> list[str]:
    meta = bundle.meta
    return [
        f"# {meta.name}",
        _what_it_is(meta),
        "## Use",
        _use(bundle, reference),
        "## What it calls",
        _calls(bundle),
        "## Evidence",
        _evidence(bundle),
        *_baselines(meta),
        "## Quality",
        _headline(meta),
        "## Limits",
        _limits(meta),
        "## Data",
        _data(meta),
    ]


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
    rows = [(m.meaning, metric_value(m.name, meta.metrics[m.name]), f"`{m.name}`") for m in members]
    return _table(("what", "value", "metric"), rows)


def _calls(bundle: Bundle) -> str:
    """Return the concepts that are called by default, with what is known of their calls."""
    from plmsae.concepts.calling.calibration import meets
    from plmsae.concepts.calling.matching import RULE

    bar = bundle.meta.min_precision
    if bundle.concepts.is_empty():
        return "Nothing: no concept was tied to a feature."
    called = bundle.concepts.filter(meets(bundle.concepts, bar)).sort(
        "call_precision_low", descending=True
    )
    if called.is_empty():
        return f"Nothing: the precision of no concept is shown to reach {number(bar)}."
    members = _implied(bundle)
    rows = [
        (escape(row["concept"]), members[row["concept"]], *[""] * (1 + len(_BESIDE)))
        if row["concept"] in members
        else (escape(row["concept"]), _caller(row), _precision(row),
              *(_share(row, name) for name in _BESIDE))
        for row in called.iter_rows(named=True)
    ]  # fmt: skip
    head = ("concept", "called by", "precision", "IoU", "touching", "residues")
    return (
        f"Concepts whose precision is {number(bar)} or more at the lower end of its 95 % interval, "
        "measured on proteins that the choice of feature and threshold had not seen. "
        f"{RULE} Beside the precision: mean IoU of right calls with their instance; share of calls "
        "that touch an instance at all, which is more; share of called residues that are "
        "labelled." + (_IMPLIED if members else "") + "\n\n" + _table(head, rows)
    )


_IMPLIED = (
    " A class all of whose calls its members make gets no call of its own: their calls name it in "
    "the column `implied`."
)


def _implied(bundle: Bundle) -> dict[str, str]:
    """Return the classes whose members make all their calls → which members, in words."""
    import polars as pl

    from plmsae.concepts.calling.calibration import called, meets
    from plmsae.concepts.labels.label_holdout import class_of

    concepts, bar = bundle.concepts, bundle.meta.min_precision
    own = called(concepts, bar)
    by_class = dict(
        concepts.filter(own)
        .group_by(class_of(pl.col("concept")), maintain_order=True)
        .agg(pl.col("concept").alias("members"))
        .iter_rows()
    )
    classes = concepts.filter(meets(concepts, bar) & ~own)["concept"]
    return {c: "implied by " + ", ".join(map(escape, by_class.get(c, ()))) for c in classes}


def _evidence(bundle: Bundle) -> str:
    import polars as pl

    from plmsae.concepts.calling.calibration import meets

    bar = bundle.meta.min_precision
    found = bundle.concepts.filter(pl.col("f1").is_not_null())
    if found.is_empty():
        return "No concept was tied to a feature."
    members = _implied(bundle)
    found = found.with_columns(called=meets(found, bar))
    top = found.sort("f1", "n_instances", descending=True, nulls_last=True).head(_TOP)
    rows = [
        (
            escape(row["concept"]),
            "" if row["best_latent"] is None else str(row["best_latent"]),
            _share(row, "f1"),
            _share(row, "f1_lift"),
            members.get(row["concept"]) or _called_by(row),
            "" if row["concept"] in members else _precision(row),
            f"{row['n_instances'] or 0:,}",
            f"{row['n_proteins'] or 0:,}",
        )
        for row in top.iter_rows(named=True)
    ]
    head = (
        *("concept", "best feature", "F1", "F1 lift", "called by", "precision of calls"),
        *("instances", "proteins"),
    )
    shown = f"The {top.height} of {found.height:,} concepts with the highest F1"
    return (
        f"{shown} of the best feature, on proteins that its choice had not seen. F1 lift: by how "
        "much it is above the F1 of a detector that always fires. Calls may be made by another "
        "feature, or by a probe of several; where their precision is not shown to reach "
        f"{number(bar)}, they are withheld.\n\n" + _table(head, rows)
    )


def _baselines(meta: BundleMeta) -> list[str]:
    """Return what other methods find by the same protocol, if the model was compared with any."""
    rows = [
        (
            words[0].upper() + words[1:],
            *(_with_interval(meta, f"{method}_{what}") for what in _COUNTS),
        )
        for method, words in METHODS.items()
        if f"{method}_features_f1_50" in meta.metrics
    ]
    if not rows:
        return []
    head = ("method", "units with a concept", "concepts", "concepts beyond chance")
    return [
        "## Baselines",
        "Units (features, neurons, kinds of amino acid …) with F1 > 0.5 for a concept on both "
        "parts of the proteins, and the concepts they find; the last column asks that a unit also "
        "beats chance and a detector that always fires.\n\n" + _table(head, rows),
    ]


_COUNTS = ("features_f1_50", "concepts_f1_50", "concepts_beyond_chance")


def _with_interval(meta: BundleMeta, name: str) -> str:
    if name not in meta.metrics:
        return ""
    low, high = meta.metrics.get(f"{name}_low"), meta.metrics.get(f"{name}_high")
    shown = partial(metric_value, name)
    interval = "" if low is None or high is None else f" [{shown(low)}, {shown(high)}]"
    return f"{shown(meta.metrics[name])}{interval}"


def _caller(row: dict[str, Any]) -> str:
    if row["call_threshold"] is None:
        return "nothing"
    return "a probe" if row["call_latent"] is None else f"feature {row['call_latent']}"


def _called_by(row: dict[str, Any]) -> str:
    if row["called"]:
        return _caller(row)
    return "withheld" if row["n_calls"] else "nothing"


def _precision(row: dict[str, Any]) -> str:
    if row["call_precision"] is None or not row["n_calls"]:
        return "no calls"
    low, high = row["call_precision_low"], row["call_precision_high"]
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    return f"{row['call_precision']:.2f}{interval} of {row['n_calls']:,} calls"


_BESIDE = ("iou", "call_precision_touch", "call_precision_residue")


def _share(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else f"{value:.2f}"


def _data(meta: BundleMeta) -> str:
    rows = [
        (use, *_fingerprint(data))
        for use, data in (("training", meta.train_data), ("evaluation", meta.eval_data))
    ]
    table = _table(("use", "source", "proteins", "residues", "SHA-256"), rows)
    notes = []
    if isinstance(n := meta.extra.get("recipe.n_vectors"), int):
        notes.append(f"Trained on {n:,} activations of the training proteins.")
    if isinstance(split := meta.extra.get("split"), str):
        notes.append(f"Concepts and evaluation: {markdown.escape(split)}.")
    if isinstance(leak := meta.extra.get("homology_leak"), str) and leak:
        notes.append(f"Leak: {markdown.escape(leak)}.")
    return "\n\n".join([table, " ".join(notes)]) if notes else table


def _fingerprint(data: DataFingerprint | None) -> tuple[str, str, str, str]:
    if data is None:
        return ("not recorded", "", "", "")
    proteins = "" if data.n_proteins is None else f"{data.n_proteins:,}"
    residues = "" if data.n_residues is None else f"{data.n_residues:,}"
    return (escape(data.source), proteins, residues, f"`{data.sha256[:16]}…`")


def _use(bundle: Bundle, reference: str) -> str:
    evaluate = f"plmsae evaluate labelled.tsv.gz --model {reference}\n"
    score = (
        f"plmsae score proteome.fasta --model {reference} --out scored\n"
        "plmsae validate scored\n"
        f"plmsae report proteome.fasta --model {reference} --out report\n"
    )
    files = "`proteome.fasta` holds the proteins to annotate"
    if bundle.concepts.is_empty():
        files = "`labelled.tsv.gz` is a UniProt table with columns of features"
        score = evaluate
    if reference == READY:
        which = f"`{READY}` is the model that comes with plmsae"
    elif reference.endswith("@challenger"):
        which = (
            f"`{reference}` is the version registered last, and `{bundle.name}@champion` the one "
            f"that `plmsae promote {reference}` made champion"
        )
    else:
        which = (
            f"`{reference}` is this version; `plmsae promote {reference}` makes it the champion, "
            "which is used where only the name is given"
        )
    return f"```bash\n{score}```\n\n{files}; {which}."


def _limits(meta: BundleMeta) -> str:
    lines = [
        "- A feature is a pattern in the PLM, not a proof of function; precision holds for "
        "proteins like those it was measured on.",
        "- Concepts that the labels lack cannot be found by name; a feature without a concept is "
        "not a feature without meaning.",
        "- A missing label counts as a wrong call, so precision is rather under- than overstated.",
        f"- Only for activations of the PLM revision above, after block {meta.layer}.",
    ]
    warnings = meta.extra.get(QUALITY_WARNINGS)
    if warnings:
        lines.append(
            f"- Warnings of the quality gates when it was made: {escape(warnings, limit=500)}."
        )
    if meta.eval_data is None:
        lines.insert(0, "- **The evaluation data was not recorded: treat the numbers with care.**")
    return "\n".join(lines)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
