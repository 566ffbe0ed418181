from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_fakes import (
    CONCEPTS,
    LETTERS,
    FakeBundle,
    FakeEncoder,
    FakeMeta,
    concept_rows,
    contents,
    proteome,
)

from plmsae.concepts.labels.label_table import labels_from_uniprot
from plmsae.core.errors import InputError
from plmsae.proteins.uniprot import read_table
from plmsae.scoring.fill import FillResult, fill, start_fill_over
from plmsae.scoring.schema import ABSTAINED, PROPOSALS
from plmsae.scoring.similar import Witnesses
from plmsae.scoring.truth import check_against_truth

COLUMNS = ("Domain [FT]", "Binding site", "Coiled coil")


def write_table(path: Path, rows: list[tuple[str, str, dict[str, str]]]) -> Path:
    lines = ["\t".join(("Entry", "Length", "Sequence", *COLUMNS))]
    for accession, sequence, features in rows:
        cells = [features.get(column, "") for column in COLUMNS]
        lines.append("\t".join((accession, str(len(sequence)), sequence, *cells)))
    path.write_text("\n".join(lines) + "\n")
    return path


def run(path: Path, out: Path, **changed: Any) -> FillResult:
    arguments: dict[str, Any] = {
        "bundle": FakeBundle(),
        "encoder": FakeEncoder(),
        "model_uri": "fake/1",
        "part_residues": 300,
        # Of a table that lacks everything a proposal's precision is that of calls; the share has
        # tests of its own.
        "missing_share": 1.0,
    }
    return fill(path, out=out, **(arguments | changed))


W = LETTERS.index("W")
F_BOX = 'DOMAIN 3..6; /note="W-rich"'


def test_a_label_the_table_lacks_is_proposed_with_everything_a_curator_needs(
    tmp_path: Path,
) -> None:
    rows = [
        ("HAS", "AAWWWWAACDEF", {"Domain [FT]": F_BOX}),
        ("FAR", "GGGGGGGGGGGGWWWW", {"Domain [FT]": 'DOMAIN 13..16; /note="W-rich"'}),
        ("LACKS", "AAWWWWAACDEFG", {}),
    ]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out")
    found = result.proposals().filter(concept="Domain: W-rich").to_dicts()
    assert found == [
        {
            "accession": "LACKS",
            "start": 3,
            "end": 6,
            "concept": "Domain: W-rich",
            "name": None,
            "score": 1.0,
            "precision": 0.95,
            "precision_low": 0.9,
            "precision_high": 0.975,
            "call_precision": 0.95,
            "probability": None,
            "latents": [W],
            "implied": ["Domain"],
            "sequence_stretch": "WWWW",
            "evidence": ["HAS", "FAR"],
            "homologue": None,
            "homologue_identity": None,
            "model_uri": "fake/1",
        }
    ]
    path = result.proposals_path / "part-00000.parquet"
    assert pq.read_schema(path).equals(PROPOSALS)
    assert pq.read_schema(result.abstained_path).equals(ABSTAINED)


