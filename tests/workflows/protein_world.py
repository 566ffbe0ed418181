"""A small world of proteins whose terms follow from their composition, and its ontology."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LETTERS = "ACDEFGHIKLMNPQRSTVWY"

OBO = """format-version: 1.4

[Term]
id: GO:0008150
name: biological_process
namespace: biological_process

[Term]
id: GO:0008152
name: metabolic process
namespace: biological_process
subset: goslim_generic
is_a: GO:0008150 ! biological_process

[Term]
id: GO:0000010
name: tryptophan business
namespace: biological_process
subset: goslim_generic
is_a: GO:0008152 ! metabolic process

[Term]
id: GO:0000011
name: deep tryptophan business
namespace: biological_process
relationship: part_of GO:0000010 ! tryptophan business

[Term]
id: GO:0000020
name: lysine binding
namespace: molecular_function
is_a: GO:0003674 ! molecular_function

[Term]
id: GO:0003674
name: molecular_function
namespace: molecular_function

[Term]
id: GO:0000030
name: given up
namespace: molecular_function
is_obsolete: true
"""

COLUMNS = (
    *("Entry", "Entry Name", "Protein names", "Organism", "Length", "Sequence"),
    *("Gene Ontology IDs", "EC number", "Protein families"),
)
GROUPS = (
    ("W", "GO:0000011", "1.1.1.1", "Trp family"),
    ("K", "GO:0000020", "2.7.11.1", "Lys family"),
    ("E", "GO:0008152; GO:0000030", "", "Glu family, Glu subfamily"),
    *(("G", "GO:0008150; GO:0003674; GO:0999999", "", ""),) * 3,
)
"""A favoured amino acid; GO terms, EC number and family of those that favour it."""


def write_world(
    folder: Path, *, n: int = 180, go: bool = True, name: str = "P", seed: int = 0
) -> Path:
    """Write a UniProt table of `n` proteins, as many of each group."""
    rng = np.random.default_rng(seed)
    rows = ["\t".join(COLUMNS if go else [c for c in COLUMNS if not c.startswith("Gene")])]
    for number in range(n):
        letter, terms, ec, family = GROUPS[number % len(GROUPS)]
        weights = np.full(len(LETTERS), 1.0)
        weights[LETTERS.index(letter)] = 8.0
        length = int(rng.integers(30, 60))
        sequence = "".join(rng.choice(list(LETTERS), length, p=weights / weights.sum()))
        cells = [f"{name}{number:05d}", f"{name}{number}_X", "made up", "Nobody", str(length)]
        cells += [sequence, *([terms] if go else []), ec, family]
        rows.append("\t".join(cells))
    path = folder / f"{name}{'' if go else '-no-go'}.tsv"
    path.write_text("\n".join(rows) + "\n")
    return path


def write_obo(folder: Path, text: str = OBO) -> Path:
    """Write the ontology."""
    path = folder / "tiny.obo"
    path.write_text(text)
    return path
