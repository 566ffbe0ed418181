"""Labels that are missing: calls where the table has none, ranked by how surely they are right.

A proposal is a call of an annotator that meets its precision, on a stretch where the table does not
already have that concept. It comes with the latent that fired, the residues, and the annotated
stretches most like it: same concept, nearest by the cosine of their mean latents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy.sparse import csr_array, diags_array

from plmsae.concepts.calibration import wilson_interval
from plmsae.concepts.calls import call_all
from plmsae.concepts.latents import Int64, expand, scale, stack_rows
from plmsae.concepts.matching import match_calls
from plmsae.concepts.residue_labels import (
    LABEL_COLUMNS,
    ResidueLabels,
    build_residue_labels,
    ids_of,
)
from plmsae.errors import InputError

PROPOSAL_COLUMNS = (
    "accession", "start", "end", "concept", "score", "latent", "call_precision",
    "call_precision_low", "residues", "similar", "similarity",
)  # fmt: skip


def propose(
    latents: Sequence[csr_array],
    sequences: Sequence[str],
    labels: ResidueLabels,
    annotator: pl.DataFrame,
    max_activation_F: npt.ArrayLike,
    *,
    n_similar: int = 3,
) -> pl.DataFrame:
    """Propose labels that the table lacks.

    Parameters
    ----------
    latents : sequence of csr_array, shape=(length, F)
        Raw activations of the proteins of `labels`.
    sequences : sequence of str
        Those proteins.
    labels : ResidueLabels
        What is known.
    annotator : polars.DataFrame
        :func:`plmsae.concepts.annotator.tune_annotator`'s rows; those that abstain propose nothing.
    max_activation_F : array_like, shape=(F,)
        The scale of each latent.
    n_similar : int
        Annotated stretches named with each proposal.

    Returns
    -------
    polars.DataFrame
        ``accession``, ``start``, ``end`` (1-based inclusive), ``concept``, ``score``, ``latent``,
        ``call_precision``, ``call_precision_low`` (of the concept, on held-out families),
        ``residues``, ``similar`` (list of ``accession:start-end``), ``similarity`` (their
        cosines); surest first. No proposal shares a residue with a label of its concept.
    """
    if not len(latents) == len(sequences) == len(labels.accessions):
        raise InputError(
            f"latents of {len(latents)} proteins, {len(sequences)} sequences, "
            f"labels of {len(labels.accessions)}"
        )
    speaking = annotator.filter(pl.col("abstains").is_null())
    calls = call_all(latents, speaking, max_activation_F)
    calls = calls.filter(~pl.Series(match_calls(calls, labels).right_K, dtype=pl.Boolean))
    stacked = scale(stack_rows(latents), max_activation_F)
    similar, similarity = _nearest(calls, labels, stacked, n_similar)
    stretch = [
        sequences[p][start - 1 : end]
        for p, start, end in calls.select("protein", "start", "end").iter_rows()
    ]
    names = pl.Series("accession", list(labels.accessions), dtype=pl.String)
    frame = calls.with_columns(
        names.gather(calls["protein"]),
        pl.Series("residues", stretch, dtype=pl.String),
        pl.Series("similar", similar, dtype=pl.List(pl.String)),
        pl.Series("similarity", similarity, dtype=pl.List(pl.Float64)),
    ).join(
        speaking.select("concept", "call_precision", "call_precision_low"),
        on="concept",
        how="left",
    )
    return frame.select(PROPOSAL_COLUMNS).sort(
        ["call_precision_low", "score", "accession", "start", "concept"],
        descending=[True, True, False, False, False],
    )


def hide_labels(
    label_table: pl.DataFrame,
    share: float,
    seed: int,
    clusters: dict[str, int] | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hide a share of the labels, to see later how many come back.

    Parameters
    ----------
    label_table : polars.DataFrame
        A label table.
    share : float
        Share to hide, in (0, 1).
    seed : int
        Of the choice.
    clusters : dict of str to int, optional
        Homology cluster by accession. Then each concept is hidden in whole clusters, so that no
        relative of a hidden label still carries it; without them, instances are hidden one by one.

    Returns
    -------
    kept, hidden : polars.DataFrame
        Label tables. Proteins stay: it is labels that are hidden, as they are missing in life.
    """
    if not 0 < share < 1:
        raise InputError("the share of labels to hide must lie between 0 and 1", value=str(share))
    table = label_table.select(LABEL_COLUMNS).unique(maintain_order=True)
    rng = np.random.default_rng(seed)
    if clusters is None:
        chosen = pl.Series(rng.random(table.height) < share)
        return table.filter(~chosen), table.filter(chosen)
    lost = [a for a in table["accession"].unique().sort() if a not in clusters]
    if lost:
        raise InputError("a labelled protein is in no homology cluster", record=lost[0])
    keyed = table.with_columns(
        pl.col("accession").replace_strict(clusters, return_dtype=pl.Int64).alias("cluster")
    )
    groups = keyed.select("concept", "cluster").unique().sort("concept", "cluster")
    groups = groups.with_columns(pl.Series("hidden", rng.random(groups.height) < share))
    chosen = keyed.join(groups, on=["concept", "cluster"], maintain_order="left")["hidden"]
    return table.filter(~chosen), table.filter(chosen)