def test_a_proposal_names_the_relative_that_has_the_label_in_the_same_place(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    ends = ["".join(rng.choices("CDEFHIKLMNPQRSTVY", k=40)) for _ in range(2)]
    rows = [
        ("HAS", ends[0] + "WWWW" + ends[1], {"Domain [FT]": 'DOMAIN 41..44; /note="W-rich"'}),
        ("NEAR", ends[0] + "WWWW" + ends[1].replace("K", "R") + "WWWW", {}),
    ]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out")
    found = result.proposals().filter(concept="Domain: W-rich")
    named = dict(found.select("start", "homologue").iter_rows())
    assert named == {41: "HAS", 85: None}
    assert 0.85 < found.filter(start=41)["homologue_identity"][0] < 1
    assert result.n_with_homologue == result.proposals()["homologue"].count()


def test_the_tsv_says_the_same_as_the_parquet(tmp_path: Path) -> None:
    rows = [("HAS", "AAWWWW", {"Domain [FT]": F_BOX}), ("LACKS", "AAWWWWAAKL", {})]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out")
    tsv = pl.read_csv(result.path / "proposals.tsv", separator="\t")
    parquet = result.proposals()
    assert tsv.columns == PROPOSALS.names
    same = ["accession", "start", "end", "concept", "precision", "sequence_stretch"]
    assert tsv.select(same).rows() == parquet.select(same).rows()
    assert tsv["latents"].cast(pl.String).to_list() == [
        ";".join(map(str, latents)) for latents in parquet["latents"]
    ]


def test_proposals_are_ranked_by_precision_then_score(tmp_path: Path) -> None:
    rows = [(name, sequence, {}) for name, sequence in proteome(bad=False)]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out")
    ranks = result.proposals().select("precision", "precision_low", "score").rows()
    assert len(ranks) > 20
    assert ranks == sorted(ranks, reverse=True)


@pytest.mark.parametrize(
    ("label", "blocked"),
    [
        ('DOMAIN 6..9; /note="W-rich"', {"Domain", "Domain: W-rich"}),  # one shared residue
        ('DOMAIN 7..9; /note="W-rich"', set()),  # none
        ("DOMAIN 1..3", {"Domain", "Domain: W-rich"}),  # the class covers its members
        ('DOMAIN 3..6; /note="Other"', {"Domain", "Domain: W-rich"}),  # a doubt, not a gap
        ("DOMAIN <1..3", {"Domain", "Domain: W-rich"}),
        ("DOMAIN ?..3", set()),  # nobody knows where
    ],
)
def test_what_the_table_has_there_is_not_proposed(
    tmp_path: Path, label: str, blocked: set[str]
) -> None:
    rows = [("P1", "AAWWWWAAAA", {"Domain [FT]": label})]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out")
    proposed = {"Domain", "Domain: W-rich"} - blocked
    # A class is not proposed beside its member, which implies it.
    assert set(result.proposals()["concept"]) == proposed - {"Domain"}
    assert result.n_implied == len(proposed & {"Domain"})
    assert result.n_known == len(blocked)


feature = st.builds(
    lambda start, length, column, name: (start, start + length, column, name),
    st.integers(1, 20),
    st.integers(0, 8),
    st.sampled_from(COLUMNS),
    st.sampled_from(["", "W-rich", "ATP", "Other"]),
)
KEYS = {"Domain [FT]": ("DOMAIN", "note"), "Binding site": ("BINDING", "ligand")}


def cells(features: list[tuple[int, int, str, str]], length: int) -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for start, end, column, name in features:
        key, qualifier = KEYS.get(column, ("COILED", "note"))
        if end <= length:
            named = f'; /{qualifier}="{name}"' if name else ""
            found.setdefault(column, []).append(f"{key} {start}..{end}{named}")
    return {column: "; ".join(texts) for column, texts in found.items()}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.text("WKLEHA", min_size=1, max_size=24), st.lists(feature, max_size=4)),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from([0.0, 0.65, 0.9]),
)
def test_a_fill_never_repeats_a_label_and_accounts_for_every_call(
    proteins: list[tuple[str, list[tuple[int, int, str, str]]]], min_precision: float
) -> None:
    rows = [(f"P{i}", s, cells(features, len(s))) for i, (s, features) in enumerate(proteins)]
    with tempfile.TemporaryDirectory() as folder:
        path = write_table(Path(folder) / "x.tsv", rows)
        result = run(path, Path(folder) / "out", min_precision=min_precision)
        proposals = result.proposals()
        labels = labels_from_uniprot(read_table(path)).rows()
        calls = pl.concat(
            pl.read_parquet(part)
            for part in sorted((Path(folder) / "out" / "scores" / "annotations").iterdir())
        )
        abstained = pl.read_parquet(result.abstained_path)
    sequences = {name: sequence for name, sequence, _ in rows}
    expected = 0
    for call in calls.iter_rows(named=True):
        known = any(
            accession == call["accession"]
            and start <= call["end"]
            and call["start"] <= end
            and (
                concept == call["concept"]
                or concept.startswith(call["concept"] + ": ")
                or call["concept"].startswith(concept + ": ")
            )
            for accession, start, end, concept, _ in labels
        )
        low = call["precision_low"]
        expected += not known and low is not None and low >= min_precision
        same = proposals.filter(
            *(pl.col(name) == call[name] for name in ("accession", "start", "end", "concept"))
        )
        assert not (known and same.height)
    assert proposals.height == result.n_proposed == expected - result.n_implied
    accounted = result.n_known + result.n_withheld + result.n_implied + result.n_proposed
    assert result.n_calls == accounted == calls.height
    for row in proposals.iter_rows(named=True):
        stretch = sequences[row["accession"]][row["start"] - 1 : row["end"]]
        assert row["sequence_stretch"] == stretch
        assert row["precision_low"] >= min_precision
        assert row["accession"] not in row["evidence"]
        assert len(row["evidence"]) <= 3
    assert not set(proposals["concept"]) & set(abstained["concept"])


def test_a_concept_whose_precision_is_unknown_or_too_low_abstains_and_says_why(
    tmp_path: Path,
) -> None:
    rows = [("P1", "AAWWWWAAKHL", {})]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out", min_precision=0.65)
    abstained = {row[0]: row[1:] for row in pl.read_parquet(result.abstained_path).iter_rows()}
    assert set(abstained) == {"Active site", "Binding site: ATP"}
    assert abstained["Active site"] == ("its precision was never measured", 1, None)
    assert abstained["Binding site: ATP"][1:] == (1, 0.5)
    assert "0.5" in abstained["Binding site: ATP"][0]
    assert "0.65" in abstained["Binding site: ATP"][0]
    assert result.n_withheld == 2
    assert result.min_precision == 0.65


