"""What public code gets wrong about labels, and must not be ours: each name states the opposite."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from plmsae.concepts.association.counts import associate
from plmsae.concepts.labels.label_table import concept_counts, filter_concepts, labels_from_uniprot
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.proteins.uniprot import read_table

LENGTH = 100


@pytest.fixture
def labels_of(tmp_path: Path):
    """The labels of one protein, from the columns of a UniProt export to the label table."""

    def read(**cells: str) -> pl.DataFrame:
        columns = {"Entry": "P12345", "Sequence": "MA" * (LENGTH // 2)}
        columns |= {name.replace("_", " ").replace("Domain", "Domain [FT]"): cell
                    for name, cell in cells.items()}  # fmt: skip
        path = tmp_path / "export.tsv"
        path.write_text("\t".join(columns) + "\n" + "\t".join(columns.values()) + "\n")
        return labels_from_uniprot(read_table(path))

    return read


def places(labels: pl.DataFrame, concept: str) -> list[tuple[int, int]]:
    return labels.filter(concept=concept).select("start", "end").rows()


def test_binding_sites_are_named_by_their_ligand_not_lost_for_want_of_a_note(labels_of):
    # Elsewhere names come from /note= alone, and every binding site's column is empty.
    labels = labels_of(Binding_site='BINDING 9; /ligand="ATP"; /ligand_id="ChEBI:CHEBI:30616"')
    assert places(labels, "Binding site") == places(labels, "Binding site: ATP") == [(9, 9)]


def test_cofactors_are_read_by_their_name_and_label_residues(labels_of):
    # Elsewhere names come from /note= alone, and a cofactor, which has Name=, labels nothing.
    labels = labels_of(
        Binding_site='BINDING 5; /ligand="Zn(2+)"',
        Cofactor="COFACTOR: Name=Zn(2+); Xref=ChEBI:CHEBI:29105;",
    )
    assert places(labels, "Cofactor") == places(labels, "Cofactor: Zn(2+)") == [(5, 5)]


def test_signal_peptides_and_active_sites_without_a_note_count(labels_of):
    # Elsewhere names come from /note= alone, and features that carry nothing are empty columns.
    labels = labels_of(
        Signal_peptide='SIGNAL 1..20; /evidence="ECO:0000255"', Active_site="ACT_SITE 5"
    )
    assert places(labels, "Signal peptide") == [(1, 20)]
    assert places(labels, "Active site") == [(5, 5)]


def test_a_class_keeps_its_members_that_are_too_rare_to_be_concepts(labels_of):
    # Elsewhere the "any" class is made of the common members, and rare domains count as negatives.
    labels = labels_of(
        Domain='DOMAIN 1..9; /note="SH3"; DOMAIN 21..29; /note="SH3"; DOMAIN 41..49; /note="Odd"'
    )
    kept = filter_concepts(labels, min_spans=2)
    assert dict(concept_counts(kept).select("concept", "n_spans").iter_rows()) == {
        "Domain": 3,
        "Domain: SH3": 2,
    }
    # The same where the evaluation itself drops what is too rare.
    laid = build_residue_labels(labels, ["P12345"], [LENGTH])
    laid = laid.keep_concepts(laid.instances_C() >= 2)
    residues = dict(zip(laid.concepts, laid.residues_C(), strict=True))
    assert residues == {"Domain": 27, "Domain: SH3": 18}
    assert laid.mask_CN().toarray()[laid.concepts.index("Domain"), 45]


def test_overlapping_annotations_stay_instances_of_their_own(labels_of):
    # Elsewhere the later one overwrites the instance id of the earlier: one of two is never found.
    labels = labels_of(Domain='DOMAIN 1..60; /note="A"; DOMAIN 20..30; /note="B"')
    laid = build_residue_labels(labels, ["P12345"], [LENGTH])
    domain = laid.concepts.index("Domain")
    assert laid.instances_C()[domain] == 2
    assert laid.residues_C()[domain] == 60
    dense = np.zeros((LENGTH, 3), dtype=np.float32)
    dense[[24, 4, 59], [0, 1, 2]] = 1  # in both; before and behind the inner one
    found = associate([csr_array(dense)], laid, [1, 1, 1], thresholds=(0.5,)).found_CFT()
    assert found[domain, :, 0].tolist() == [2, 1, 1]


def test_site_or_span_follows_the_feature_key_not_a_piece_of_the_name(labels_of):
    # Elsewhere a substring decides: a region called "active site" is scored as a site.
    labels = labels_of(
        Region='REGION 3..9; /note="Active site loop"',
        Domain='DOMAIN 3..90; /note="Modified binding site"',
        Modified_residue='MOD_RES 5; /note="Domain"',
        Site='SITE 7..8; /note="Cleavage region"',
    )
    kinds = dict(labels.select("concept", "kind").unique().iter_rows())
    assert kinds == {
        "Region": "span",
        "Region: Active site loop": "span",
        "Domain": "span",
        "Domain: Modified binding site": "span",
        "Modified residue": "site",
        "Modified residue: Domain": "site",
        "Site": "site",
        "Site: Cleavage region": "site",
    }
    laid = build_residue_labels(labels, ["P12345"], [LENGTH])
    counts = associate([csr_array((LENGTH, 1), dtype=np.float32)], laid, [1.0])
    targets = dict(zip(laid.concepts, counts.targets_C, strict=True))
    assert targets["Domain: Modified binding site"] == 1  # an instance is a hit or is not
    assert targets["Site: Cleavage region"] == 2  # each residue counts
