"""Measures of calls against controls: known labels, the reference of the model, the registry."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import polars as pl

from plmsae.concepts.calling.calibration import wilson_interval
from plmsae.concepts.calling.place_matching import right_calls
from plmsae.quality.context import Context
from plmsae.quality.measure import CALLS, EXAMPLES, Measure, Measured

_MEMBRANE = "Transmembrane"
_NOT_SOLUBLE = (_MEMBRANE, "Intramembrane", "Topological domain", "Signal peptide", "Lipidation")
"""Classes whose labels put a protein into a membrane, or send it there: the hydrophobic stretch of
a signal peptide or a lipoprotein is much like a transmembrane helix."""
_BINS = 10
_FEWEST = 100  # fewer calls say nothing of a distribution


def share_soluble_with_membrane_call(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the share of soluble proteins that get a transmembrane call.

    Soluble are the proteins of the table of labels that carry labels and none of `_NOT_SOLUBLE`.
    """
    labels = context.labels.with_columns(pl.col("accession", "concept").cast(pl.String))
    in_membrane = pl.any_horizontal(
        pl.col("concept").str.starts_with(name) for name in _NOT_SOLUBLE
    )
    scored = context.scan("proteins").select(pl.col("accession").cast(pl.String)).unique()
    soluble = (
        labels.lazy()
        .group_by("accession")
        .agg(in_membrane.any())
        .filter(~pl.col("concept"))
        .join(scored, on="accession", how="semi")
        .select("accession")
        .collect()
    )
    if soluble.is_empty():
        return Measured(None)
    wrong = (
        frame.with_columns(pl.col("accession", "concept").cast(pl.String))
        .filter(pl.col("concept").str.starts_with(_MEMBRANE))
        .join(soluble.lazy(), on="accession", how="semi")
        .select("accession")
        .unique()
        .sort("accession")
        .collect(engine="streaming")
    )
    return Measured(wrong.height / soluble.height, tuple(wrong["accession"].head(EXAMPLES)))


def calibration_error(frame: pl.LazyFrame, context: Context) -> Measured:
    """Compare probabilities with the share of right calls, over ten bins, weighted by calls.

    Only calls on proteins that carry labels count: elsewhere nobody knows what is right.
    """
    calls = context.shared(_judged, frame)
    if calls.height < _FEWEST:
        return Measured(None)
    bins = (
        calls.group_by(bin=(pl.col("probability") * _BINS).floor().clip(0, _BINS - 1))
        .agg(
            n=pl.len(),
            promised=pl.col("probability").mean(),
            right=pl.col("right").cast(pl.Float64).mean(),
        )
        .with_columns(gap=(pl.col("promised") - pl.col("right")).abs())
        .sort(pl.col("gap") * pl.col("n"), descending=True)
    )
    error = float((bins["gap"] * bins["n"]).sum() / calls.height)
    return Measured(
        error,
        tuple(
            f"promised {row['promised']:.2f}, {row['right']:.2f} right ({row['n']:,} calls)"
            for row in bins.head(EXAMPLES).iter_rows(named=True)
        ),
    )


def worst_overconfidence(frame: pl.LazyFrame, context: Context) -> Measured:
    """Take the concept whose mean probability is furthest above what its right calls allow.

    That is the upper end of the 95 % Wilson interval of their share, among labelled proteins.
    """
    counts = (
        context.shared(_judged, frame)
        .group_by("concept")
        .agg(n=pl.len(), promised=pl.col("probability").mean(), n_right=pl.col("right").sum())
        .sort("concept")
    )
    if counts.is_empty():
        return Measured(None)
    high = wilson_interval(counts["n_right"].to_numpy(), counts["n"].to_numpy())[1]
    counts = counts.with_columns(gap=pl.col("promised") - pl.Series(high)).sort(
        "gap", descending=True, maintain_order=True
    )
    return Measured(
        max(float(counts["gap"][0]), 0.0),
        tuple(
            f"{row['concept']}: promised {row['promised']:.2f}, {row['n_right']:,} of {row['n']:,} "
            "right"
            for row in counts.filter(pl.col("gap") > 0).head(EXAMPLES).iter_rows(named=True)
        ),
    )


def _judged(frame: pl.LazyFrame, context: Context) -> pl.DataFrame:
    """Return the calls with a probability on labelled proteins, and whether each is right."""
    labels = context.labels.with_columns(
        pl.col("accession", "concept").cast(pl.String), pl.col("start", "end").cast(pl.Int64)
    )
    calls = (
        frame.select(
            pl.col("accession", "concept").cast(pl.String),
            pl.col("start", "end").cast(pl.Int64),
            pl.col("probability").cast(pl.Float64),
        )
        .filter(pl.col("probability").is_not_null())
        .join(labels.lazy().select("accession").unique(), on="accession", how="semi")
        .collect(engine="streaming")
    )
    return calls.with_columns(right=right_calls(calls, labels))