def test_a_concept_without_a_latent_abstains(tmp_path: Path) -> None:
    lost = concept_rows(("Region", "span", "A", None, None)).with_columns(
        call_latent=pl.lit(None, pl.Int32), call_threshold=pl.lit(None, pl.Float64)
    )
    bundle = FakeBundle(concepts=pl.concat([CONCEPTS, lost]))
    rows = [("P1", "AAWWWWAA", {})]
    result = run(write_table(tmp_path / "x.tsv", rows), tmp_path / "out", bundle=bundle)
    reasons = dict(pl.read_parquet(result.abstained_path).select("concept", "reason").iter_rows())
    assert reasons["Region"] == "no latent detects it"


def test_the_bundle_s_own_precision_holds_unless_another_is_asked_for(tmp_path: Path) -> None:
    bundle = FakeBundle(meta=FakeMeta(min_precision=0.9))
    path = write_table(tmp_path / "x.tsv", [("P1", "AAWWWWAALL", {})])
    own = run(path, tmp_path / "out", bundle=bundle)
    assert set(own.proposals()["concept"]) == {"Domain: W-rich"}
    encoder = FakeEncoder()
    every = run(path, tmp_path / "out", bundle=bundle, encoder=encoder, min_precision=0.0)
    assert set(every.proposals()["concept"]) == {"Domain: W-rich", "Coiled coil"}
    assert every.n_implied == 1
    assert encoder.calls == 0  # another precision needs no new scores


def test_filling_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [(name, sequence, {}) for name, sequence in proteome(bad=False)]
    rows[3] = (rows[3][0], "AAWWWWAA", {"Domain [FT]": F_BOX})
    path = write_table(tmp_path / "x.tsv", rows)
    run(path, tmp_path / "a")
    run(path, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.fasta").write_text(">P1\nAAA\n")
    with pytest.raises(InputError, match="UniProt table"):
        run(tmp_path / "x.fasta", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Witnesses.


def test_the_most_similar_witnesses_come_first_and_a_protein_is_not_its_own() -> None:
    sequences = {"Q": "ACDEFGHIKL", "near": "ACDEFGHIKM", "half": "ACDEFGWWWW", "far": "WWWWWWWW"}
    witnesses = Witnesses(sequences)
    for accession, value in (("far", 1.0), ("half", 0.2), ("near", 0.1), ("Q", 1.0)):
        witnesses.add("Domain", [7], accession, value)
    assert witnesses.closest("Domain", [7], ["Q", "far"]) == [
        ["near", "half", "far"],
        ["half", "Q", "near"],
    ]
    assert witnesses.closest("Domain", [7], ["Q"], n=1) == [["near"]]
    assert witnesses.closest("Domain", [8], ["Q"]) == [[]]
    assert witnesses.closest("Other", [7], []) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text("ABZ", min_size=1, max_size=12), min_size=1, max_size=8))
