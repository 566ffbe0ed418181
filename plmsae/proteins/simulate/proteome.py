"""A whole simulated proteome: tables of what is known and what is true, and the split."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.families import PROTEOME, STREAM
from plmsae.proteins.simulate.labels import (
    FEATURE_COLUMNS,
    Feature,
    accession_of,
    cells,
    decoys_of,
    features_of,
    terms,
)
from plmsae.proteins.simulate.members import Family, build_family
from plmsae.proteins.simulate.writing import SimulatedProteome

_log = logging.getLogger(__name__)
_SPLIT, _HIDE = 11, 12  # second words of the seeds of what concerns the whole proteome


def simulate(config: SimulateConfig) -> SimulatedProteome:
    """Simulate a proteome.

    Returns
    -------
    SimulatedProteome
        Equal for equal configurations.
    """
    families = [build_family(config, PROTEOME, index) for index in range(config.n_families)]
    heldout = _heldout([family.ancestor.anchor for family in families], config)
    features = [feature for family in families for feature in features_of(family)]
    hidden = _hidden(features, families, heldout, config)
    visible = [feature for feature in features if (feature.accession, feature.source) not in hidden]
    missing = [feature for feature in features if (feature.accession, feature.source) in hidden]
    decoys = [decoy for family in families for decoy in decoys_of(family)]
    train = {
        accession_of(family.index, member)
        for family in families
        if family.index not in heldout
        for member in range(len(family.sequences))
    }
    _log.info(
        "simulated %d families of %d proteins: %d labels, %d hidden",
        len(families), config.proteins_per_family, len(features), len(missing),
    )  # fmt: skip
    return SimulatedProteome(
        config=config,
        table=_table(families, visible),
        truth=_table(families, features),
        hidden=_hidden_table(missing, visible, train),
        decoys=pl.DataFrame(
            {
                "accession": [decoy.accession for decoy in decoys],
                "start": [decoy.start for decoy in decoys],
                "end": [decoy.end for decoy in decoys],
                "decoy": [decoy.name for decoy in decoys],
                "imitates": [decoy.imitates for decoy in decoys],
            },
            schema={"accession": pl.String, "start": pl.Int32, "end": pl.Int32}
            | {"decoy": pl.String, "imitates": pl.String},
        ),
        split=pl.DataFrame(
            [
                (accession_of(family.index, member), family_id(family.index),
                 "heldout" if family.index in heldout else "train")
                for family in families
                for member in range(len(family.sequences))
            ],
            schema={"accession": pl.String, "family": pl.String, "split": pl.String},
            orient="row",
        ),
        families=_family_table(families, heldout),
    )  # fmt: skip


def family_stream(seed: int, config: SimulateConfig | None = None) -> Iterator[list[str]]:
    """Yield the sequences of one family after another, without end: food for pretraining.

    The motifs, modules and fold domains are those of `simulate`; the families are others, whatever
    the two seeds are, so that a model trained on the stream has seen no simulated proteome.

    Parameters
    ----------
    seed : int
        Chooses the families; overrides the seed of `config`.
    config : SimulateConfig, optional
        Sizes, lengths and divergence; `n_families` and what concerns labels is not used.

    Yields
    ------
    list of str
        The members of one family.
    """
    from dataclasses import replace

    settings = replace(config or SimulateConfig(), seed=seed)
    index = 0
    while True:
        yield list(build_family(settings, STREAM, index).sequences)
        index += 1


def family_id(index: int) -> str:
    """Return the ``Cluster ID`` of a family: its number, 1-based."""
    return f"F{index + 1:04d}"


def _heldout(anchors: Sequence[str], config: SimulateConfig) -> set[int]:
    """Choose the held-out families, evenly over anchors.

    A family's rank among those of its anchor, as a share, decides: those with the lowest go. So an
    anchor's last family stays in training as long as it has more than one, and what is held out
    can have been learned elsewhere.
    """
    rng = np.random.default_rng([PROTEOME, config.seed, 0, _SPLIT])
    groups: dict[str, list[int]] = defaultdict(list)
    for index in rng.permutation(len(anchors)):
        groups[anchors[index]].append(int(index))
    place = {
        index: (rank + rng.random()) / len(members)
        for members in groups.values()
        for rank, index in enumerate(members)
    }
    wanted = round(config.heldout_fraction * len(anchors))
    return set(sorted(place, key=place.__getitem__)[:wanted])


def _hidden(
    features: Sequence[Feature], families: Sequence[Family], heldout: set[int],
    config: SimulateConfig,
) -> set[tuple[str, str]]:  # fmt: skip
    """Choose (accession, source) pairs to hide."""
    eligible = {
        accession_of(family.index, member)
        for family in families
        if config.hide_in == "anywhere" or family.index in heldout
        for member in range(len(family.sequences))
    }
    pairs = sorted({(f.accession, f.source) for f in features
                    if f.hideable and f.accession in eligible})  # fmt: skip
    rng = np.random.default_rng([PROTEOME, config.seed, 0, _HIDE])
    count = math.floor(config.hidden_fraction * len(pairs))
    return {pairs[i] for i in rng.permutation(len(pairs))[:count]}


def _table(families: Sequence[Family], features: Sequence[Feature]) -> pl.DataFrame:
    text = cells(features)
    sources: dict[str, set[str]] = defaultdict(set)
    for feature in features:
        sources[feature.accession].add(feature.source)
    rows: dict[str, list[Any]] = defaultdict(list)
    for family in families:
        name = family_id(family.index)
        for member, sequence in enumerate(family.sequences):
            accession = accession_of(family.index, member)
            go, ec = terms(family.ancestor.place, sources[accession])
            mine = text.get(accession, {})
            rows["Entry"].append(accession)
            rows["Entry Name"].append(f"{accession}_SIM")
            rows["Reviewed"].append("reviewed")
            rows["Protein names"].append(f"Simulated protein {name}-{member + 1}")
            rows["Gene Names"].append(f"sim{family.index + 1}_{member + 1}")
            # NCBI's name and taxon for what no organism made.
            rows["Organism"].append("synthetic construct")
            rows["Organism (ID)"].append("32630")
            rows["Length"].append(len(sequence))
            rows["Sequence"].append(sequence)
            for column in FEATURE_COLUMNS:
                rows[column].append(mine.get(column))
            rows["Gene Ontology IDs"].append(go or None)
            rows["EC number"].append(ec or None)
            rows["Cluster ID"].append(name)
    types = {column: pl.String() for column in rows} | {"Length": pl.Int64()}
    return pl.DataFrame(rows, schema=types)


def _hidden_table(
    missing: Sequence[Feature], visible: Sequence[Feature], train: set[str]
) -> pl.DataFrame:
    shown = {f.concept for f in visible if f.accession in train}
    return pl.DataFrame(
        {
            "accession": [f.accession for f in missing],
            "start": [f.start for f in missing],
            "end": [f.end for f in missing],
            "column": [f.column for f in missing],
            "key": [f.key for f in missing],
            "note": [f.note for f in missing],
            "concept": [f.concept for f in missing],
            "source": [f.source for f in missing],
            "learnable": [f.concept in shown for f in missing],
        },
        schema={"accession": pl.String, "start": pl.Int32, "end": pl.Int32}
        | dict.fromkeys(("column", "key", "note", "concept", "source"), pl.String)
        | {"learnable": pl.Boolean},
    )


def _family_table(families: Sequence[Family], heldout: set[int]) -> pl.DataFrame:
    from plmsae.proteins.simulate.alphabet import decode

    roots = [family.ancestor.segment for family in families]
    return pl.DataFrame(
        {
            "family": [family_id(family.index) for family in families],
            "split": ["heldout" if f.index in heldout else "train" for f in families],
            "anchor": [family.ancestor.anchor for family in families],
            "place": [family.ancestor.place for family in families],
            "architecture": [list(family.ancestor.architecture) for family in families],
            "members": [len(family.sequences) for family in families],
            "ancestor": [decode(root.residues[root.present]) for root in roots],
        },
        schema_overrides={"architecture": pl.List(pl.String)},
    )
