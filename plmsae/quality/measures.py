"""Numbers computed over a whole table, on which expectations are put like on a column.

Uniqueness, medians and shares cannot be checked part by part; polars computes them lazily over all
parts, and Great Expectations then judges one row of numbers.
"""

from __future__ import annotations

from collections.abc import Mapping

from plmsae.quality import measures_of_calls as calls
from plmsae.quality import measures_of_sequences as sequences
from plmsae.quality import measures_of_tables as tables
from plmsae.quality.measure import Measure
from plmsae.quality.suites import Kind

_CALLS: tuple[Kind, ...] = ("annotations", "proposals")
_SPANS: tuple[Kind, ...] = ("annotations", "proposals", "labels")
_PROTEINS: tuple[Kind, ...] = ("proteins",)
_SPAN_KEY = ("accession", "start", "end", "concept")

MEASURES: Mapping[str, Measure] = {
    "n_rows": Measure(
        what="number of rows", kinds=("proteins", *_SPANS), columns=(), compute=tables.rows
    ),
    "n_repeated_accessions": Measure(
        what="records that repeat an accession",
        kinds=_PROTEINS,
        columns=("accession",),
        compute=tables.repeats("accession"),
    ),
    "share_repeated_sequences": Measure(
        what="share of the proteins whose sequence another one has too, beyond the first",
        kinds=_PROTEINS,
        columns=("accession", "sequence"),
        compute=sequences.share_repeated_sequences,
    ),
    "median_length": Measure(
        what="median length of a protein (residues)",
        kinds=_PROTEINS,
        columns=("length",),
        compute=sequences.median_length,
    ),
    "share_unknown_residues": Measure(
        what="share of residues that are X",
        kinds=_PROTEINS,
        columns=("sequence",),
        compute=sequences.share_unknown_residues,
    ),
    "composition_divergence": Measure(
        what="Kullback-Leibler divergence of the amino-acid frequencies from Swiss-Prot's (bits)",
        kinds=_PROTEINS,
        columns=("sequence",),
        compute=sequences.composition_divergence,
    ),
    "share_like_nucleotides": Measure(
        what="share of proteins that look like DNA or RNA",
        kinds=_PROTEINS,
        columns=("accession", "sequence"),
        compute=sequences.share_like_nucleotides,
    ),
    "share_rejected": Measure(
        what="share of the records that were rejected on reading, the first one aside",
        kinds=_PROTEINS,
        columns=(),
        needs=("rejected",),
        compute=tables.share_rejected,
    ),
    "n_repeated_spans": Measure(
        what="rows that repeat protein, span and concept",
        kinds=_SPANS,
        columns=_SPAN_KEY,
        compute=tables.repeats(*_SPAN_KEY),
    ),
    "n_models": Measure(
        what="number of different models",
        kinds=_CALLS,
        columns=("model_uri",),
        compute=tables.distinct("model_uri"),
    ),
    "n_concepts": Measure(
        what="number of different concepts",
        kinds=_SPANS,
        columns=("concept",),
        compute=tables.distinct("concept"),
    ),
    "share_of_top_concept": Measure(
        what="share of the rows that carry the most common concept",
        kinds=_SPANS,
        columns=("concept",),
        compute=tables.share_of_most_common("concept"),
    ),
    "median_per_protein": Measure(
        what="median number of rows of a protein that has any",
        kinds=_SPANS,
        columns=("accession",),
        compute=tables.per_protein("median"),
    ),
    "max_per_protein": Measure(
        what="largest number of rows of one protein",
        kinds=_SPANS,
        columns=("accession",),
        compute=tables.per_protein("max"),
    ),
    "excess_whole_protein": Measure(
        what="of the span concept where it is highest: share of its rows that cover more than 90 % "
        "of their protein, less the share of its labels that do (lower end of the 95 % interval)",
        kinds=_CALLS,
        columns=_SPAN_KEY,
        needs=("proteins", "concepts"),
        compute=calls.excess_whole_protein,
    ),
    "excess_one_residue": Measure(
        what="of the span concept where it is highest: share of its rows that are one residue "
        "long, less the share of its labels that are (lower end of the 95 % interval)",
        kinds=_CALLS,
        columns=_SPAN_KEY,
        needs=("concepts",),
        compute=calls.excess_one_residue,
    ),
    "share_annotated": Measure(
        what="share of the proteins that have at least one row",
        kinds=_SPANS,
        columns=("accession",),
        needs=("proteins",),
        compute=tables.share_annotated,
    ),
    "n_concepts_of_two_kinds": Measure(
        what="concepts that are a site in one row and a span in another",
        kinds=("labels",),
        columns=("concept", "kind"),
        compute=tables.concepts_of_two_kinds,
    ),
    "backtest_precision": Measure(
        what="share of the back-test's proposals that were right",
        kinds=("proposals",),
        columns=(),
        needs=("backtest",),
        compute=tables.backtest("n_correct", "n_proposed"),
    ),
    "backtest_recall": Measure(
        what="share of the labels hidden in the back-test that came back",
        kinds=("proposals",),
        columns=(),
        needs=("backtest",),
        compute=tables.backtest("n_recovered", "n_hidden"),
    ),
    "n_overpromised_concepts": Measure(
        what="concepts whose promised precision the back-test refutes (95 % Wilson)",
        kinds=("proposals",),
        columns=("concept", "precision_low"),
        needs=("backtest",),
        compute=tables.overpromised,
    ),
}
"""The measures by name."""
