"""The columns of ``features.parquet`` and ``concepts.parquet``: the one place that declares them.

A column has one meaning. What detects a concept best (``best_latent``, by F1) and what makes its
calls (``call_latent``, by precision of calls) may be two latents, so they are two columns, and so
are their thresholds. The checks of `plmsae.bundle.schema` and the page
``docs/reference/columns.md`` derive from these declarations.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column of a registered table."""

    name: str
    type: str
    """Name of a polars type: polars is imported only where frames are handled."""
    meaning: str
    rule: str = ""
    """``share`` (in [0, 1]), ``count`` (0 or more), or the values it may take, with spaces."""
    needed: bool = False
    """Whether every bundle has it. Columns that are not needed are checked where they are there."""


def _of(type_name: str, rule: str = "", *, needed: bool = False, **meanings: str) -> list[Column]:
    return [
        Column(name=name, type=type_name, meaning=meaning, rule=rule, needed=needed)
        for name, meaning in meanings.items()
    ]


FEATURE_COLUMNS: tuple[Column, ...] = (
    *_of("Int32", latent="The latent; each from 0 to d_sae - 1 once, in order.", needed=True),
    *_of("Float64", "share", needed=True, density="Share of residues on which it fires."),
    *_of("Float64", needed=True, max_activation="Scale of its activations; 0 if it is dead."),
    *_of("Boolean", needed=True, dead="Whether it never fires on select proteins."),
    *_of("String", needed=True, concept="Concept that it detects best, by F1 on select."),
    *_of(
        "Float64", "share", needed=True,
        threshold="Threshold of that pair, on activation / `max_activation`.",
        f1_select="F1 of that pair on select, where it was chosen.",
        precision="Share of the firing residues that carry `concept`, on report.",
        recall="Share of instances (spans) or residues (sites) found, on report.",
        f1="Harmonic mean of `precision` and `recall`, on report.",
    ),
    *_of("String", needed=True, description="What it stands for, in words."),
    *_of(
        "String",
        pattern="Shape of its activations on report proteins: point, short, medium, long, whole, "
        "periodic, rare (active in fewer than 5 proteins) or dead (never fires).",
    ),
    *_of(
        "Int64", "count",
        n_proteins_active="Report proteins on which it fires.",
        n_concepts="Concepts for which it is confirmed: F1 > 0.5 on both splits.",
        n_concepts_beyond_chance="Of these, those for which it beats the detector that always "
                                 "fires by 0.05, with the lower end of the interval.",
    ),
    *_of("Float64", median_run="Median length of its runs, in residues.",
         period="Period of its activations, in residues."),
    *_of("Float64", "share", coverage="Mean share of the protein on which it fires.",
         family_f1="F1 of the homology cluster that it detects best."),
    *_of("Boolean", family_specific="Whether it is one family's own."),
    *_of("String",
         term="Of a protein-level model: the term of which its proteins have most, by enrichment.",
         term_name="Name of `term`.", term_namespace="Its vocabulary, or part of the ontology."),
    *_of("Int64", "count", term_depth="Longest way of `term` up to a root of the ontology."),
    *_of("Float64",
         term_information="Bits: -log2 of the share of proteins that carry `term`.",
         term_fold="How many times more often its proteins carry `term`.",
         term_odds="Odds ratio of firing and carrying `term`.",
         term_q="q-value of the enrichment on report."),
)  # fmt: skip
"""Of ``features.parquet``: one row per latent. `concept` and what follows it up to `f1` is null for
a latent without one."""

