"""A whole simulated proteome: its tables, its split, what is hidden, its files."""

import gzip
import json
import re
from itertools import islice

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from plmsae.core.errors import InputError
from plmsae.proteins.simulate import (
    SimulateConfig,
    family_stream,
    simulate,
)
from plmsae.proteins.simulate.alphabet import decode
from plmsae.proteins.simulate.families import PROTEOME
from plmsae.proteins.simulate.labels import FEATURE_COLUMNS, decoys_of, features_of
from plmsae.proteins.simulate.members import build_family
from plmsae.proteins.simulate.motifs import MOTIFS

CONFIG = SimulateConfig(n_families=62, proteins_per_family=6, seed=3, decoys=2.0, motif_loss=0.4)
FEATURE = re.compile(r'([A-Z_]+) (\d+)(?:\.\.(\d+))?((?:; /\w+="[^"]*")*)(?:; |$)')


@pytest.fixture(scope="module")
def proteome():
    return simulate(CONFIG)


@pytest.fixture(scope="module")
def families():
    return [build_family(CONFIG, PROTEOME, index) for index in range(CONFIG.n_families)]


def read(frame):
    """Features of a table by a parser of its own: (accession, column, key, start, end, tail)."""
    found = []
    for row in frame.iter_rows(named=True):
        for column in FEATURE_COLUMNS:
            cell = row[column] or ""
            assert FEATURE.sub("", cell) == "", cell
            for key, start, end, tail in FEATURE.findall(cell):
                span = (int(start), int(end or start))
                found.append((row["Entry"], column, key, *span, tail))
    return found


def test_equal_settings_give_equal_proteomes_and_another_seed_another(proteome):
    again = simulate(CONFIG)
    for name in ("table", "truth", "hidden", "decoys", "split", "families"):
        assert_frame_equal(getattr(again, name), getattr(proteome, name))
    other = simulate(SimulateConfig(n_families=2, proteins_per_family=2, seed=4))
    assert not set(other.table["Sequence"]) & set(proteome.table["Sequence"])


def test_a_family_does_not_depend_on_how_many_there_are(proteome):
    few = simulate(SimulateConfig(**{**vars(CONFIG), "n_families": 5}))
    assert few.truth["Sequence"].to_list() == proteome.truth["Sequence"].to_list()[: 5 * 6]


@given(
    seed=st.integers(0, 10**9),
    low=st.integers(30, 220),
    divergence=st.floats(0, 6),
    indels=st.floats(0, 0.5),
)
@settings(max_examples=12, deadline=None)
def test_lengths_stay_within_bounds_and_sequences_are_proteins(seed, low, divergence, indels):
    config = SimulateConfig(
        n_families=4, proteins_per_family=4, seed=seed, min_length=low, max_length=320,
        divergence=divergence, indel_rate=indels,
    )  # fmt: skip
    for sequence in simulate(config).truth["Sequence"]:
        assert low <= len(sequence) <= 320
        assert re.fullmatch(r"M[ACDEFGHIKLMNPQRSTVWY]+", sequence)


def test_annotations_parse_and_lie_within_their_sequences(proteome):
    length = dict(zip(proteome.truth["Entry"], proteome.truth["Length"], strict=True))
    features = read(proteome.truth)
    assert len(features) > 5000
    for accession, _, _, start, end, _ in features:
        assert 1 <= start <= end <= length[accession]


def test_the_columns_are_those_of_the_real_export(proteome, real_data):
    with gzip.open(real_data / "swissprot_yeast.tsv.gz", "rt") as handle:
        header = handle.readline().rstrip("\n").split("\t")
    assert proteome.table.columns == [*header, "Cluster ID"]


