"""Protein-level SAEs and transcoders from the table to the registry, on a tiny PLM."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

import polars as pl
import pytest
import torch
from protein_world import OBO, write_obo, write_world
from tiny import save_tiny

from plmsae.concepts.labels.protein_labels import protein_concepts
from plmsae.core.errors import InputError
from plmsae.proteins.ontology import read_obo
from plmsae.proteins.uniprot import read_table
from plmsae.registry.models import compare, list_models, resolve
from plmsae.workflows import evaluate, fill, report, score, train
from plmsae.workflows.evaluating.annotated_proteins import read_annotated_proteins
from plmsae.workflows.evaluating.evaluate_proteins import EvaluateProteinsOutcome
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import (
    EvaluateRequest,
    FillRequest,
    ReportRequest,
    ScoreRequest,
    TrainRequest,
)
from plmsae.workflows.training.transcoding import KeptRows, target_layers, with_target

RECIPE = {"d_sae": 24, "k": 2, "n_vectors": 6_400, "batch_size": 64}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A table, an ontology, a tiny PLM, and a trained protein-level SAE and transcoder."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.setenv("PLMSAE_CACHE", str(folder / "cache"))
        write_world(folder)
        write_obo(folder)
        save_tiny(folder / "plm")
        for name, extra in (("sae", {}), ("transcoder", {"target": "change", "target_layer": 3})):
            request = TrainRequest(
                proteins="P.tsv",
                plm="plm",
                layers=(1,),
                unit="protein",
                recipe="default",
                overrides={**RECIPE, **extra},
                out=Path(name),
                register=False,
            )
            train.run(request, Silent())
        yield folder


def request_of(world, **changes):
    settings = {
        "model": str(world / "sae" / "L1" / "bundle"),
        "concepts": str(world / "P.tsv"),
        "ontology": str(world / "tiny.obo"),
        "out": world / "out",
        "min_precision": 0.3,
    }
    return EvaluateRequest(**{**settings, **changes})


@pytest.fixture(scope="module")
def outcome(world):
    return evaluate.run(request_of(world), Silent())


def test_planted_terms_are_found_and_shuffled_ones_are_not(outcome):
    assert isinstance(outcome, EvaluateProteinsOutcome)
    rows = {row["method"]: row for row in outcome.baselines}
    assert set(rows) == {
        *("sae", "neuron", "composition", "sae_shuffled_terms"),
        *("best_hit", "nearest_embedding"),
    }
    assert rows["sae"]["n_tied"] >= 3
    assert rows["sae_shuffled_terms"]["n_tied"] == 0
    found = {row["concept"] for row in outcome.top_terms}
    assert {"GO:0000011", "GO:0000010", "Family: Trp family", "EC:1.1.1.1"} <= found
    # What everyone carries says nothing, however often it is listed.
    assert not {"GO:0008150", "Organism: Nobody"} & found


def test_terms_come_with_name_depth_and_information(outcome):
    (deep,) = [row for row in outcome.top_terms if row["concept"] == "GO:0000011"]
    assert (deep["name"], deep["depth"]) == ("deep tryptophan business", 3)
    # 30 of the 150 proteins with a biological process carry it.
    assert deep["information"] == pytest.approx(2.3219, abs=1e-3)
    depths = {(r["method"], r["namespace"], r["depth"]) for r in outcome.depths}
    assert ("sae", "GO", 3) in depths
    assert ("sae", "biological_process", 3) in depths
    assert ("sae", "ec", 4) in depths


def test_processes_are_told_apart_by_ancestry(outcome):
    processes = {r["concept"]: r["metabolic"] for r in outcome.classes if r["kind"] == "process"}
    assert processes["GO:0000010"] is True
    assert {r["name"] for r in outcome.classes if r["kind"] == "enzyme"} <= {"EC:1", "EC:2"}


def test_what_the_ontology_does_to_the_terms_is_said(outcome):
    text = "\n".join(outcome.lines())
    assert "1 of 7 GO terms" in text
    assert "1 obsolete GO terms" in text
    assert "above 0." in text
    assert "by depth" in text
    assert json.loads(json.dumps(outcome.to_json()))["level"] == outcome.level


def test_the_model_is_registered_with_its_evidence(world, outcome):
    bundle = resolve(outcome.model)
    assert bundle.meta.unit == "protein"
    assert set(bundle.concepts["kind"]) == {"protein"}
    assert bundle.concepts["n_residues"].null_count() == bundle.concepts.height
    assert bundle.features.height == 24
    assert bundle.features["term"].drop_nulls().len() == outcome.summary["n_latents_enriched"]
    assert bundle.meta.metrics["share_at_depth_03"] > 0
    listed = list_models().filter(pl.col("unit") == "protein")
    assert listed["aliases"].to_list() == [["challenger"]]
    assert compare([outcome.model, outcome.bundle])["n_latents_enriched"].null_count() == 0
    files = ("enrichment.parquet", "methods.parquet", "depth.png", "terms.png")
    files += ("reliability.parquet", "reliability.png", "annotator.parquet")
    for name in files:
        assert (world / "out" / name).exists(), name


def test_every_confirmed_pair_was_chosen_first(world, outcome):
    pairs = pl.read_parquet(world / "out" / "enrichment.parquet")
    assert (pairs["q_select"] <= 0.05).all()
    confirmed = pairs.filter("confirmed")
    assert (confirmed["q"] <= 0.05).all()
    assert (confirmed["fold"] > 1).all()
    assert (confirmed["n_clusters"] <= confirmed["n_both"]).all()


def test_a_protein_model_scores_whole_proteins(world, outcome):
    out = world / "scored"
    done = score.run(
        ScoreRequest(proteins=str(world / "P.tsv"), model=outcome.model, out=out), Silent()
    )
    calls = pl.read_parquet(out / "annotations")
    assert done.n_annotations == calls.height > 0
    lengths = pl.read_parquet(out / "proteins").select("accession", "length")
    joined = calls.join(lengths, on="accession")
    assert (joined["start"] == 1).all()
    assert (joined["end"] == joined["length"]).all()
    assert calls.filter(pl.col("concept") == "Family: Trp family").height > 0
    assert calls["probability"].null_count() == 0
    assert calls["probability"].is_between(0, 1).all()
    bundle = resolve(outcome.model)
    assert set(calls["concept"]) <= set(bundle.callers.calibrators)
    single = bundle.concepts.filter(pl.col("caller") == "latent")["concept"].to_list()
    for rows in calls.filter(pl.col("concept").is_in(single)).partition_by("concept"):
        assert rows.sort("score")["probability"].is_sorted()
    abstaining = bundle.concepts.filter(pl.col("abstains").is_not_null())["concept"]
    assert not set(calls["concept"]) & set(abstaining)


def test_a_transcoder_is_evaluated_like_an_sae(world):
    bundle = resolve(str(world / "transcoder" / "L1" / "bundle"))
    assert (bundle.meta.target, bundle.meta.target_layer) == ("change", 3)
    assert bundle.name == "plmsae.plm.L1-L3-change.protein"
    assert "A transcoder" in bundle.card
    found = evaluate.run(
        request_of(
            world,
            model=str(bundle.path),
            out=world / "transcoder-out",
            register=False,
            baselines="none",
            ontology=None,
        ),
        Silent(),
    )
    assert [row["method"] for row in found.baselines] == ["sae"]
    assert found.baselines[0]["n_tied"] >= 3
    assert any("no ancestors" in note for note in found.notes)
    assert not {row["namespace"] for row in found.depths} & {"GO", "biological_process"}


def test_terms_chosen_on_one_table_are_reported_on_another(world):
    write_world(world, n=90, name="Q", seed=1)
    found = evaluate.run(
        request_of(
            world,
            report_on=str(world / "Q.tsv"),
            out=world / "other",
            register=False,
            baselines="none",
        ),
        Silent(),
    )
    assert found.baselines[0]["n_tied"] >= 3
    assert found.how.startswith("chosen on P.tsv, reported on Q.tsv, homologues may be in both")


def test_a_protein_level_model_is_split_by_organism_too(world):
    rows = [line.split("\t") for line in (world / "P.tsv").read_text().splitlines()]
    at = rows[0].index("Organism")
    species = ("Homo sapiens (Human)", "Bacillus subtilis (strain 168)", "")
    for number, row in enumerate(rows[1:]):
        row[at] = species[2 if number < 6 else number // 6 % 2]
    (world / "species.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    asked = request_of(
        world, concepts=str(world / "species.tsv"), split="organism", out=world / "species"
    )
    data = read_annotated_proteins(asked, Silent()).data
    of = {row[0]: row[at] for row in rows[1:]}
    sides = [
        {of[a] for a, name in zip(data.accessions, data.split, strict=True) if name == side}
        for side in ("select", "report")
    ]
    assert sorted(map(len, sides)) == [1, 1]
    assert "" not in sides[0] | sides[1]
    assert "6 proteins of no named organism left out" in data.how
    assert [len(s) for s in data.sequences] == [
        int(row[rows[0].index("Length")]) for a in data.accessions for row in rows if row[0] == a
    ]
    with pytest.raises(InputError, match="'split' must be cluster or organism"):
        read_annotated_proteins(request_of(world, split="chance"), Silent())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ontology": "cycle.obo"}, "the terms form a cycle"),
        ({"ontology": "foreign.obo"}, "knows none of the 7 GO terms"),
        ({"ontology": "P.tsv"}, "not a 'tag: value' line"),
        ({"concepts": "P-no-go.tsv"}, "no GO terms for the ontology"),
        ({"concepts": "bare.tsv", "ontology": None}, "says nothing of a protein"),
        ({"min_instances": 1000}, "no term is carried by 1000"),
        ({"min_instances": 40}, "no term"),
        ({"min_spans": 3}, "have no residues or spans"),
        ({"proteins": "P.tsv"}, "takes its sequences from the UniProt table"),
        ({"report_on": "P.tsv"}, "180 accessions are in both tables"),
    ],
)
def test_wrong_inputs_are_one_line_and_leave_nothing_behind(world, monkeypatch, changes, message):
    monkeypatch.chdir(world)
    Path("cycle.obo").write_text(
        OBO.replace(
            "namespace: molecular_function", "namespace: molecular_function\nis_a: GO:0000020", 2
        )
    )
    Path("foreign.obo").write_text("[Term]\nid: PO:1\nname: leaf\n")
    write_world(world, go=False)
    lines = [line.split("\t") for line in Path("P.tsv").read_text().splitlines()]
    kept = [lines[0].index(name) for name in ("Entry", "Sequence")]
    Path("bare.tsv").write_text("".join("\t".join(r[i] for i in kept) + "\n" for r in lines))
    with pytest.raises(InputError, match=message) as caught:
        evaluate.run(request_of(world, out=world / "never", **changes), Silent())
    assert "\n" not in str(caught.value)
    assert not (world / "never").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "table 2 of 2 has no GO terms for the ontology"),
        ({"ontology": None}, "no term is known of the kinds that those to choose on have: ec, "),
        ({"ontology": None, "report_on": None, "concepts": "bare.tsv"}, "says nothing of a prot"),
        ({"report_on": "few.tsv"}, "no term is carried by 10"),
    ],
)
def test_tables_without_terms_are_refused_before_homologues_are_searched_for(
    world, monkeypatch, changes, message
):
    monkeypatch.chdir(world)
    lines = [line.split("\t") for line in Path("P.tsv").read_text().splitlines()]
    kept = [lines[0].index(name) for name in ("Entry", "Sequence")]
    Path("bare.tsv").write_text("".join("\t".join(r[i] for i in kept) + "\n" for r in lines))
    rows = [["R" + r[i] if i == 0 else r[i] for i in kept] for r in lines[1:]]
    Path("other.tsv").write_text(
        "".join("\t".join(r) + "\n" for r in [["Entry", "Sequence"], *rows])
    )
    write_world(world, n=3, name="few", seed=2)

    def search(*_, **__):
        raise AssertionError("homologues were searched for")

    for name in ("splits.search", "leak.search", "leak.search_exhaustively"):
        monkeypatch.setattr(f"plmsae.proteins.{name}", search)
    settings = {"report_on": "other.tsv", **changes}
    with pytest.raises(InputError, match=message) as caught:
        read_annotated_proteins(request_of(world, **settings), Silent())
    assert "\n" not in str(caught.value)


def lacking_terms(world):
    """Write the world's table with the GO terms and families of every fifth protein taken out."""
    rows = [line.split("\t") for line in (world / "P.tsv").read_text().splitlines()]
    at = [rows[0].index(name) for name in ("Gene Ontology IDs", "Protein families")]
    for row in rows[1::5]:
        for column in at:
            row[column] = ""
    path = world / "lacking.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return path


