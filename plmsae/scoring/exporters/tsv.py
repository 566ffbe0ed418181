"""One line a protein, in the columns and feature syntax of the UniProt website's export."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from plmsae.proteins.features import Feature, render_features
from plmsae.scoring.exporter import Exporter, scored_proteins
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.uniprot_names import SO_TERMS, as_feature, column_of


def _tsv(folder: ScoreFolder) -> Iterator[tuple[str, int]]:
    yield "\t".join(("Entry", "Length", *SO_TERMS)) + "\n", 0
    for protein, rows in scored_proteins(folder):
        cells: defaultdict[str, list[Feature]] = defaultdict(list)
        for row in rows:
            # Inferred by a model, not by a curator: ECO:0000256 is UniProt's own code for that.
            evidence = f"ECO:0000256|plmsae:{row['model_uri']}"
            feature = as_feature(row["concept"], row["start"], row["end"], evidence=evidence)
            cells[column_of(row["concept"])].append(feature)
        values = [protein["accession"], str(protein["length"])]
        values += [render_features(cells.get(column, ())) for column in SO_TERMS]
        yield "\t".join(" ".join(value.split()) for value in values) + "\n", len(rows)


EXPORTER = Exporter(suffixes=(".tsv",), lines=_tsv)