def test_similarity_is_the_share_of_words_in_common(sequences: list[str]) -> None:
    named = {f"P{i}": sequence for i, sequence in enumerate(sequences)}
    witnesses = Witnesses(named)
    for accession in named:
        witnesses.add("Domain", [0], accession, 0.5)

    def words(sequence: str) -> set[str]:
        return {sequence[i : i + 4] for i in range(len(sequence) - 3)}

    def similarity(one: str, other: str) -> float:
        mine, theirs = words(named[one]), words(named[other])
        return len(mine & theirs) / max(1, len(mine | theirs))

    found = witnesses.closest("Domain", [0], list(named), n=9)
    for one, ranked in zip(named, found, strict=True):
        others = [other for other in named if other != one]
        assert ranked == sorted(others, key=lambda other: (-similarity(one, other), other))


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(25)))
def test_witnesses_are_bounded_and_do_not_depend_on_the_order_they_come_in(
    order: list[int],
) -> None:
    sequences = {f"P{i:02d}": "ACDEFGHIKL" for i in range(25)}
    witnesses = Witnesses(sequences, per_pair=5)
    for i in order:
        witnesses.add("Domain", [0], f"P{i:02d}", float(i // 2))
    assert witnesses.closest("Domain", [0], ["P00"], n=9) == [["P24", "P22", "P23", "P20", "P21"]]


# Against the truth.

COUNTED = ("concept", "hidden", "recovered", "proposed", "correct", "precision")


def labels(*rows: tuple[str, int, int, str]) -> pl.DataFrame:
    schema = {"accession": pl.String, "start": pl.Int32, "end": pl.Int32, "concept": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row")


def test_hidden_labels_are_counted_as_recovered_and_proposals_as_correct() -> None:
    known = labels(("P1", 1, 5, "Domain: A"), ("P1", 1, 5, "Domain"))
    truth = pl.concat(
        [
            known,
            labels(
                ("P1", 11, 20, "Domain: A"),  # recovered, by one of two proposals
                ("P2", 1, 9, "Domain: A"),  # missed
                ("P3", 9, 9, "Site"),  # recovered
                ("P4", 1, 9, "Domain: B"),  # only its class was proposed
            ),
        ]
    )
    proposals = labels(
        ("P1", 11, 15, "Domain: A"),
        ("P1", 16, 20, "Domain: A"),  # the same label again
        ("P2", 10, 12, "Domain: A"),  # beside it
        ("P3", 9, 9, "Site"),
        ("P4", 3, 6, "Domain"),  # right, as a class
        ("P5", 3, 4, "Motif"),  # nothing of the kind
    )
    found = check_against_truth(proposals, truth, known)
    assert found.select(COUNTED).rows() == [
        ("Domain", 0, 0, 1, 1, 1.0),
        ("Domain: A", 2, 1, 3, 1, 1 / 3),
        ("Domain: B", 1, 0, 0, 0, None),
        ("Motif", 0, 0, 1, 0, 0.0),
        ("Site", 1, 1, 1, 1, 1.0),
    ]
    low, high = found.filter(concept="Domain: A").select("precision_low", "precision_high").row(0)
    assert 0 < low < 1 / 3 < high < 1
    families = dict.fromkeys(["P1", "P2", "P3", "P4", "P5"], 0)
    related = check_against_truth(proposals, truth, known, clusters=families)
    assert related.filter(concept="Domain: A")["precision_low"].item() < low


def test_labels_hidden_from_a_table_come_back(tmp_path: Path) -> None:
    full = [(f"P{i}", "A" * i + "AAWWWWAA", {"Domain [FT]": F_BOX}) for i in range(1)]
    full += [("Q", "AAWWWWAACC", {"Domain [FT]": F_BOX})]
    truth = labels_from_uniprot(read_table(write_table(tmp_path / "full.tsv", full)))
    hidden = [full[0], ("Q", full[1][1], {})]
    path = write_table(tmp_path / "hidden.tsv", hidden)
    result = run(path, tmp_path / "out")
    known = labels_from_uniprot(read_table(path))
    found = check_against_truth(result.proposals(), truth, known)
    counted = found.select(COUNTED).rows()
    # The hidden label of the class came back by the proposal of its member.
    assert counted == [("Domain", 1, 1, 0, 0, None), ("Domain: W-rich", 1, 1, 1, 1, 1.0)]
    assert found["promised"].to_list() == [None, 0.95]


def test_a_table_without_feature_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text("Entry\tSequence\nP1\tACDWWWACD\n")
    with pytest.raises(InputError, match=r"x.tsv: the table has no feature columns") as caught:
        run(path, tmp_path / "out")
    assert "Customize columns" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_features_under_other_headers_are_refused_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"Entry\tSequence\tBinding site\tdomains\nP1\tACDWWWACD\t\t{F_BOX}\n")
    with pytest.raises(InputError, match=r"'domains' holds features \(DOMAIN\).*'Domain \[FT\]'"):
        run(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_columns_that_a_model_needs_and_a_table_lacks_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"Entry\tSequence\tDomain [FT]\tCoiled coil\nP1\tACDWWWACD\t{F_BOX}\t\n")
    with caplog.at_level("WARNING", logger="plmsae"):
        run(path, tmp_path / "out")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "has the feature columns Coiled coil, Domain [FT]" in line
    assert "without Active site, Binding site, which the model calls too" in line


def test_a_folder_of_another_fill_is_refused_and_can_be_started_over(tmp_path: Path) -> None:
    first = write_table(tmp_path / "x.tsv", [("A", "AAWWWWAACDEF", {"Domain [FT]": F_BOX})])
    other = write_table(tmp_path / "y.tsv", [("B", "GGWWWWAACDEF", {"Domain [FT]": F_BOX})])
    out = tmp_path / "out"
    run(first, out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"other proteins; .*--start-over"):
        run(other, out)
    start_fill_over(out)
    left = [path.name for path in out.rglob("*") if path.is_file()]
    assert sorted(left) == [".lock", "notes.txt"]
    run(other, out)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "proposals.tsv").write_text("mine")
    with pytest.raises(InputError, match="removes only what plmsae wrote"):
        start_fill_over(tmp_path / "own")
    assert (tmp_path / "own" / "proposals.tsv").read_text() == "mine"
