"""One line per protein, in the columns and feature syntax of the UniProt website's export."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from plmsae.proteins.features import Feature, render_features
from plmsae.scoring.exporter import Exporter, scored_proteins
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.uniprot_names import SO_TERMS, as_feature, column_of

#: Deep learning neural network method evidence used in automatic assertion (Evidence and
#: Conclusion Ontology, release 2024-07-19).
EVIDENCE = "ECO:0008006"


def _uniprot(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "\t".join(("Entry", "Length", *SO_TERMS)) + "\n", 0
    for protein, rows in scored_proteins(folder):
        cells: defaultdict[str, list[Feature]] = defaultdict(list)
        for row in rows:
            evidence = f"{EVIDENCE}|plmsae:{row['model_uri']}"
            feature = as_feature(row["concept"], row["start"], row["end"], evidence=evidence)
            cells[column_of(row["concept"])].append(feature)
        values = [protein["accession"], str(protein["length"])]
        values += [render_features(cells.get(column, ())) for column in SO_TERMS]
        yield "\t".join(" ".join(value.split()) for value in values) + "\n", len(rows)


EXPORTER = Exporter(suffixes=(".uniprot.tsv",), lines=_uniprot)