def test_annotated_residues_are_what_their_features_mean(proteome):
    sequences = dict(zip(proteome.truth["Entry"], proteome.truth["Sequence"], strict=True))
    meaning = {
        ("Transmembrane", ""): r"[LIVFAGMWCTSY]{19,23}",
        ("Signal peptide", ""): r"M.{12,}",
        ("Lipidation", ""): "C",
        ("Glycosylation", ""): "N",
        ("Modified residue", ""): "S",
        ("Disulfide bond", ""): "C..C",
        ("Active site", ""): "[HDSE]",
        ("Zinc finger", "C2H2"): r"C.{2,4}C.{12}H.{3,5}H",
        ("Zinc finger", "RING"): r"C..C.{9,14}C.H..C..C.+C..C",
        ("DNA binding", "Zn(2)-C6"): r"[GASTPV]C..C.{6}C.{5,12}C..C.{6,8}C",
        ("Binding site", "Ca(2+)"): "[DNSETG]",
        ("Binding site", "Zn(2+)"): "H",
        ("Binding site", "4Fe-4S"): "C",
        ("Binding site", "NAD"): "G.G..G",
        ("Binding site", "ATP"): "[AG]....GK[ST]|[LIV]G.G.....|K",
        ("Motif", "DEAD"): "DEAD",
        ("Motif", "ER"): "[KRHQSA][DENQ]EL",
        ("Motif", "Microbody"): "[SAC][KRH][LM]",
        ("Coiled coil", ""): r"(?:[LIVMATNKR]..[LIVMA]...){4,9}",
    }
    seen = set()
    for accession, column, _, start, end, tail in read(proteome.truth):
        for (wanted, part), regex in meaning.items():
            if wanted == column and part in tail:
                text = sequences[accession][start - 1 : end]
                assert re.fullmatch(regex, text), (accession, column, text)
                seen.add((wanted, part))
    assert seen == set(meaning)


def test_motifs_that_are_kept_match_their_pattern_and_lost_ones_do_not(families):
    kept = lost = 0
    for family in families:
        for number, item in enumerate(family.ancestor.segment.planted):
            if item.imitates:
                continue
            regex = MOTIFS[item.name].regex
            for member in range(len(family.sequences)):
                columns = slice(item.start, item.end + 1)
                here = family.present[member, columns]
                text = decode(family.residues[member, columns][here])
                if family.kept[member, number]:
                    assert regex.fullmatch(text)
                    kept += 1
                else:
                    assert not regex.search(text)
                    lost += 1
    assert kept > 500
    assert lost > 20


def test_decoys_never_match_and_are_never_annotated_as_what_they_imitate(families):
    count = 0
    for family in families:
        labels = {}
        for feature in features_of(family):
            labels.setdefault((feature.accession, feature.source), []).append(feature)
        sequences = {
            decoy.accession: family.sequences[int(decoy.accession[-3:]) - 1]
            for decoy in decoys_of(family)
        }
        for decoy in decoys_of(family):
            motif = MOTIFS[decoy.imitates]
            text = sequences[decoy.accession][decoy.start - 1 : decoy.end]
            assert not motif.regex.fullmatch(text)
            keys = {mark.key for mark in motif.marks}
            for feature in labels.get((decoy.accession, decoy.imitates), []):
                overlaps = feature.start <= decoy.end and decoy.start <= feature.end
                assert not (overlaps and feature.key in keys)
            count += 1
    assert count > 300


def test_sequons_are_glycosylated_outside_and_never_inside(proteome):
    places = dict(zip(proteome.families["family"], proteome.families["place"], strict=True))
    inside = outside = 0
    for row in proteome.truth.iter_rows(named=True):
        found = len(re.findall(r"(?=N[^P][ST][^P])", row["Sequence"]))
        labelled = (row["Glycosylation"] or "").count("CARBOHYD")
        if places[row["Cluster ID"]] in ("cytosol", "nucleus", "lipoprotein"):
            assert labelled == 0
            inside += found
        elif places[row["Cluster ID"]] == "secreted":
            outside += found
            assert found - labelled <= 1  # one may lie in the signal peptide
    assert inside > 50
    assert outside > 50


def test_copies_of_one_feature_are_numbered_from_one(proteome):
    for row in proteome.truth.iter_rows(named=True):
        notes = re.findall(r'/note="C2H2-type ?(\d*)"', row["Zinc finger"] or "")
        if len(notes) == 1:
            assert notes == [""]
        else:
            assert notes == [str(i + 1) for i in range(len(notes))]


