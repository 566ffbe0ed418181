"""The bundle folder: what goes in comes out, and nothing else gets in."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import D_SAE, METRICS, tiny_concepts, tiny_features, tiny_meta, tiny_sae

from plmsae.bundle.card import Verdict, escape, model_card, version_page, with_page
from plmsae.bundle.meta import BundleMeta
from plmsae.bundle.reading import Bundle, read_bundle
from plmsae.bundle.schema import FEATURES_SCHEMA
from plmsae.bundle.writing import write_bundle
from plmsae.concepts.calling.calibrators import Calibrator
from plmsae.concepts.calling.callers import Callers
from plmsae.concepts.calling.probes import Probe
from plmsae.core.errors import InputError, UnsafeArtifactError

Make = Callable[..., Bundle]


def write(tmp_path: Path, **changes: object) -> Bundle:
    parts: dict[str, object] = {
        "sae_folder": tiny_sae(tmp_path / "sae_in"),
        "meta": tiny_meta(),
        "features": tiny_features(),
        "concepts": tiny_concepts(),
    }
    return write_bundle(tmp_path / "out", **{**parts, **changes})  # type: ignore[arg-type]


def relist(folder: Path) -> None:
    """Make model.json list every file as it is now, as an attacker would."""
    body = json.loads((folder / "model.json").read_text())
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != "model.json"]
    body["files"] = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths
    }
    (folder / "model.json").write_text(json.dumps(body))


def test_a_bundle_comes_back_as_it_was_written(make_bundle: Make) -> None:
    bundle = make_bundle()
    again = read_bundle(bundle.path)
    assert again.meta == tiny_meta()
    assert again.name == "plmsae.plmsae-mini.L4.residue"
    assert again.digest == bundle.digest
    assert again.features["max_activation"].to_list() == [2.5] * 5 + [0.0]
    assert again.concepts.select(tiny_concepts().columns).to_dicts() == tiny_concepts().to_dicts()


def test_the_same_content_gives_the_same_digest(make_bundle: Make) -> None:
    assert make_bundle().digest == make_bundle().digest
    assert make_bundle().digest != make_bundle(seed=1).digest


def test_frames_get_the_types_of_the_contract_and_keep_extra_columns(tmp_path: Path) -> None:
    features = (
        tiny_features()
        .reverse()
        .with_columns(
            pl.col("latent").cast(pl.Int64), pl.col("f1").cast(pl.Float32), auroc=pl.lit(0.5)
        )
    )
    frame = write(tmp_path, features=features).features
    assert {name: str(frame.schema[name]) for name in FEATURES_SCHEMA} == FEATURES_SCHEMA
    assert frame["latent"].to_list() == list(range(D_SAE))
    assert "auroc" in frame.columns


def test_nan_in_a_frame_becomes_null(tmp_path: Path) -> None:
    features = tiny_features().with_columns(
        f1=pl.when(pl.col("f1").is_null()).then(math.nan).otherwise("f1")
    )
    assert write(tmp_path, features=features).features["f1"].null_count() == 4


def test_a_metric_that_is_not_a_number_is_left_out(make_bundle: Make) -> None:
    assert "broken" not in make_bundle(metrics={**METRICS, "broken": math.nan}).meta.metrics


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("density", pl.lit(1.5), "'density' must be between 0 and 1, .*1.5"),
        ("max_activation", pl.lit(-1.0), "'max_activation' must be finite"),
        ("max_activation", pl.lit(math.inf), "'max_activation' must be finite"),
        ("dead", pl.lit(None, dtype=pl.Boolean), "'dead' must be given in every row"),
        ("latent", pl.lit(0), "each latent from 0 to 5 once"),
        ("latent", pl.lit("x"), "wrong type"),
    ],
)
def test_a_wrong_value_in_features_is_named(
    tmp_path: Path, column: str, value: pl.Expr, said: str
) -> None:
    with pytest.raises(InputError, match=said.replace(", .*", ".*")):
        write(tmp_path, features=tiny_features().with_columns(value.alias(column)))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("kind", pl.lit("stretch")),
        ("best_latent", pl.lit(D_SAE)),
        ("call_latent", pl.lit(D_SAE)),
        ("n_calls", pl.lit(-1)),
        ("call_precision_low", pl.lit(2.0)),
        ("concept", pl.lit(None, dtype=pl.String)),
    ],
)
def test_a_wrong_value_in_concepts_is_named(tmp_path: Path, column: str, value: pl.Expr) -> None:
    with pytest.raises(InputError, match=column):
        write(tmp_path, concepts=tiny_concepts().with_columns(value.alias(column)))


@pytest.mark.parametrize("name", [*FEATURES_SCHEMA])
def test_a_missing_column_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"column '{name}' is missing"):
        write(tmp_path, features=tiny_features().drop(name))


def test_an_sae_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="d_in differs"):
        write(tmp_path, meta=tiny_meta(d_in=8))


def test_a_folder_with_other_content_is_never_replaced(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="something else than a bundle"):
        write(tmp_path)
    assert (out / "thesis.txt").read_text() == "years of work"


def test_an_older_bundle_is_replaced(tmp_path: Path) -> None:
    write(tmp_path)
    assert write(tmp_path, meta=tiny_meta(seed=7)).meta.seed == 7


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "atom"},
        {"layer": -1},
        {"layer": True},
        {"k": D_SAE + 1},
        {"metrics": {"x": "high"}},
        {"metrics": {"<b>": 1.0}},
        {"min_precision": 1.5},
        {"created": "yesterday"},
        {"created": "2026-11-20T12:00:00"},
        {"plm": ""},
        {"extra": {"x": [1]}},
    ],
)
def test_meta_refuses_what_is_out_of_range(changes: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        tiny_meta(**changes)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    extra=st.dictionaries(
        st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=8)
    ),
)
def test_meta_survives_json(seed: int, extra: dict[str, object]) -> None:
    meta = tiny_meta(seed=seed, extra=extra)
    assert BundleMeta.from_json(json.loads(json.dumps(meta.to_json()))) == meta


# --- What an attacker, or a broken disk, may do to a bundle ---


def test_a_changed_file_is_refused(make_bundle: Make) -> None:
    bundle = make_bundle()
    (bundle.path / "README.md").write_text("# Trust me")
    with pytest.raises(UnsafeArtifactError, match="not the one that was written"):
        read_bundle(bundle.path)


@pytest.mark.parametrize(
    "name", ["model.pkl", "probe.joblib", "sae.pt", "weights.bin", "x.py", "run.sh", "a.npy"]
)
def test_a_file_of_another_kind_is_refused_even_when_listed(make_bundle: Make, name: str) -> None:
    bundle = make_bundle()
    (bundle.path / name).write_text("x")
    relist(bundle.path)
    with pytest.raises(UnsafeArtifactError, match=name):
        read_bundle(bundle.path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "name", ["README.md", "sae/cfg.json", "features.parquet", "sae/sae_weights.safetensors"]
)
def test_a_pickle_under_an_innocent_name_is_refused(
    make_bundle: Make, name: str, protocol: int
) -> None:
    bundle = make_bundle()
    (bundle.path / name).write_bytes(pickle.dumps({"weights": b"\x00\xff" * 4}, protocol))
    relist(bundle.path)
    with pytest.raises(InputError):
        read_bundle(bundle.path)


def test_a_zip_as_torch_writes_it_is_refused(make_bundle: Make) -> None:
    bundle = make_bundle()
    with zipfile.ZipFile(bundle.path / "sae" / "sae_weights.safetensors", "w") as archive:
        archive.writestr("data.pkl", b"\x80\x02.")
    relist(bundle.path)
    with pytest.raises(UnsafeArtifactError, match="pickled"):
        read_bundle(bundle.path)


def test_weights_whose_header_length_looks_like_a_pickle_are_read(tmp_path: Path) -> None:
    folder = tiny_sae(tmp_path / "sae_in")
    content = (folder / "sae_weights.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    # 0x0280 = 640: the file then starts with the bytes 80 02, as a pickle of protocol 2 does.
    padded = (640).to_bytes(8, "little") + header.ljust(640)
    (folder / "sae_weights.safetensors").write_bytes(padded + data)
    bundle = write_bundle(
        tmp_path / "out",
        sae_folder=folder,
        meta=tiny_meta(),
        features=tiny_features(),
        concepts=tiny_concepts(),
    )
    assert read_bundle(bundle.path).digest == bundle.digest


def test_a_link_is_refused_wherever_it_leads(make_bundle: Make, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    for target in (secret, Path("model.json"), tmp_path):
        bundle = make_bundle()
        (bundle.path / "link.json").symlink_to(target)
        with pytest.raises(UnsafeArtifactError, match="links"):
            read_bundle(bundle.path)


def test_a_listed_path_outside_is_never_opened(make_bundle: Make, tmp_path: Path) -> None:
    bundle = make_bundle()
    body = json.loads((bundle.path / "model.json").read_text())
    body["files"]["../secret.json"] = body["files"].pop("README.md")
    (bundle.path / "model.json").write_text(json.dumps(body))
    with pytest.raises(InputError, match=r"README.md is missing"):
        read_bundle(bundle.path)


def test_a_fifo_is_refused_and_not_waited_for(make_bundle: Make) -> None:
    bundle = make_bundle()
    os.mkfifo(bundle.path / "pipe.json")
    with pytest.raises(UnsafeArtifactError, match="neither a file nor a folder"):
        read_bundle(bundle.path)


def test_deep_folders_and_floods_of_files_are_refused(make_bundle: Make) -> None:
    bundle = make_bundle()
    (bundle.path / "a" / "b" / "c").mkdir(parents=True)
    with pytest.raises(UnsafeArtifactError, match="too deep"):
        read_bundle(bundle.path)
    flood = make_bundle()
    for number in range(100):
        (flood.path / f"{number}.md").write_text("x")
    with pytest.raises(UnsafeArtifactError, match="more than"):
        read_bundle(flood.path)


def test_a_truncated_file_is_refused(make_bundle: Make) -> None:
    for name in ("features.parquet", "sae/sae_weights.safetensors"):
        bundle = make_bundle()
        content = (bundle.path / name).read_bytes()
        (bundle.path / name).write_bytes(content[: len(content) // 2])
        relist(bundle.path)
        with pytest.raises(UnsafeArtifactError, match=Path(name).name):
            read_bundle(bundle.path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 99}, "upgrade plmsae"),
        ({"files": None}, "'files' is missing"),
        ({"surprise": 1}, "unknown field 'surprise'"),
        ({"train_data": {"sha256": "short"}}, "data fingerprint"),
        ({"metrics": [1]}, "'metrics' must be an object"),
        ({"d_sae": "many"}, "'d_sae' must be a whole number"),
    ],
)
def test_a_wrong_model_json_is_named(
    make_bundle: Make, change: dict[str, object], said: str
) -> None:
    bundle = make_bundle()
    body = json.loads((bundle.path / "model.json").read_text())
    (bundle.path / "model.json").write_text(json.dumps({**body, **change}))
    with pytest.raises(InputError, match=said) as caught:
        read_bundle(bundle.path)
    assert "model.json" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"metrics": NaN}', "[" * 100_000])
def test_a_model_json_that_is_not_json_is_one_clear_line(make_bundle: Make, text: str) -> None:
    bundle = make_bundle()
    (bundle.path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json") as caught:
        read_bundle(bundle.path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.json is missing"):
        read_bundle(tmp_path)
    with pytest.raises(InputError, match="no such model folder"):
        read_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_format_is_refused_with_what_to_do(make_bundle: Make, version: int) -> None:
    path = make_bundle().path
    body = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps(body | {"schema_version": version}))
    with pytest.raises(InputError, match=rf"format {version}.*plmsae import sae") as caught:
        read_bundle(path)
    assert "\n" not in str(caught.value)


def test_the_best_latent_and_the_calling_latent_stay_apart(make_bundle: Make) -> None:
    bundle = make_bundle()
    row = bundle.concepts.row(by_predicate=pl.col("concept") == "Transmembrane", named=True)
    assert (row["best_latent"], row["call_latent"]) == (2, 3)
    assert "| Transmembrane | 2 | 0.69 |  | nothing |" in bundle.card  # never measured
    called = bundle.concepts.with_columns(call_precision_low=0.8, call_precision=0.9, n_calls=20)
    called = called.with_columns(call_precision_high=pl.lit(0.95))
    vars(bundle)["concepts"] = called  # as the folder would give it
    card = model_card(bundle)
    assert "| Transmembrane | 2 | 0.69 |  | feature 3 | 0.90 [0.80, 0.95] of 20 calls |" in card
    assert "| Transmembrane | feature 3 | 0.90 [0.80, 0.95] of 20 calls |" in card


def test_a_class_that_its_member_implies_is_marked_so_on_the_card(make_bundle: Make) -> None:
    bundle = make_bundle()
    row = bundle.concepts.filter(pl.col("concept") == "Transmembrane").with_columns(
        call_precision=0.9, call_precision_low=0.8, call_precision_high=pl.lit(0.95), n_calls=20
    )
    member = row.with_columns(concept=pl.lit("Transmembrane: Helical"))
    vars(bundle)["concepts"] = pl.concat(
        [row.with_columns(implied_at=0.8), member.with_columns(implied_at=pl.lit(None, pl.Float64))]
    )
    card = model_card(bundle)
    called, _, evidence = card.partition("## What it calls")[2].partition("## Evidence")
    assert "| Transmembrane | implied by Transmembrane: Helical |  |  |  |  |" in called
    assert "| Transmembrane: Helical | feature 3 | 0.90 [0.80, 0.95] of 20 calls |" in called
    assert "gets no call of its own" in called
    assert "|  | implied by Transmembrane: Helical |  | 12 | 6 |" in evidence


# --- The model card ---


def test_the_card_shows_evidence_with_intervals(make_bundle: Make) -> None:
    card = make_bundle().card
    assert (
        "| Motif: P-loop | 0 | 0.87 |  | feature 0 | 0.96 [0.85, 0.99] of 50 calls "
        "| 40 | 40 |" in card
    )
    assert "| Motif: P-loop | feature 0 | 0.96 [0.85, 0.99] of 50 calls |  |  |  |" in card
    assert "| Transmembrane | 2 | 0.69 |  | nothing | no calls | 12 | 6 |" in card
    assert "not recorded" in make_bundle(eval_data=None).card


def test_the_card_begins_with_use_and_evidence_and_ends_with_all_metrics(
    make_bundle: Make,
) -> None:
    card = make_bundle().card
    titles = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert titles == [
        *("Use", "What it calls", "Evidence", "Quality", "Limits", "Data", "All metrics"),
    ]
    quality, _, folded = card.partition("## Quality")[2].partition("<details>")
    assert "(F1 > 0.5 on both parts), a class beside its members | 8 | `n_con" in quality
    assert "| 0.95 | `loss_recovered` |" in quality
    assert all(f"`{name}`" in folded for name in METRICS)


def test_the_cards_commands_name_options_that_exist(make_bundle: Make) -> None:
    from plmsae.cli.commands import COMMANDS

    card = make_bundle().card
    commands = card.partition("```bash\n")[2].partition("```")[0].splitlines()
    flags = {spec.name: {option.flag for option in spec.options} for spec in COMMANDS}
    for line in commands:
        program, name, *words = line.split()
        assert program == "plmsae"
        assert {word for word in words if word.startswith("--")} <= flags[name]


def test_the_card_puts_baselines_beside_the_features(make_bundle: Make) -> None:
    metrics = {
        **{"sae_features_f1_50": 67.0, "sae_features_f1_50_low": 60.0},
        **{"sae_features_f1_50_high": 79.7, "sae_concepts_f1_50": 5.0},
        **{"sae_concepts_beyond_chance": 4.0, "neuron_features_f1_50": 5.0},
        **{"neuron_concepts_f1_50": 2.0, "neuron_concepts_beyond_chance": 2.0},
    }
    card = make_bundle(metrics=metrics).card
    assert "| The SAE's features | 67 [60, 80] | 5 | 4 |" in card
    assert "| The PLM's own neurons | 5 | 2 | 2 |" in card
    assert "best hit" not in card
    assert "## Baselines" not in make_bundle(metrics={"fvu": 0.1}).card


def test_a_cell_with_a_bar_keeps_its_place_on_the_page_of_a_version(make_bundle: Make) -> None:
    bundle = make_bundle(origin="a | b")
    page = version_page(bundle, f"{bundle.name}/3")
    assert "a \\| b" in page
    assert "&nbsp; | 0.87&nbsp; | " in page
    assert "| --- | --- |" in page
    assert f"--model {bundle.name}/3 --out scored" in page
    assert "@challenger" not in page
    assert "<details>" not in page


def test_the_page_of_a_version_says_which_gates_are_met_the_failed_first(
    make_bundle: Make,
) -> None:
    bundle = make_bundle()
    verdicts = [
        Verdict(what="dead_share <= 0.3", found="0.02", met=True),
        Verdict(what="quality of the models", found="1 | failed", met=False, page="#/a/b"),
    ]
    page = version_page(bundle, f"{bundle.name}/3", verdicts=verdicts)
    assert "**Gates: 1 met, 1 not met**: quality of the models." in page
    table = page.split("## Gates\n\n")[1].split("\n\n")[1].replace("&nbsp;", "").splitlines()
    assert table[2:] == [
        "| [quality of the models](#/a/b) | 1 \\| failed | **not met** |",
        r"| dead\_share &lt;= 0.3 | 0.02 | met |",
    ]
    skipped = Verdict(what="ece <= 0.1", found="not measured", met=None)
    page = version_page(bundle, f"{bundle.name}/3", verdicts=[verdicts[0], skipped])
    assert "**Gates: 1 met, 0 not met, 1 does not apply**." in page
    assert "| does not apply |" in page


def test_a_line_of_the_page_of_a_version_changes_and_a_users_words_stay(make_bundle: Make) -> None:
    bundle = make_bundle()
    pages = {"Run": "[the run](#/r)", "Atlas": "none yet"}
    page = version_page(bundle, f"{bundle.name}/3", pages=pages) + "\nMy own words.\n"
    changed = with_page(page, "Atlas", "[5 features](#/x)")
    assert changed == page.replace("- Atlas: none yet", "- Atlas: [5 features](#/x)")
    assert with_page(changed, "Atlas", "none yet") == page
    assert "## Pages\n\n- Reports: [a](#/y)\n- Run" in with_page(page, "Reports", "[a](#/y)")
    assert with_page("Mine.", "Atlas", "[a](#/y)") == "Mine.\n\n## Pages\n\n- Atlas: [a](#/y)\n"


def test_the_card_does_not_let_outside_text_become_markup(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script> | ![x](http://evil.example/x.png) `code`\n# Heading"
    bundle = write(
        tmp_path,
        concepts=tiny_concepts().with_columns(concept=pl.lit(nasty)),
        meta=tiny_meta(origin=nasty, plm_revision=nasty),
    )
    card = bundle.card
    assert "<script" not in card
    assert "http://evil" not in card
    assert "\n# Heading" not in card
    table = [line for line in card.splitlines() if "alert" in line and line.startswith("|")]
    # The only bars that are not escaped are those of the columns: six of calls, eight of evidence.
    assert [line.replace("\\|", "").count("|") for line in table] == [7, 9, 9]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300))
def test_escaped_text_is_one_line_without_html(text: str) -> None:
    line = escape(text)
    assert "<" not in line
    assert len(line.splitlines()) <= 1
    assert "|" not in line.replace("\\|", "")


def test_a_card_for_a_bundle_without_concepts_says_so(tmp_path: Path) -> None:
    bundle = write(tmp_path, concepts=tiny_concepts().clear(), meta=tiny_meta(metrics={}))
    assert "No concept was tied to a feature." in bundle.card
    assert "Nothing was measured." in model_card(bundle)


# Probes and calibrators.


def probed() -> tuple[pl.DataFrame, Callers]:
    concepts = tiny_concepts().with_columns(
        caller=pl.Series(["probe", "latent"]), call_latent=pl.Series([None, 2], dtype=pl.Int32)
    )
    probe = Probe(latents=(0, 5), weights=(0.1 + 0.2, -1e-17), constant=0.25)
    calibrators = {
        "Motif: P-loop": Calibrator(method="platt", x=(1.5, -0.5)),
        "Transmembrane": Calibrator(method="isotonic", x=(0.1, 0.9), y=(0.2, 1.0)),
    }
    return concepts, Callers(probes={"Motif: P-loop": probe}, calibrators=calibrators)


def write_probed(tmp_path: Path) -> Bundle:
    concepts, callers = probed()
    return write(tmp_path, concepts=concepts, callers=callers)


def test_probes_and_calibrators_come_back_to_the_last_bit(tmp_path: Path) -> None:
    again = read_bundle(write_probed(tmp_path).path)
    assert again.callers == probed()[1]
    assert dict(again.concepts.select("concept", "caller").iter_rows()) == {
        "Motif: P-loop": "probe",
        "Transmembrane": "latent",
    }


def test_a_bundle_without_probes_has_none(make_bundle: Make) -> None:
    bundle = make_bundle()
    assert not (bundle.path / "callers.json").exists()
    assert not read_bundle(bundle.path).callers


def test_a_probe_that_was_changed_is_refused(tmp_path: Path) -> None:
    path = write_probed(tmp_path).path
    file = path / "callers.json"
    file.write_text(file.read_text().replace("0.25", "0.0"))
    with pytest.raises(UnsafeArtifactError, match=r"callers\.json.*SHA-256 differs"):
        read_bundle(path)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"probes": {}}',
        '{"probes": {"x": {"latents": [99], "weights": [1], "constant": 0}}, "calibrators": {}}',
        '{"probes": {}, "calibrators": {"x": {"method": "eval", "x": ["print()"], "y": []}}}',
    ],
)
def test_a_forged_store_of_probes_is_one_clear_line(tmp_path: Path, text: str) -> None:
    path = write_probed(tmp_path).path
    (path / "callers.json").write_text(text)
    relist(path)
    with pytest.raises(InputError, match=r"callers\.json"):
        _ = read_bundle(path).callers


def test_a_concept_without_its_probe_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Motif: P-loop.*probe that is not there"):
        write(tmp_path, concepts=probed()[0])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "config",
    [
        {"architecture": "topk_transcoder"},
        {"architecture": "topk", "metadata": {"plmsae": {"target": "change"}}},
    ],
)
def test_a_transcoder_cannot_pass_for_an_sae(tmp_path: Path, config: dict[str, object]) -> None:
    sae = tiny_sae(tmp_path / "sae")
    config = json.loads((sae / "cfg.json").read_text()) | config
    (sae / "cfg.json").write_text(json.dumps(config))
    parts = {"sae_folder": sae, "features": tiny_features(), "concepts": tiny_concepts()}
    with pytest.raises(InputError, match=r"its target differs from model.json's input"):
        write_bundle(tmp_path / "as_sae", meta=tiny_meta(), **parts)
    target = "change" if "metadata" in config else "layer"
    meta = tiny_meta(target=target, target_layer=6)
    assert write_bundle(tmp_path / "as_it_is", meta=meta, **parts).name == meta.name


def test_a_bundle_that_is_refused_keeps_what_to_do_about_it(make_bundle: Make) -> None:
    bundle = make_bundle()
    path = bundle.path / "model.json"
    body = json.loads(path.read_text())
    del body["plm_vocabulary"]
    path.write_text(json.dumps(body))
    with pytest.raises(InputError) as caught:
        read_bundle(bundle.path)
    with pytest.raises(InputError) as direct:
        BundleMeta.from_json({k: v for k, v in tiny_meta().to_json().items()
                              if k != "plm_vocabulary"})  # fmt: skip
    assert direct.value.hint
    assert caught.value.hint == direct.value.hint
    assert str(caught.value).startswith(str(path))


def test_a_bundle_without_its_plms_vocabulary_is_refused_with_the_reason() -> None:
    values = tiny_meta().to_json()
    del values["plm_vocabulary"]
    with pytest.raises(InputError, match=r"which vocabulary its PLM was read with.*again"):
        BundleMeta.from_json(values)


def test_the_card_says_what_was_trained_on_and_what_the_split_lets_through(
    make_bundle: Make,
) -> None:
    extra = {"recipe.n_vectors": 3_000_000, "split": "by cluster", "homology_leak": "2 of 90 pairs"}
    data = make_bundle(extra=extra).card.partition("## Data")[2]
    assert "Trained on 3,000,000 activations of the training proteins." in data
    assert "Concepts and evaluation: by cluster. Leak: 2 of 90 pairs." in data