def label_shift(frame: pl.LazyFrame, context: Context) -> Measured:
    """Compare how calls spread over concepts with the reference stored with the model.

    The population-stability index Σ (p − q) ln(p / q) of the shares of calls here (p) and on the
    model's held-out proteins (q); half a call is added to every concept, so that none is empty.
    """
    reference = context.reference_calls
    if reference is None:
        return Measured(None)
    called = frame.select(pl.col("concept").cast(pl.String))
    if "implied" in frame.collect_schema():
        # The reference counts a class beside its kinds; a call is written once and implies it.
        implied = frame.select(pl.col("implied").cast(pl.List(pl.String)).explode())
        called = pl.concat([called, implied.rename({"implied": "concept"}).drop_nulls()])
    here = called.group_by("concept").len("n").collect(engine="streaming")
    both = reference.join(here, on="concept", how="left").with_columns(pl.col("n").fill_null(0))
    # What abstains now was counted when the model was evaluated; nothing of it is missing.
    both = both.filter((pl.col("n") > 0) | ~pl.col("abstains"))
    if both.height < 2 or min(both["n"].sum(), both["n_calls"].sum()) < _FEWEST:
        return Measured(None)
    p, q = (
        (both[name].to_numpy() + 0.5) / (float(both[name].sum()) + 0.5 * both.height)
        for name in ("n", "n_calls")
    )
    terms = (p - q) * np.log(p / q)
    worst = np.argsort(-terms, kind="stable")[:EXAMPLES]
    return Measured(
        float(math.fsum(terms)),
        tuple(f"{both['concept'][int(i)]}: {p[i]:.1%}, reference {q[i]:.1%}" for i in worst),
    )


def excess_of_top_concept(frame: pl.LazyFrame, context: Context) -> Measured:
    """Compare the share of the most common concept with its share on the model's held-out proteins.

    A model that can call two kinds of place calls one of them nearly always, and rightly; so its
    share alone says nothing. Of the reference only what is called by default counts, and no class
    whose kinds are called, as scoring writes a call once.
    """
    reference = context.reference_calls
    if reference is None:
        return Measured(None)
    called = reference.filter(~pl.col("abstains"))
    names = called["concept"].to_list()
    classes = [name for name in names if any(other.startswith(f"{name}:") for other in names)]
    called = called.filter(~pl.col("concept").is_in(classes))
    here = (
        frame.group_by(pl.col("concept").cast(pl.String))
        .len("n")
        .sort("n", "concept", descending=[True, False])
        .collect(engine="streaming")
    )
    if min(int(here["n"].sum()), int(called["n_calls"].sum())) < _FEWEST:
        return Measured(None)
    top, count = here.row(0)
    share = count / int(here["n"].sum())
    of_top = int(called.filter(pl.col("concept") == top)["n_calls"].sum())
    expected = of_top / int(called["n_calls"].sum())
    return Measured(share - expected, (f"{top}: {share:.1%}, reference {expected:.1%}",))


def unregistered(frame: pl.LazyFrame, context: Context) -> Measured:
    """Count the facts of the run that differ from those of the registered model."""
    facts = context.scan("registered").collect()
    odd = facts.filter(~pl.col("used").eq_missing(pl.col("registered")))
    models = facts.filter(pl.col("fact") == "model")["registered"].to_list()
    found = frame.select(pl.col("model_uri").cast(pl.String)).unique().collect()["model_uri"]
    strange = [name for name in found.drop_nulls().sort() if models and name not in models]
    return Measured(
        odd.height + len(strange),
        tuple(
            [
                f"{fact}: used {used}, registered {registered or 'nothing'}"
                for fact, used, registered in odd.select("fact", "used", "registered").iter_rows()
            ]
            + [f"rows of the model {name}" for name in strange]
        )[:EXAMPLES],
    )


MEASURES: Mapping[str, Measure] = {
    "share_soluble_with_membrane_call": Measure(
        what="of the proteins that are labelled, with nothing in a membrane, no signal peptide and "
        "no lipid: share that gets a transmembrane call",
        kinds=CALLS,
        columns=("accession", "concept"),
        needs=("labels", "proteins"),
        compute=share_soluble_with_membrane_call,
    ),
    "calibration_error": Measure(
        what="mean distance between the probability of calls on labelled proteins and the share of "
        "them that is right (ten bins)",
        kinds=("annotations",),
        columns=("accession", "start", "end", "concept", "probability"),
        needs=("labels",),
        compute=calibration_error,
    ),
    "worst_overconfidence": Measure(
        what="of the concept where it is highest: mean probability of its calls on labelled "
        "proteins, less the share of them that is right (upper end of the 95 % interval)",
        kinds=("annotations",),
        columns=("accession", "start", "end", "concept", "probability"),
        needs=("labels",),
        compute=worst_overconfidence,
    ),
    "label_shift": Measure(
        what="population-stability index of the shares of the concepts among the calls, against "
        "the calls on the model's held-out proteins",
        kinds=("annotations",),
        columns=("concept",),
        needs=("concepts",),
        compute=label_shift,
    ),
    "excess_of_top_concept": Measure(
        what="share of the calls that carry the most common concept, minus its share among the "
        "calls on the model's held-out proteins",
        kinds=("annotations",),
        columns=("concept",),
        needs=("concepts",),
        compute=excess_of_top_concept,
    ),
    "n_unregistered_facts": Measure(
        what="facts of the run (model, its files, PLM, its revision) that are not those of the "
        "registered version",
        kinds=CALLS,
        columns=("model_uri",),
        needs=("registered",),
        compute=unregistered,
    ),
}