def test_families_are_wholly_in_training_or_wholly_held_out(proteome):
    sides = proteome.split.group_by("family").agg(pl.col("split").n_unique())
    assert sides["split"].to_list() == [1] * CONFIG.n_families
    heldout = proteome.split.filter(pl.col("split") == "heldout")
    assert heldout["family"].n_unique() == round(CONFIG.heldout_fraction * CONFIG.n_families)
    assert proteome.split["family"].to_list() == proteome.table["Cluster ID"].to_list()


def test_every_anchor_keeps_a_family_in_training(proteome):
    by_anchor = proteome.families.group_by("anchor").agg(
        pl.len().alias("all"), (pl.col("split") == "train").sum().alias("train")
    )
    assert by_anchor.filter(pl.col("all") > 1)["train"].min() >= 1


def test_hidden_labels_are_missing_from_the_table_and_present_in_the_truth(proteome):
    known, truth = read(proteome.table), read(proteome.truth)
    assert set(known) < set(truth)
    gone = {feature[:5] for feature in truth} - {feature[:5] for feature in known}
    columns = ("accession", "column", "key", "start", "end")
    assert gone == set(proteome.hidden.select(columns).iter_rows())
    assert len(truth) - len(known) == proteome.hidden.height > 50


def test_hidden_labels_lie_in_held_out_families_and_are_the_chosen_share(proteome, families):
    heldout = set(proteome.split.filter(pl.col("split") == "heldout")["accession"])
    hidden = {(a, s) for a, s in proteome.hidden.select("accession", "source").iter_rows()}
    assert {accession for accession, _ in hidden} <= heldout
    pairs = {
        (feature.accession, feature.source)
        for family in families
        for feature in features_of(family)
        if feature.hideable and feature.accession in heldout
    }
    assert len(hidden) == int(CONFIG.hidden_fraction * len(pairs))


def test_a_hidden_label_is_learnable_if_a_training_family_still_shows_its_concept(proteome):
    train = set(proteome.split.filter(pl.col("split") == "train")["accession"])
    shown = {
        (column, re.sub(r"( \d+)?$", "", re.sub(r'^; /\w+="([^"]*)".*', r"\1", tail)))
        for accession, column, _, _, _, tail in read(proteome.table)
        if accession in train
    }
    columns = ("column", "note", "learnable")
    for column, note, learnable in proteome.hidden.select(columns).iter_rows():
        assert learnable == ((column, note) in shown)
    assert proteome.hidden["learnable"].mean() > 0.7


def test_a_protein_loses_all_or_nothing_of_one_source(proteome):
    hidden = set(proteome.hidden.select("accession", "column", "note").iter_rows())
    for accession, column, _, _, _, tail in read(proteome.table):
        note = re.sub(r" \d+$", "", re.sub(r'^; /\w+="([^"]*)".*', r"\1", tail))
        if column in ("Zinc finger", "Transmembrane", "Glycosylation", "Repeat"):
            assert (accession, column, note) not in hidden


def test_terms_that_only_hidden_labels_imply_are_hidden_too(proteome):
    secreted = proteome.hidden.filter(pl.col("source") == "signal_peptide")["accession"].to_list()
    assert secreted
    go = dict(zip(proteome.table["Entry"], proteome.table["Gene Ontology IDs"], strict=True))
    true = dict(zip(proteome.truth["Entry"], proteome.truth["Gene Ontology IDs"], strict=True))
    for accession in secreted:
        assert "GO:0005576" in true[accession]
        assert "GO:0005576" not in (go[accession] or "")


def test_labels_can_be_hidden_anywhere_or_not_at_all():
    settings_ = {"n_families": 12, "proteins_per_family": 4, "seed": 1}
    anywhere = simulate(SimulateConfig(**settings_, hide_in="anywhere"))
    train = set(anywhere.split.filter(pl.col("split") == "train")["accession"])
    assert train & set(anywhere.hidden["accession"])
    nothing = simulate(SimulateConfig(**settings_, hidden_fraction=0.0))
    assert nothing.hidden.is_empty()
    assert_frame_equal(nothing.table, nothing.truth)
    everything = simulate(SimulateConfig(**settings_, hide_in="anywhere", hidden_fraction=1.0))
    kept = {column for _, column, *_ in read(everything.table)}
    assert kept <= {"Helix", "Beta strand"}


