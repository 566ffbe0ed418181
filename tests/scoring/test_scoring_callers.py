"""Scoring with probes and calibrated probabilities."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scoring_fakes import (
    LETTERS,
    FakeBundle,
    FakeEncoder,
    FakeMeta,
    concept_rows,
    contents,
    proteome,
    table,
    write_fasta,
)

from plmsae.concepts.calling.calibrators import Calibrator
from plmsae.concepts.calling.callers import Callers
from plmsae.concepts.calling.probes import Probe
from plmsae.core.errors import InputError
from plmsae.scoring.engine import score
from plmsae.scoring.fill import fill

K, R = LETTERS.index("K"), LETTERS.index("R")
PROBE = Probe(latents=(K, R), weights=(0.6, 0.9), constant=0.15)
"""Fires on K and R; a lone K gives 0.6 / 3 - 0.15, scaled by the bundle's maximum of 3."""


def probed() -> FakeBundle:
    rows = concept_rows(
        ("Motif: Basic", "span", "A", 0.9, 0.8), ("Domain: W-rich", "span", "W", 0.95, 0.9)
    )
    rows = rows.with_columns(
        caller=pl.Series(["probe", "latent"]),
        call_latent=pl.Series([None, LETTERS.index("W")], dtype=pl.Int32),
        call_threshold=pl.Series([0.1, 0.15]),
    )
    calibrator = Calibrator(method="platt", x=(4.0, -1.0))
    return FakeBundle(
        concepts=rows,
        callers=Callers(probes={"Motif: Basic": PROBE}, calibrators={"Motif: Basic": calibrator}),
    )


def run(source: Path, out: Path, bundle: FakeBundle, **changed: object) -> pl.DataFrame:
    arguments: dict[str, object] = {"encoder": FakeEncoder(), "part_residues": 200} | changed
    score(source, bundle, out, model_uri="m/1", **arguments)  # type: ignore[arg-type]
    return table(out, "annotations")


def test_a_call_of_a_probe_names_the_latents_that_speak_for_it(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "x.fasta", [("P1", "AAKKRAAWWWA"), ("P2", "AARRAAAKAA")])
    found = run(source, tmp_path / "out", probed())
    basic = found.filter(concept="Motif: Basic")
    assert basic.select("accession", "start", "end", "latents").rows() == [
        ("P1", 3, 5, [K, R]),
        ("P2", 3, 4, [R]),
    ]
    # K beside one K: 2 / 3 × 0.6 − 0.15; R beside one R: 2 / 3 × 0.9 − 0.15.
    assert basic["score"].to_list() == pytest.approx([0.25, 0.45])
    expected = [1 / (1 + np.exp(-(4 * s - 1))) for s in (0.25, 0.45)]
    assert basic["probability"].to_list() == pytest.approx(expected)
    assert basic["precision"].to_list() == [0.9, 0.9]
    domain = found.filter(concept="Domain: W-rich")
    assert domain["latents"].to_list() == [[LETTERS.index("W")]]
    assert domain["probability"].to_list() == [None]


def test_scores_of_probes_do_not_depend_on_the_cut_into_parts(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "x.fasta", proteome(n=40, bad=False))
    found = [run(source, tmp_path / str(n), probed(), part_residues=n) for n in (50, 100_000)]
    assert found[0].height > 30
    assert found[0].equals(found[1])
    run(source, tmp_path / "again", probed(), part_residues=50)
    assert contents(tmp_path / "50") == contents(tmp_path / "again")


def test_a_bundle_without_its_probe_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    source = write_fasta(tmp_path / "x.fasta", [("P1", "AAKKR")])
    bundle = FakeBundle(concepts=probed().concepts)
    with pytest.raises(InputError, match="Motif: Basic: the probe that calls a concept is missing"):
        run(source, tmp_path / "out", bundle)
    assert not (tmp_path / "out").exists()


def test_a_probe_proposes_with_its_latents_as_evidence(tmp_path: Path) -> None:
    rows = [("HAS", "AAKKRAA", 'MOTIF 3..5; /note="basic"'), ("LACKS", "GGKKRGG", "")]
    lines = ["Entry\tLength\tSequence\tMotif"]
    lines += [f"{name}\t{len(seq)}\t{seq}\t{cell}" for name, seq, cell in rows]
    path = tmp_path / "table.tsv"
    path.write_text("\n".join(lines) + "\n")
    result = fill(path, probed(), tmp_path / "out", model_uri="m/1", encoder=FakeEncoder(),
                  missing_share=0.5)  # fmt: skip
    (row,) = result.proposals().to_dicts()
    assert (row["accession"], row["concept"], row["latents"]) == ("LACKS", "Motif: Basic", [K, R])
    assert row["evidence"] == ["HAS"]
    assert row["precision"] == pytest.approx(0.45 / 0.55)
    own = 1 / (1 + np.exp(-(4 * 0.25 - 1)))
    assert row["probability"] == pytest.approx(own / (own + 2 * (1 - own)))
    assert pl.read_parquet(result.abstained_path).height == 0


def test_what_the_annotator_abstained_from_is_called_and_proposed_only_for_less(
    tmp_path: Path,
) -> None:
    rows = concept_rows(
        ("Motif: Basic", "span", "K", 0.9, 0.8), ("Domain: W-rich", "span", "W", 0.95, 0.9)
    )
    rows = rows.with_columns(abstains_at=pl.Series([0.6, None], dtype=pl.Float64))
    bundle = FakeBundle(concepts=rows, meta=FakeMeta(min_precision=0.6))
    path = tmp_path / "table.tsv"
    path.write_text("Entry\tLength\tSequence\tMotif\nP1\t11\tAAKKKAAWWWA\t\n")
    for bar, expected in (
        (None, {"Domain: W-rich"}),
        (0.6, {"Domain: W-rich"}),
        (0.7, {"Domain: W-rich"}),
        (0.59, {"Domain: W-rich", "Motif: Basic"}),
        (0.0, {"Domain: W-rich", "Motif: Basic"}),
    ):
        assert set(run(path, tmp_path / f"at-{bar}", bundle, min_precision=bar)["concept"]) == (
            expected
        )

    def proposed(bar: float) -> tuple[set[str], dict[str, tuple[str, int, float]]]:
        result = fill(path, bundle, tmp_path / "fill", model_uri="m/1", encoder=FakeEncoder(),
                      missing_share=0.5, min_precision=bar)  # fmt: skip
        abstained = pl.read_parquet(result.abstained_path)
        return set(result.proposals()["concept"]), {row[0]: row[1:] for row in abstained.rows()}

    # 0.6 of calls is 0.3 / 0.7 where half of the labels are missing; measured was 0.4 / 0.6.
    found, abstained = proposed(0.5)
    assert found == {"Domain: W-rich"}
    reason, withheld, bound = abstained["Motif: Basic"]
    assert (
        "no latent or probe was found whose calls are shown to reach a precision of 0.6" in reason
    )
    assert (withheld, bound) == (1, pytest.approx(0.3 / 0.7))
    assert proposed(0.42) == ({"Domain: W-rich", "Motif: Basic"}, {})
