"""Headers, patterns and conventions against what their owners publish."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from plmsae.concepts.labels.label_table import with_interplm_kinds
from plmsae.concepts.labels.names import INTERPLM_SITES
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.prosite import compile_pattern
from plmsae.proteins.uniprot import FEATURE_COLUMNS

HERE = Path(__file__).parent


def test_feature_columns_have_the_labels_and_keys_of_uniprots_api() -> None:
    table = pl.read_csv(HERE / "uniprot_return_fields.tsv", separator="\t", comment_prefix="#")
    published = {
        label.replace("Domain[FT]", "Domain [FT]"): field.removeprefix("ft_").upper()
        for label, field in table.iter_rows()
    }
    assert published == FEATURE_COLUMNS


# Of PROSITE, as public copies have them (docs/reference/outside.md).
WD_REPEATS_1 = (
    "[LIVMSTAC]-[LIVMFYWSTAGC]-[LIMSTAG]-[LIVMSTAGC]-x(2)-[DN]-x-{P}-[LIVMWSTAC]-{DP}-"
    "[LIVMFSTAG]-W-[DEN]-[LIVMFSTAGCN]"
)


def test_a_simulated_wd_repeat_ends_in_prosites_signature() -> None:
    ours = compile_pattern(MOTIFS["wd_repeat"].pattern).units
    theirs = compile_pattern(WD_REPEATS_1).units
    for mine, public in zip(ours[-len(theirs) :], theirs, strict=True):
        assert set(mine.allowed) <= set(public.allowed)


@pytest.mark.parametrize(
    ("concept", "kind"),
    [
        ("Active site: Proton acceptor", "site"),
        ("Cofactor: Zn(2+)", "site"),
        ("Modified residue", "site"),
        ("Disulfide bond", "site"),
        ("Binding site: ATP", "span"),
        ("Lipidation", "span"),
        ("Site: Cleavage", "span"),
        ("Cross-link", "span"),
        ("Domain: SH3", "span"),
    ],
)
def test_interplms_kinds_are_those_of_its_code(concept: str, kind: str) -> None:
    # `per_aa_concepts` of interplm/analysis/concepts/concept_constants.py at commit 5f4cbf90a0b3.
    published = ["Active site", "Cofactor", "Glycosylation", "Modified residue", "amino_acid"]
    assert set(INTERPLM_SITES) == {*published, "Disulfide bond"}
    row = {"accession": "P1", "start": 1, "end": 2, "concept": concept, "kind": "none"}
    assert with_interplm_kinds(pl.DataFrame([row]))["kind"].to_list() == [kind]
