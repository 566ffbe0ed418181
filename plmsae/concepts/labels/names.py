"""One name for each concept: how a feature's note or ligand becomes the name of a concept.

The rules depend on the feature alone and not on the table, so that yeast and *B. subtilis*, read a
year apart, give the same names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import polars as pl

from plmsae.proteins.features import Feature

CLASS_OF_KEY: dict[str, str] = {
    "ACT_SITE": "Active site",
    "BINDING": "Binding site",
    "METAL": "Binding site",
    "NP_BIND": "Binding site",
    "CA_BIND": "Binding site",
    "SITE": "Site",
    "DNA_BIND": "DNA binding",
    "DISULFID": "Disulfide bond",
    "CARBOHYD": "Glycosylation",
    "LIPID": "Lipidation",
    "MOD_RES": "Modified residue",
    "CROSSLNK": "Cross-link",
    "NON_STD": "Non-standard residue",
    "INIT_MET": "Initiator methionine",
    "SIGNAL": "Signal peptide",
    "TRANSIT": "Transit peptide",
    "PROPEP": "Propeptide",
    "PEPTIDE": "Peptide",
    "HELIX": "Helix",
    "STRAND": "Beta strand",
    "TURN": "Turn",
    "TRANSMEM": "Transmembrane",
    "INTRAMEM": "Intramembrane",
    "TOPO_DOM": "Topological domain",
    "COILED": "Coiled coil",
    "COMPBIAS": "Compositional bias",
    "DOMAIN": "Domain",
    "MOTIF": "Motif",
    "REGION": "Region",
    "REPEAT": "Repeat",
    "ZN_FING": "Zinc finger",
}
"""Feature key → concept class. Keys left out (CHAIN, VARIANT, MUTAGEN, CONFLICT …) describe the
record or an experiment, not what the residues are."""

SITE_KEYS = frozenset(
    (
        *("ACT_SITE", "BINDING", "METAL", "NP_BIND", "CA_BIND", "SITE", "DISULFID", "CARBOHYD"),
        *("LIPID", "MOD_RES", "CROSSLNK", "NON_STD", "INIT_MET"),
    )
)
"""Keys whose concepts are of kind ``site`` (each residue counts); all others are ``span``."""

INTERPLM_SITES = (
    *("Active site", "Cofactor", "Glycosylation", "Modified residue", "amino_acid"),
    "Disulfide bond",
)
"""Words in the names of the concepts that InterPLM counts by residue; all others it counts by
domain, so also Binding site, Lipidation, Site and Cross-link. It is ``per_aa_concepts`` of the
repository ElanaPearl/InterPLM, file ``interplm/analysis/concepts/concept_constants.py``."""

BOND_KEYS = frozenset({"DISULFID", "CROSSLNK"})
"""Keys whose two positions are the ends of a bond, with nothing labelled between them."""

COFACTOR_NAME = re.compile(r"\bName=([^;{]+)")
"""A name in UniProt's column Cofactor."""

_NUMBER_AT_END = re.compile(r"(?:^|(?<=\s))[0-9]+(?:-[0-9]+)*[a-z]?$")
_BRACKET_AT_END = re.compile(r"\s*\((?:covalent|with|between)\b[^()]*\)$", re.IGNORECASE)
_PREFIX = "(microbial infection)"
_LOWER_WORD = re.compile(r"[a-z]{3,}(?![A-Za-z0-9(])")


def class_name(feature: Feature) -> str | None:
    """Return the class of `feature` (``Binding site``), or None if its key is no concept."""
    return CLASS_OF_KEY.get(feature.key)


def member_name(feature: Feature) -> str:
    """Return what distinguishes `feature` within its class (``ATP``, ``WD``), or "".

    Binding sites are named by ``/ligand=``, all others by ``/note=`` (METAL and NP_BIND, the keys
    of exports from before 2022, have the ligand there).
    """
    qualifiers = feature.qualifiers
    if feature.key == "BINDING":
        return tidy_name(qualifiers.get("ligand") or "")
    if feature.key == "CA_BIND":
        return "Ca(2+)"
    name = tidy_name(qualifiers.get("note", ""))
    if feature.key == "SIGNAL" and name.casefold().split(" ")[0] == "or":
        return ""  # "Or 17": another cleavage site, not a name
    return name


def tidy_name(text: str) -> str:
    """Return `text` as a concept's name.

    Blanks are single; what follows the first ``;`` (``by PKA``, ``atypical``, ``partial``) is cut,
    as are a number at the end (``WD 3``, ``EF-hand 2``, ``C4-type 1``, ``1-2``) and the partner of
    a bond (``(with C-34)``); ``type-1`` stays. A first word of three or more lower-case letters
    gets a capital, so that ``proton donor`` and ``Proton donor`` are one, and ``tRNA`` stays.

    Examples
    --------
    >>> tidy_name("WD 3"), tidy_name("Phosphoserine; by PKA"), tidy_name("PTS EIIB type-1")
    ('WD', 'Phosphoserine', 'PTS EIIB type-1')
    """
    name = " ".join(text.split())
    if name.casefold().startswith(_PREFIX):
        name = name[len(_PREFIX) :].lstrip()
    name = name.partition(";")[0].strip()
    name = _BRACKET_AT_END.sub("", name)
    name = _NUMBER_AT_END.sub("", name).strip().rstrip(".,: ")
    if _LOWER_WORD.match(name):
        name = name[0].upper() + name[1:]
    return name


def names_of_ids(concepts: pl.DataFrame) -> pl.DataFrame:
    """Return the names of the concepts that go by an id, as GO terms do.

    Parameters
    ----------
    concepts : polars.DataFrame
        A bundle's ``concepts.parquet``, with or without a column ``name``.

    Returns
    -------
    polars.DataFrame
        ``concept`` and ``name``, one row for each that has a name other than itself.
    """
    if "name" not in concepts.columns:
        return pl.DataFrame(schema={"concept": pl.String, "name": pl.String})
    named = concepts.select("concept", "name").filter(pl.col("name") != pl.col("concept"))
    return named.unique("concept", keep="first", maintain_order=True)


def named(row: Mapping[str, Any]) -> str:
    """Return a row's ``concept`` with the ``name`` of its id, where it has another one."""
    concept: str = row["concept"]
    name = row.get("name")
    return concept if name in (None, "", concept) else f"{concept} {name}"