def test_pretraining_families_are_seeded_endless_and_never_those_of_a_proteome(proteome):
    first = list(islice(family_stream(CONFIG.seed, CONFIG), 8))
    assert first == list(islice(family_stream(CONFIG.seed, CONFIG), 8))
    assert first != list(islice(family_stream(CONFIG.seed + 1, CONFIG), 8))
    assert all(len(family) == CONFIG.proteins_per_family for family in first)
    streamed = {sequence for family in first for sequence in family}
    assert not streamed & set(proteome.table["Sequence"])


def test_members_of_a_family_are_homologous_and_different(families):
    for family in families:
        both = family.present[0] & family.present[-1]
        identity = (family.residues[0][both] == family.residues[-1][both]).mean()
        assert 0.25 < identity < 1.0


def test_the_composition_is_near_that_of_swiss_prot(families):
    from plmsae.proteins.simulate.alphabet import ALPHABET, BACKGROUND

    text = "".join(sequence for family in families for sequence in family.sequences)
    for letter, share in zip(ALPHABET, BACKGROUND, strict=True):
        assert abs(text.count(letter) / len(text) - share) < 0.02, letter


def test_written_files_hold_the_tables_and_are_equal_byte_for_byte(proteome, tmp_path):
    proteome.write(tmp_path / "one")
    simulate(CONFIG).write(tmp_path / "two")
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == [
        "annotations.tsv.gz", "decoys.tsv.gz", "heldout.fasta.gz", "hidden.tsv.gz",
        "proteome.fasta.gz", "train.fasta.gz", "truth.json", "truth.tsv.gz",
    ]  # fmt: skip
    for name in names:
        one, two = (tmp_path / folder / name for folder in ("one", "two"))
        assert one.read_bytes() == two.read_bytes(), name
    lines = gzip.decompress((tmp_path / "one/annotations.tsv.gz").read_bytes()).decode().split("\n")
    assert lines[0].split("\t") == proteome.table.columns
    sheet = [
        dict(zip(proteome.table.columns, line.split("\t"), strict=True)) for line in lines[1:-1]
    ]
    assert [row["Sequence"] for row in sheet] == proteome.table["Sequence"].to_list()
    assert [row["Domain [FT]"] or None for row in sheet] == proteome.table["Domain [FT]"].to_list()


def test_the_two_fasta_files_split_the_proteome(proteome, tmp_path):
    proteome.write(tmp_path)

    def records(name):
        text = gzip.decompress((tmp_path / name).read_bytes()).decode()
        entries = [entry.split("\n", 1) for entry in text[1:].split("\n>")]
        return {head.split()[0]: body.replace("\n", "") for head, body in entries}

    train, heldout = records("train.fasta.gz"), records("heldout.fasta.gz")
    assert not set(train) & set(heldout)
    whole = dict(zip(proteome.table["Entry"], proteome.table["Sequence"], strict=True))
    assert train | heldout == records("proteome.fasta.gz") == whole


def test_the_summary_counts_what_the_tables_hold(proteome, tmp_path):
    proteome.write(tmp_path)
    summary = json.loads((tmp_path / "truth.json").read_text())
    assert summary["config"]["seed"] == CONFIG.seed
    assert sum(summary["counts"]["labels"].values()) == len(read(proteome.truth))
    assert sum(summary["counts"]["hidden"].values()) == proteome.hidden.height
    assert sum(summary["counts"]["decoys"].values()) == proteome.decoys.height
    assert summary["motifs"]["p_loop"]["pattern"] == "[AG]-x(4)-G-K-[ST]"
    assert len(summary["families"]) == CONFIG.n_families


def test_one_protein_in_one_family_is_a_proteome():
    alone = simulate(SimulateConfig(n_families=1, proteins_per_family=1, heldout_fraction=0.0))
    assert alone.table.height == 1
    assert alone.hidden.is_empty()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n_families", 0), ("proteins_per_family", 0), ("seed", -1), ("heldout_fraction", 1.0),
        ("hidden_fraction", 1.1), ("hide_in", "train"), ("min_length", 10), ("min_length", 550),
        ("max_length", 100), ("divergence", -0.1), ("rate_shape", 0.0), ("indel_rate", 2.0),
        ("motif_loss", -1.0), ("decoys", float("nan")),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(InputError, match=field):
        SimulateConfig(**{field: value})