def test_terms_that_a_table_lacks_are_proposed_for_whole_proteins(world, outcome):
    (world / "shares.tsv").write_text("concept\tmissing_share\nEC\t0\n")
    done = fill.run(
        FillRequest(
            table=str(lacking_terms(world)),
            truth=str(world / "P.tsv"),
            model=outcome.model,
            ontology=str(world / "tiny.obo"),
            out=world / "filled",
            min_precision=0.1,
            missing_share=0.2,
            missing_shares=str(world / "shares.tsv"),
            backtest=True,
            hide_share=0.2,
        ),
        Silent(),
    )
    proposals = pl.read_parquet(world / "filled" / "proposals")
    assert done.n_proposed == proposals.height > 10
    terms = protein_concepts(
        read_table(world / "lacking.tsv"), read_obo(world / "tiny.obo")
    ).select("accession", "concept")
    assert proposals.join(terms, on=["accession", "concept"]).is_empty()
    sequences = dict(read_table(world / "P.tsv").select("accession", "sequence").iter_rows())
    for row in proposals.iter_rows(named=True):
        whole = sequences[row["accession"]]
        assert (row["start"], row["end"], row["sequence_stretch"]) == (1, len(whole), whole)
    deep = proposals.filter(concept="GO:0000011")["name"].unique().to_list()
    assert deep == ["deep tryptophan business"]
    assert proposals.filter(concept="Family: Trp family")["name"].null_count() > 0
    assert not proposals["concept"].str.starts_with("EC:").any()  # of these nothing is missing
    assert proposals["precision_low"].min() >= 0.1
    assert proposals["latents"].list.len().min() >= 1
    assert proposals.filter(concept="Family: Trp family")["evidence"].list.len().min() == 3
    # Taken out: the terms and families of 36 of 180 proteins, six of each group but the last.
    assert done.truth["recovered"] > 10
    assert done.truth["precision"] > 0.7 * done.truth["promised_precision"]
    assert {row["hiding"] for row in done.backtest} == {"random", "cluster"}
    assert done.n_with_homologue == proposals["homologue"].count()
    alone = [row for row in done.backtest_homology if row["bin"] == "all"]
    for row in alone:
        mine = [of["hidden"] for of in done.backtest if of["hiding"] == row["hiding"]]
        assert row["hidden"] == sum(mine)
    assert "GO:0000011 deep tryptophan business" in "\n".join(done.lines())
    tested = {row["concept"] for row in done.backtest if row["recovered"]}
    assert "GO:0000011" in tested
    assert any(c.startswith("Family") for c in tested)
    checked = json.loads((world / "filled-quality" / "output" / "validation.json").read_text())
    gates = {row["name"]: row["success"] for row in checked["results"]}
    assert gates["label_is_missing"] is gates["inside_the_protein"] is True
    assert gates["promises_kept"] is gates["backtest_finds"] is True