CONCEPT_COLUMNS: tuple[Column, ...] = (
    *_of("String", needed=True, concept="The concept."),
    *_of("String", "site span protein", needed=True, kind="What an instance of it is."),
    # The pair that detects the concept best.
    *_of("Int32", needed=True, best_latent="Latent with the highest F1 on select."),
    *_of("Float64", "share", needed=True,
         best_threshold="Threshold of `best_latent`, on activation / `max_activation`."),
    *_of(
        "Int64", "count", needed=True,
        n_instances="Labelled instances on report.",
        n_residues="Labelled residues on report.",
        n_proteins="Labelled proteins on report.",
    ),
    *_of(
        "Float64", "share", needed=True,
        f1_select="F1 of `best_latent` on select, where it was chosen.",
        precision_residue="Share of the residues where `best_latent` fires that are labelled.",
        recall="Share of instances (spans) or residues (sites) that `best_latent` finds.",
        f1="Harmonic mean of `precision_residue` and `recall`.",
    ),
    # What makes the calls.
    *_of("Int32", needed=True,
         call_latent="Latent that makes the calls; null where a probe makes them."),
    *_of("Float64", "share", needed=True,
         call_threshold="Threshold of the calls; null for a concept that is never called."),
    *_of("Float64", "share", needed=True,
         call_precision="Share of calls that are right.",
         call_precision_low="Lower end of its 95 % interval.",
         call_precision_high="Upper end of its 95 % interval."),
    *_of("Int64", "count", needed=True, n_calls="Calls on report."),
    *_of("Int32", "count", needed=True,
         min_length="Shortest run that is a call, in residues.",
         max_gap="Widest gap in a run, in residues."),
    *_of("String", "latent probe", caller="What makes the calls."),
    *_of("String", "runs segments",
         decoder="How spans are made; parameters of `segments` are in `callers.json`."),
    *_of("Float64", "share",
         seed_threshold="What a run must exceed somewhere, on activation / `max_activation`; 0 for "
                        "nothing."),
    *_of(
        "Int64", "count",
        true_calls="Right calls.",
        false_calls="Wrong calls.",
        missed_instances="Labelled instances that no right call finds.",
    ),
    *_of(
        "Float64", "share",
        instances_found="Share of labelled instances that a right call finds.",
        span_f1="Harmonic mean of `instances_found` and `call_precision`.",
        iou="Mean intersection over union of right calls with their instance.",
        touch_iou="The same over calls that touch a label.",
        call_precision_touch="Share of calls that touch a label.",
        call_precision_residue="Share of called residues that are labelled.",
        whole_share="Share of calls that cover more than 90 % of their protein.",
        one_residue_share="Share of calls of one residue.",
        end_exact="Share of right calls that end within 3 residues of the label.",
        label_whole_share="Share of labels on select that cover more than 90 % of their protein.",
        label_one_residue_share="Share of labels on select of one residue.",
    ),
    *_of("String", abstains="Why the concept is not called at the precision `abstains_at`."),
    *_of("Float64", "share", abstains_at="The precision that calls were tuned for.",
         implied_at="Of a class: up to this precision its members make all its calls, so that none "
                    "is written under its name. What is measured of calls is then of all of them."),
    # What other methods find of the concept.
    *_of(
        "Float64", "share",
        f1_neuron="F1 on report of the best of the PLM's neurons, chosen on select; null where "
                  "none reaches 0.4 there. So are the columns of the other methods.",
        f1_pca="The same of the principal components of the activations.",
        f1_ica="The same of their independent components.",
        f1_random_plm_sae="The same of an SAE of the same PLM with random weights.",
        f1_sae_shuffled_labels="The same of the SAE on labels shuffled between proteins.",
        f1_amino_acid="The same of the kinds of amino acid.",
        f1_window_of_3="The same of windows of three residues.",
        f1_best_hit="The same of labels of the most similar protein.",
        f1_nearest_embedding="The same of labels of the protein with the nearest mean embedding.",
    ),
    # How sure the best pair is.
    *_of(
        "Float64", "share",
        f1_low="Lower end of the 95 % interval of `f1`.",
        f1_high="Upper end of the 95 % interval of `f1`.",
        prevalence="Share of residues that are labelled: the average precision of a random order.",
        f1_always_on="F1 of a detector that fires on every residue.",
        f1_chance="F1 expected of firing on as many residues as `best_latent`, at random.",
        average_precision="Average precision of `best_latent` over residues, on report.",
        auroc="Area under the ROC curve of `best_latent` over residues, on report.",
        exact_threshold="Threshold of `best_latent` with the highest F1 on select, of all.",
        exact_f1="F1 at `exact_threshold`, on report.",
        q="q-value of the best pair, corrected over all pairs.",
        amino_acid_share="Share of labelled residues that are `amino_acid`.",
        f1_same_residue="F1 of `best_latent` among residues that are `amino_acid`.",
        f1_every_residue="F1 of calling each of these residues.",
        precision_expected="Precision expected from the amino acids of the firing residues alone.",
        auroc_same_residue="AUROC of `best_latent` within amino acids.",
        found_by_any="Share of instances that any confirmed latent finds.",
        absorbed="Of the instances that the best confirmed latent misses, the share others find.",
    ),
    *_of(
        "Float64",
        f1_lift="`f1` less `f1_always_on`, which is never below `f1_chance`.",
        f1_lift_low="Lower end of the 95 % interval of `f1_lift`.",
        f1_lift_high="Upper end of the 95 % interval of `f1_lift`.",
    ),
    *_of("Int64", "count",
         n_latents="Latents confirmed for it: F1 > 0.5 on both splits.",
         n_latents_beyond_chance="Of these, those that beat the detector that always fires by "
                                 "0.05, with the lower end of the interval."),
    *_of("String", amino_acid="Commonest amino acid of the labelled residues.",
         name="Of a term: its name.", namespace="Of a term: its vocabulary, or part of it."),
    *_of("Int64", "count",
         depth="Of a term: longest way up to a root of the ontology.",
         n_latents_enriched="Of a term: latents whose proteins have it more often."),
    *_of("Float64", information="Of a term: -log2 of the share of proteins that carry it, bits."),
)  # fmt: skip
"""Of ``concepts.parquet``: one row per concept, or per concept and latent that detects it. All
numbers are of report proteins unless they say otherwise; what could not be measured is null, never
NaN."""

TABLES: dict[str, tuple[Column, ...]] = {
    "features.parquet": FEATURE_COLUMNS,
    "concepts.parquet": CONCEPT_COLUMNS,
}


def needed(columns: tuple[Column, ...]) -> list[str]:
    """Return the names of the columns that every bundle has."""
    return [column.name for column in columns if column.needed]


def page() -> str:
    """Return ``docs/reference/columns.md``."""
    words = {"share": "in [0, 1]", "count": "0 or more"}
    lines = [
        "# Columns of a registered model",
        "",
        "Made from `plmsae/concepts/columns.py` by `make docs`. A column has one meaning: "
        "`best_latent` detects a concept best, by F1; `call_latent` makes its calls, by the "
        "precision asked for. F1 and recall are of the first, everything of calls is of the "
        "second. Columns in bold are in every bundle; further columns may follow.",
    ]
    for table, columns in TABLES.items():
        lines += ["", f"## {table}", "", "| column | type | values | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        for column in columns:
            name = f"**`{column.name}`**" if column.needed else f"`{column.name}`"
            values = words.get(column.rule, ", ".join(f"`{v}`" for v in column.rule.split()))
            lines.append(f"| {name} | {column.type} | {values} | {column.meaning} |")
    return "\n".join(lines) + "\n"