def score_backtest(
    proposals: pl.DataFrame,
    hidden: pl.DataFrame,
    accessions: Sequence[str],
    lengths: Sequence[int],
) -> pl.DataFrame:
    """Say how many hidden labels the proposals brought back, and at which precision.

    Parameters
    ----------
    proposals : polars.DataFrame
        What :func:`propose` found with the hidden labels taken away.
    hidden : polars.DataFrame
        The label table that was hidden.
    accessions, lengths : sequence
        The proteins.

    Returns
    -------
    polars.DataFrame
        One row a concept: ``concept``, ``n_hidden`` (instances), ``n_found``, ``recall``,
        ``n_proposals``, ``n_right`` (that overlap a hidden label), ``precision``,
        ``precision_low``, ``precision_high`` (95 % Wilson). A proposal outside the hidden labels
        counts as wrong, though some are true and were never in the table: a lower estimate.
    """
    # Concepts that were proposed but not hidden have no ids in the hidden labels: add their names.
    labels = build_residue_labels(hidden, accessions, lengths)
    shared = proposals.filter(pl.col("concept").is_in(list(labels.concepts)))
    order = pl.DataFrame({"accession": list(accessions), "protein": range(len(accessions))})
    placed = shared.join(order, on="accession", how="left", maintain_order="left")
    matches = match_calls(placed, labels)
    right = shared.with_columns(pl.Series("right", matches.right_K, dtype=pl.Boolean))
    called = right.group_by("concept").agg(
        pl.len().cast(pl.Int64).alias("n_proposals"), pl.col("right").sum().cast(pl.Int64)
    )
    found = np.bincount(
        labels.concept_I, weights=matches.instance_iou_I > 0, minlength=labels.n_concepts
    )
    frame = pl.DataFrame(
        {
            "concept": list(labels.concepts),
            "n_hidden": labels.instances_C(),
            "n_found": found.astype(np.int64),
        }
    ).join(called, on="concept", how="left", maintain_order="left")
    other = proposals.filter(~pl.col("concept").is_in(list(labels.concepts)))
    more = other.group_by("concept").agg(pl.len().cast(pl.Int64).alias("n_proposals"))
    frame = pl.concat([frame, more], how="diagonal").fill_null(0).sort("concept")
    low, high = wilson_interval(frame["right"].to_numpy(), frame["n_proposals"].to_numpy())
    return frame.select(
        "concept",
        "n_hidden",
        "n_found",
        (pl.col("n_found") / pl.col("n_hidden")).fill_nan(None).alias("recall"),
        "n_proposals",
        pl.col("right").alias("n_right"),
        (pl.col("right") / pl.col("n_proposals")).fill_nan(None).alias("precision"),
        pl.Series("precision_low", low).fill_nan(None),
        pl.Series("precision_high", high).fill_nan(None),
    )


def _nearest(
    calls: pl.DataFrame, labels: ResidueLabels, scaled: csr_array, n_similar: int
) -> tuple[list[list[str]], list[list[float]]]:
    """Name the labelled stretches nearest to each call, of its concept and of other proteins."""
    names: list[list[str]] = [[] for _ in range(calls.height)]
    cosines: list[list[float]] = [[] for _ in range(calls.height)]
    if not calls.height or not labels.n_instances:
        return names, cosines
    protein_K = calls["protein"].to_numpy()
    base = labels.offsets_P1[protein_K]
    call_KF = _directions(
        base + calls["start"].to_numpy() - 1, base + calls["end"].to_numpy(), scaled
    )
    label_IF = _directions(labels.start_I, labels.end_I, scaled)
    concept_K = ids_of(calls["concept"], labels.concepts)
    protein_I = labels.protein_I
    for concept in np.unique(concept_K):
        mine = np.flatnonzero(concept_K == concept)
        known = np.flatnonzero(labels.concept_I == concept)
        cosine = (call_KF[mine] @ label_IF[known].T).toarray()
        cosine[protein_K[mine][:, None] == protein_I[known][None]] = -1
        order = np.argsort(-cosine, axis=1, kind="stable")[:, :n_similar]
        for k, nearest, values in zip(mine, order, cosine, strict=True):
            for i in nearest[values[nearest] > 0]:
                instance = known[i]
                p = protein_I[instance]
                start = labels.start_I[instance] - labels.offsets_P1[p] + 1
                end = labels.end_I[instance] - labels.offsets_P1[p]
                names[k].append(f"{labels.accessions[p]}:{start}-{end}")
                cosines[k].append(float(values[i]))
    return names, cosines


def _directions(start: Int64, end: Int64, scaled: csr_array) -> csr_array:
    """Return the summed latents of each stretch, scaled to unit length."""
    rows = expand(start, end)
    indptr = np.concatenate([[0], np.cumsum(end - start)])
    members = csr_array(
        (np.ones(len(rows), dtype=np.float32), rows, indptr), shape=(len(start), scaled.shape[0])
    )
    summed = members @ scaled
    length = np.sqrt(summed.multiply(summed).sum(axis=1))
    inverse = np.divide(1, length, out=np.zeros(len(length)), where=length > 0)
    return csr_array(diags_array(inverse) @ summed)