def test_a_model_notes_its_ontology_and_is_not_filled_with_without_it(world, outcome):
    assert resolve(outcome.model).meta.extra["ontology"] == "tiny.obo"
    request = FillRequest(table=str(world / "P.tsv"), model=outcome.model, out=world / "f")
    with pytest.raises(InputError, match=r"with --ontology: tiny\.obo"):
        fill.run(request, Silent())
    assert not (world / "f").exists()


def test_what_needs_residues_says_so(world, outcome):
    with pytest.raises(InputError, match="residue-level"):
        report.run(
            ReportRequest(proteins=str(world / "P.tsv"), model=outcome.model, out=world / "r"),
            Silent(),
        )
    assert not (world / "r").exists()


@pytest.mark.parametrize(
    ("recipe", "layers", "message"),
    [
        ({"target": "change", "target_layer": 1}, (2,), "needs a layer above it"),
        ({"target": "layer", "target_layer": 2}, (1, 2), "layer 2 needs a layer above it"),
        ({"target_layer": 2}, (1,), "only a transcoder has one"),
        ({"target": "both"}, (1,), "unknown target"),
    ],
)
def test_targets_that_cannot_be_are_refused(recipe, layers, message):
    with pytest.raises(InputError, match=message):
        target_layers(recipe, layers)


def test_a_transcoder_aims_at_the_next_layer_unless_told_otherwise():
    assert target_layers({"target": "change"}, (1, 4)) == {1: 2, 4: 5}
    assert target_layers({"target": "layer", "target_layer": 6}, (1, 4)) == {1: 6, 4: 6}
    assert target_layers({}, (1, 4)) == {}


def test_each_transcoder_picks_its_pair_out_of_the_shared_rows():
    rows = {layer: torch.full((2, 3), float(layer)) for layer in (1, 2, 4)}
    x, y = with_target(itemgetter(2), 4, itemgetter)(rows)
    assert torch.equal(x, rows[2])
    assert torch.equal(y, rows[4])
    assert torch.equal(with_target(itemgetter(1), None, itemgetter)(rows), rows[1])


def test_means_are_computed_once_however_many_epochs():
    calls = []

    def make():
        calls.append(1)
        yield from (torch.full((1, 2), float(i)) for i in range(3))

    kept = KeptRows(make)
    next(iter(kept()))  # an epoch that was not finished keeps nothing
    first, second = list(kept()), list(kept())
    assert len(calls) == 2
    assert torch.equal(torch.cat(first), torch.cat(second))
