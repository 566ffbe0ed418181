"""How many latents are tied to a term, by depth, by information and by broad class.

The pictures of Gujral et al. (PNAS 2025, figures 2 and 3), as tables. A latent is tied to a term if
the pair is confirmed (`enrichment.term_confirmation`); shares are of live latents.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from plmsae.concepts.enrichment.term_confirmation import Confirmation
from plmsae.concepts.labels.protein_terms import GO_SPACES
from plmsae.proteins.ontology import Ontology

METABOLIC = "GO:0008152"
SLIM = "goslim_generic"

ALL_GO = "GO"
"""The three namespaces of GO together."""


def tied_terms(tested: Confirmation, descriptions: pl.DataFrame) -> pl.DataFrame:
    """Return the confirmed pairs with ``name``, ``depth`` and ``information`` of their terms."""
    known = descriptions.select("concept", "namespace", "name", "depth", "information")
    return tested.confirmed.join(known, on=["concept", "namespace"], how="left")


def best_terms(tied: pl.DataFrame) -> pl.DataFrame:
    """Return one row per latent: the confirmed pair with the lowest p-value on the select split."""
    return tied.sort("latent", "log10_p_select", "concept").unique(
        "latent", keep="first", maintain_order=True
    )


def summarise(method: str, tested: Confirmation, tied: pl.DataFrame) -> dict[str, float | str]:
    """Return one row of the table of methods."""
    best = best_terms(tied)
    n_tied = best.height
    go = tied.filter(pl.col("namespace").is_in(GO_SPACES))
    several = tied.filter(pl.col("n_clusters") >= 3)
    return {
        "method": method,
        "n_units": tested.n_units,
        "n_live": tested.n_live,
        "n_tied": n_tied,
        "share": n_tied / max(tested.n_live, 1),
        "n_tied_go": go["latent"].n_unique(),
        "n_tied_3_families": several["latent"].n_unique(),
        "n_terms": tied.select("concept", "namespace").n_unique() if tied.height else 0,
        "n_pairs": tied.height,
        "n_chosen": tested.pairs.height,
        "median_information": _median(best["information"]),
    }


def share_by_depth(
    method: str, tested: Confirmation, tied: pl.DataFrame, terms: pl.DataFrame
) -> pl.DataFrame:
    """Return the share of live latents tied to a term of each depth.

    Parameters
    ----------
    tested, tied
        What the method found.
    terms : polars.DataFrame
        The descriptions of all terms tested.

    Returns
    -------
    polars.DataFrame
        ``method``, ``namespace`` (and `ALL_GO` for the three of GO together), ``depth``,
        ``n_tested`` and ``n_terms`` (terms tested, and tied to a latent), ``n_latents``, ``share``:
        one row for every depth of a tested term. A latent counts at every depth at which it has a
        term.
    """
    found = _with_all_go(tied.drop_nulls("depth"))
    return _shares(method, tested, found, _with_all_go(terms.drop_nulls("depth")), "depth")


def share_by_namespace(
    method: str, tested: Confirmation, tied: pl.DataFrame, terms: pl.DataFrame
) -> pl.DataFrame:
    """Return the share of live latents tied to a term of each namespace, like `share_by_depth`."""
    return _shares(method, tested, tied, terms)


def _with_all_go(frame: pl.DataFrame) -> pl.DataFrame:
    go = frame.filter(pl.col("namespace").is_in(GO_SPACES)).with_columns(namespace=pl.lit(ALL_GO))
    return pl.concat([frame, go])


def _shares(
    method: str, tested: Confirmation, tied: pl.DataFrame, terms: pl.DataFrame, *more: str
) -> pl.DataFrame:
    key = ["namespace", *more]
    found = tied.group_by(key).agg(
        pl.col("concept").n_unique().cast(pl.Int64).alias("n_terms"),
        pl.col("latent").n_unique().cast(pl.Int64).alias("n_latents"),
    )
    every = terms.group_by(key).agg(pl.len().cast(pl.Int64).alias("n_tested"))
    counts = every.join(found, on=key, how="left").with_columns(
        pl.col("n_terms", "n_latents").fill_null(0)
    )
    share = (pl.col("n_latents") / max(tested.n_live, 1)).alias("share")
    columns = [pl.lit(method).alias("method"), *key, "n_tested", "n_terms", "n_latents", share]
    return counts.sort(key).select(columns)


def share_by_information(
    method: str, tested: Confirmation, tied: pl.DataFrame, terms: pl.DataFrame
) -> pl.DataFrame:
    """Return the share of live latents tied to a term of at least this many bits.

    Unlike depth, which depends on how finely an ontology is cut, information is a matter of the
    proteins: 3 bits are a term that one protein in eight carries.

    Returns
    -------
    polars.DataFrame
        ``method``, ``bits`` (0, 1, … as far as any term tested goes), ``n_latents``, ``share``.
    """
    best = tied.group_by("latent").agg(pl.col("information").max())["information"].to_numpy()
    bits = np.arange(int(np.floor(terms["information"].to_numpy().max(initial=0))) + 1)
    n_latents = np.array([int((best >= bit).sum()) for bit in bits], dtype=np.int64)
    return pl.DataFrame(
        {
            "method": [method] * len(bits),
            "bits": bits.astype(np.int32),
            "n_latents": n_latents,
            "share": n_latents / max(tested.n_live, 1),
        }
    )


def process_classes(ontology: Ontology | None) -> dict[str, bool | None]:
    """Return the broad classes of biological processes, and whether each is metabolic.

    The classes are the processes that the ontology marks as members of the generic GO slim; where
    it marks none, its processes at depth 0 and 1. One is metabolic if it is GO:0008152 or descends
    from it; None if the ontology (a slim that is cut off above) lacks that term.
    """
    if ontology is None:
        return {}
    processes = [term for term in ontology if term.namespace == GO_SPACES[0] and not term.obsolete]
    chosen = [term.id for term in processes if SLIM in term.subsets]
    chosen = chosen or [term.id for term in processes if ontology.depth(term.id) <= 1]
    root = ontology.resolve(METABOLIC)
    if root is None:
        return dict.fromkeys(chosen)
    return {term: term == root or root in ontology.ancestors(term) for term in chosen}


def class_table(
    tested: Confirmation, tied: pl.DataFrame, ontology: Ontology | None
) -> pl.DataFrame:
    """Return the share of latents by broad process, by family and by enzyme class.

    Returns
    -------
    polars.DataFrame
        ``kind`` (``process``, ``family``, ``enzyme``), ``concept``, ``name``, ``metabolic`` (of
        processes), ``n_latents``, ``share`` of live latents; by kind, largest first. A latent
        counts in every class in which it has a term.
    """
    metabolic = process_classes(ontology)
    members: dict[tuple[str, str], set[int]] = {}
    names: dict[str, str | None] = {}
    for latent, concept, namespace, name in tied.select(
        "latent", "concept", "namespace", "name"
    ).iter_rows():
        if namespace == GO_SPACES[0] and ontology is not None:
            for found in {concept, *ontology.ancestors(concept)} & metabolic.keys():
                members.setdefault(("process", found), set()).add(latent)
                names[found] = ontology[found].name
        elif namespace == "family" or (namespace == "ec" and "." not in concept):
            kind = "family" if namespace == "family" else "enzyme"
            members.setdefault((kind, concept), set()).add(latent)
            names[concept] = name
    concepts = [concept for _, concept in members]
    frame = pl.DataFrame(
        {
            "kind": [kind for kind, _ in members],
            "concept": concepts,
            "name": [names[concept] for concept in concepts],
            "metabolic": [metabolic.get(concept) for concept in concepts],
            "n_latents": [len(latents) for latents in members.values()],
        },
        schema={
            **dict.fromkeys(("kind", "concept", "name"), pl.String),
            **{"metabolic": pl.Boolean, "n_latents": pl.Int64},
        },
    )
    share = (pl.col("n_latents") / max(tested.n_live, 1)).alias("share")
    return frame.with_columns(share).sort(
        "kind", "n_latents", "concept", descending=[False, True, False]
    )


def _median(values: pl.Series) -> float:
    median = values.median()
    return float(median) if isinstance(median, int | float) else 0.0
