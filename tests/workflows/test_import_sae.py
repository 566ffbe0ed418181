"""Foreign SAEs: from a folder of their authors' layout to a registered model that scores."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from plmsae.bundle.reading import read_bundle
from plmsae.core.errors import InputError, UnsafeArtifactError
from plmsae.plm.facts import plm_facts
from plmsae.plm.model import load_plm
from plmsae.proteins.reading import read_proteins
from plmsae.registry.models import list_models, resolve
from plmsae.sae.importing.hub import find_interplm
from plmsae.scoring.encoding import load_encoder
from plmsae.workflows import evaluate, import_sae, score
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import EvaluateRequest, ImportRequest, ScoreRequest

D, F, K = plm_facts("plmsae-mini").d_model, 48, 6
NAME = "plmsae.plmsae-mini.L3.residue"
SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "MSDNEWWGHCCACDEFGHIKLMNPQRSTVWY", "MAAAAGPLW"]


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own, without a tracking store unless `tracked` asks for one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("PLMSAE_CACHE", str(tmp_path / "cache"))
    torch.set_num_threads(1)


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        run_id = "none"

        def __enter__(self) -> Nothing:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    monkeypatch.setattr(import_sae, "start_run", lambda **_: Nothing())
    monkeypatch.setattr(import_sae, "log_data", lambda *_: None)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def saelens(
    folder: Path, d: int = D, *, weights: dict[str, torch.Tensor] | None = None, **changes: Any
) -> Path:
    """A TopK SAE as SAELens stores it, of random weights unless they are given."""
    tensors = weights or {
        "W_enc": random(d, F),
        "W_dec": random(F, d),
        "b_enc": random(F),
        "b_dec": random(d),
    }
    config = {"architecture": "topk", "d_in": d, "d_sae": F, "k": K, "dtype": "float32"}
    folder.mkdir()
    save_file(tensors, folder / "sae_weights.safetensors")
    config = {n: v for n, v in (config | changes).items() if v is not None}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def interplm(folder: Path, layer: int = 3, d: int = D, **more: torch.Tensor) -> Path:
    """A ReLU SAE as InterPLM stores it, the scale folded into the weights."""
    largest = torch.linspace(0.5, 8, F)
    decoder = torch.nn.functional.normalize(random(d, F), dim=0) * largest
    tensors = {
        "bias": random(d),
        "encoder.weight": random(F, d) / largest[:, None],
        "encoder.bias": random(F) / largest,
        "decoder.weight": decoder,
    }
    (folder / f"layer_{layer}").mkdir(parents=True)
    torch.save(tensors | more, folder / f"layer_{layer}" / "ae_normalized.pt")
    (folder / f"layer_{layer}" / "config.yaml").write_text(f"layer: {layer}\nlr: 1.0e-4\n")
    return folder


def bring(source: str = "sae", **changes: Any) -> import_sae.ImportOutcome:
    # Random weights fit no layer: tests/workflows/test_import_fit.py is about that.
    settings = {"plm": "plmsae-mini", "layer": 3, "register": False, "check_fit": False}
    given = settings | {"device": "cpu"} | changes
    return import_sae.run(ImportRequest(source=source, **given), Silent())


def activations(sequences: Sequence[str] = SEQUENCES) -> list[torch.Tensor]:
    """Layer 3 of the PLM."""
    plm = load_plm("plmsae-mini", device="cpu", max_layer=3)
    found = dict(plm.activations(sequences, [3]))
    return [found[i][3] for i in range(len(sequences))]


def of_principal_components(proteins: Path) -> dict[str, torch.Tensor]:
    """Weights that reconstruct: the principal components of layer 3, each in both directions."""
    x_ND = torch.cat(activations([r.sequence for r in read_proteins(proteins)]))
    mean_D = x_ND.mean(0)
    _, _, v_DD = torch.linalg.svd(x_ND - mean_D, full_matrices=False)
    w_FD = torch.cat([v_DD[: F // 2], -v_DD[: F // 2]])
    return {
        "W_enc": w_FD.T.contiguous(),
        "W_dec": w_FD,
        "b_enc": torch.full((F,), 0.01),
        "b_dec": mean_D,
    }


def encoded(bundle: Any) -> Iterator[torch.Tensor]:
    for code in load_encoder(bundle, device="cpu", precision="fp32").encode(SEQUENCES):
        yield torch.from_numpy(code.toarray())


def test_an_sae_of_saelens_becomes_a_model_that_evaluates_and_scores(tmp_path: Path) -> None:
    import mlflow

    proteins, labels = proteins_with_labels(tmp_path)
    w = of_principal_components(proteins)
    folder = saelens(tmp_path / "theirs", weights=w)
    outcome = bring(folder=folder, register=True, name="Theirs")
    assert outcome.model == f"{NAME}/1"
    (listed,) = list_models().to_dicts()
    assert (listed["name"], listed["aliases"], listed["k"]) == (NAME, ["challenger"], K)
    bundle = resolve(f"{NAME}@challenger")
    assert bundle.meta.origin.startswith("Theirs (saelens sae_weights.safetensors, SHA-256 ")
    assert bundle.meta.extra["origin.sha256"] == outcome.origin["sha256"]
    assert "Origin: Theirs" in bundle.card

    for x_ND, found_NF in zip(activations(), encoded(bundle), strict=True):
        pre = torch.relu((x_ND - w["b_dec"]) @ w["W_enc"] + w["b_enc"])
        best = pre.topk(K, dim=1)
        expected = torch.zeros_like(pre).scatter(1, best.indices, best.values)
        assert torch.allclose(found_NF, expected, atol=1e-3)
        assert (expected > 0).any()

    evaluated = evaluate.run(
        EvaluateRequest(
            model=f"{NAME}@challenger",
            concepts=str(labels),
            proteins=str(proteins),
            min_instances=3,
            min_precision=0.0,
            baselines="none",
            out=tmp_path / "evaluated",
            device="cpu",
        ),
        Silent(),
    )
    assert evaluated.model == f"{NAME}/2"
    again = resolve(evaluated.model)
    assert again.meta.origin == bundle.meta.origin
    assert again.features["max_activation"].max() > 0
    scored = score.run(
        ScoreRequest(
            proteins=str(proteins),
            model=evaluated.model,
            out=tmp_path / "scored",
            validate=False,
            device="cpu",
        ),
        Silent(),
    )
    assert scored.n_scored == 40

    runs = mlflow.search_runs(experiment_names=["plmsae-import"])
    assert list(runs["status"]) == ["FINISHED"]
    assert (runs["params.format"][0], runs["params.d_sae"][0]) == ("saelens", str(F))
    artifact = mlflow.artifacts.load_dict(f"{runs['artifact_uri'][0]}/origin.json")
    assert artifact["config"]["architecture"] == "topk"
    assert str(tmp_path) not in json.dumps(artifact)


def proteins_with_labels(folder: Path) -> tuple[Path, Path]:
    """Forty unlike proteins, each with one stretch of tryptophans that is labelled."""
    rng = np.random.default_rng(0)
    letters = np.array(list("ACDEFGHIKLMNPQRSTVY"))
    rows, lines = [], []
    for i in range(40):
        sequence = "".join(rng.choice(letters, 50))
        start = int(rng.integers(5, 40))
        lines.append(f">P{i}\nM{sequence[1:start]}WWWWWW{sequence[start:]}\n")
        rows.append((f"P{i}", start + 1, start + 6, "Motif: W", "span"))
    (folder / "p.fasta").write_text("".join(lines))
    schema = ["accession", "start", "end", "concept", "kind"]
    pl.DataFrame(rows, schema=schema, orient="row").write_csv(folder / "l.tsv", separator="\t")
    return folder / "p.fasta", folder / "l.tsv"


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("how", ["folder", "from_"])
def test_a_downloaded_sae_of_interplm(how: str, tmp_path: Path) -> None:
    folder = interplm(tmp_path / "theirs")
    outcome = bring("interplm", **{how: folder})
    bundle = read_bundle(outcome.bundle)
    assert bundle.meta.origin.startswith("interplm ae_normalized.pt, SHA-256 ")
    assert bundle.meta.extra["origin.scale_convention"] == "folded"
    assert bundle.meta.extra["origin.config.layer"] == 3
    # Its latents lie in [0, 1] already.
    assert set(bundle.features["max_activation"]) == {1.0}
    w = torch.load(folder / "layer_3" / "ae_normalized.pt", weights_only=True)
    for x_ND, found_NF in zip(activations(), encoded(bundle), strict=True):
        expected = torch.relu((x_ND - w["bias"]) @ w["encoder.weight"].T + w["encoder.bias"])
        assert torch.allclose(found_NF, expected, atol=1e-3)
        assert (expected > 0).any()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A hub that has InterPLM's 8M SAEs without the weights' normalised form, and no PLM."""
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    commit = "c0ffee" * 7
    root = tmp_path / "hub" / "snapshots" / commit[:40]
    interplm(root, layer=4, d=320)
    asked = []

    def download(repository: str, name: str, **options: Any) -> str:
        asked.append(f"{repository}/{name}")
        if repository != find_interplm("esm2-8m", 3).hub_id:
            raise LocalEntryNotFoundError("offline")
        if not (root / name).exists():
            raise EntryNotFoundError("404")
        return str(root / name)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return asked


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("plm", ["esm2-8m", "facebook/esm2_t6_8M_UR50D"])
def test_an_sae_of_interplm_comes_from_the_hub(plm: str, hub: list[str]) -> None:
    outcome = bring("interplm", plm=plm, layer=4)
    assert "Elana/InterPLM-esm2-8m/layer_4/ae_normalized.pt" in hub
    assert outcome.origin["repository"] == "Elana/InterPLM-esm2-8m"
    meta = read_bundle(outcome.bundle).meta
    assert meta.name == "plmsae.esm2-8m.L4.residue"
    assert meta.origin.startswith("Elana/InterPLM-esm2-8m layer_4/ae_normalized.pt at c0ffee")
    # The PLM was never here: nothing says which of its commits will be.
    assert meta.plm_revision == meta.plm_vocabulary == ""


@pytest.mark.usefixtures("untracked")
def test_what_the_hub_does_not_have_is_one_line(hub: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^--layer: InterPLM published no .*4.*1, 9, 18"):
        bring("interplm", plm="esm2-650m", layer=4)
    with pytest.raises(InputError, match=r"^--plm: InterPLM published no .*--from"):
        bring("interplm", plm="esm2-35m", layer=4)
    with pytest.raises(
        InputError, match=r"Elana.*it cannot be fetched: the hub cannot be reached: .*--from DIR"
    ):
        bring("interplm", plm="esm2-650m", layer=9)
    with pytest.raises(InputError, match=r"it holds no SAE of layer 5"):
        bring("interplm", plm="esm2-8m", layer=5)


def test_a_local_folder_asks_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: Any, local_files_only: bool, **__: Any) -> str:
        assert local_files_only
        raise FileNotFoundError("not here")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    facts = plm_facts("esm2-650m", network=False)
    assert (facts.n_layers, facts.d_model, facts.revision) == (33, 1280, "")
    with pytest.raises(InputError, match=r"owner/model: the PLM's config cannot be read: not here"):
        plm_facts("owner/model", network=False)


def test_facts_of_a_folder_and_of_a_downloaded_plm_come_from_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mini = load_plm("plmsae-mini", device="cpu")
    facts = plm_facts("plmsae-mini")
    assert facts.id == mini.id
    assert facts.revision == mini.revision
    assert (facts.n_layers, facts.d_model) == (mini.n_layers, mini.d_model)
    config = tmp_path / "snapshots" / "abc123" / "config.json"
    config.parent.mkdir(parents=True)
    values = {"model_type": "esm", "num_hidden_layers": 2, "hidden_size": 8}
    config.write_text(json.dumps(values))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda *_, **__: str(config))
    assert plm_facts("owner/model").revision == "abc123"
    config.write_text(json.dumps(values | {"model_type": "llama"}))
    with pytest.raises(InputError, match="no PLM family here opens models of type 'llama'"):
        plm_facts("owner/model")


@pytest.mark.usefixtures("untracked")
def test_the_reconstruction_is_measured_where_proteins_are_given(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    proteins, _ = proteins_with_labels(tmp_path)
    outcome = bring(folder=saelens(tmp_path / "theirs"), proteins=str(proteins))
    assert outcome.metrics["l0"] == pytest.approx(K, abs=1)
    assert outcome.metrics["explained_variance"] < 0
    assert "are --plm, --layer, --norm-factor and --convention" in caplog.text
    bundle = read_bundle(outcome.bundle)
    assert bundle.meta.metrics["loss_recovered"] == outcome.metrics["loss_recovered"]
    assert bundle.features["max_activation"].max() > 0
    assert bundle.meta.extra["measured_on"] == "p.fasta"
    assert "explained variance" in "\n".join(outcome.lines())


@pytest.mark.usefixtures("untracked")
def test_a_transcoder_is_asked_for_the_layer_it_gives_and_named_after_it(tmp_path: Path) -> None:
    proteins, _ = proteins_with_labels(tmp_path)
    cfg = {"architecture": "jumprelu_transcoder", "d_out": D, "k": None}
    folder = saelens(tmp_path / "theirs", **cfg)
    tensors = {"threshold": torch.full((F,), 0.1)}
    tensors |= {
        "W_enc": random(D, F),
        "W_dec": random(F, D),
        "b_enc": random(F),
        "b_dec": random(D),
    }
    save_file(tensors, folder / "sae_weights.safetensors")
    with pytest.raises(InputError, match=r"the file does not say which .*; give --target-layer$"):
        bring(folder=folder)
    for above, said in ((3, "needs a layer above it"), (7, "has layers 0 to 6")):
        with pytest.raises(InputError, match=f"^--target-layer: .*{said}"):
            bring(folder=folder, target_layer=above)
    with pytest.raises(InputError, match=r"^--target-layer: only a transcoder"):
        bring(folder=saelens(tmp_path / "plain"), target_layer=5)
    outcome = bring(folder=folder, target_layer=5, proteins=str(proteins))
    meta = read_bundle(outcome.bundle).meta
    assert meta.name == "plmsae.plmsae-mini.L3-L5.residue"
    assert outcome.bundle.parent.name == meta.name
    assert "loss_recovered" not in outcome.metrics
    # Measured against layer 5, which its rows are compared with by a plain formula.
    plm = load_plm("plmsae-mini", device="cpu", precision="auto", max_layer=5)
    sequences = [s.splitlines()[1] for s in proteins.read_text().split(">")[1:]]
    states = [x for _, x in plm.activations(sequences, [3, 5])]
    x, y = (torch.cat([s[layer] for s in states]).double() for layer in (3, 5))
    pre = x @ random(D, F).double() + random(F)
    given = (pre * (pre > 0.1)) @ random(F, D).double() + random(D)
    fvu = ((given - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
    assert outcome.metrics["fvu"] == pytest.approx(float(fvu), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"layer": 7}, r"^--layer: plmsae-mini has layers 0 to 6"),
        ({"plm": "none"}, "^--plm: no such PLM"),
        ({"plm": "esm2-35m"}, rf"takes {D} values per residue, esm2-35m gives 480; give --plm"),
        ({"folder": None}, "import sae: give the folder"),
        ({"from_": Path("x")}, "give DIR or --from, not both"),
        ({"folder": Path("none")}, "^none: no such file or folder"),
        ({"source": "interplm"}, r"are not those of interplm"),
        ({"source": "interplm", "format": "esmc"}, "^--format"),
        ({"format": "sparsify"}, "are not those of sparsify"),
        ({"k": 5}, "the file says k = 6, not 5"),
    ],
)
@pytest.mark.usefixtures("untracked")
def test_what_does_not_fit_is_one_line(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    source = changes.pop("source", "sae")
    with pytest.raises(InputError, match=said):
        bring(source, **{"folder": saelens(tmp_path / "theirs")} | changes)
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("untracked")
def test_what_a_file_leaves_open_names_the_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file does not say k; give --k"):
        bring(folder=saelens(tmp_path / "no_k", k=None))
    assert read_bundle(bring(folder=tmp_path / "no_k", k=4).bundle).meta.k == 4
    scaled = saelens(tmp_path / "scaled", normalize_activations="expected_average_only_in")
    with pytest.raises(InputError, match="give --norm-factor"):
        bring(folder=scaled)
    both = interplm(tmp_path / "both", activation_rescale_factor=torch.linspace(1, 2, F))
    with pytest.raises(InputError, match="give --convention folded"):
        bring("interplm", from_=both)
    kept = bring("interplm", from_=both, convention="buffer")
    highest = read_bundle(kept.bundle).features["max_activation"]
    assert highest.to_list() == pytest.approx(torch.linspace(1, 2, F).tolist())


@pytest.mark.usefixtures("untracked")
def test_another_layer_than_the_files_is_refused(tmp_path: Path) -> None:
    folder = interplm(tmp_path / "theirs", layer=5)
    with pytest.raises(InputError, match="holds no layer 3"):
        bring("interplm", from_=folder)
    for inner in (folder / "layer_5", folder / "layer_5" / "ae_normalized.pt"):
        with pytest.raises(InputError, match=r"^--layer: the folder is called layer_5.*--layer 5"):
            bring("interplm", from_=inner)
    tensors = {"w_enc": random(D, F), "w_dec": random(F, D), "b_enc": random(F), "b_pre": random(D)}
    save_file(tensors, tmp_path / f"esm2_plm{D}_l2_sae{F}.safetensors")
    with pytest.raises(InputError, match=r"^--layer: the file is of layer 2"):
        bring(folder=tmp_path / f"esm2_plm{D}_l2_sae{F}.safetensors", k=K)


@pytest.mark.usefixtures("untracked")
def test_a_folder_without_weights_and_a_file_with_code_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no weights file in it"):
        bring(folder=tmp_path / "empty")
    folder = interplm(tmp_path / "theirs")
    torch.save({"bias": print}, folder / "layer_3" / "ae_normalized.pt")
    with pytest.raises(UnsafeArtifactError, match="its pickle calls"):
        bring("interplm", from_=folder)
    (folder / "layer_3" / "ae_normalized.pt").write_bytes(b"PK not a zip")
    with pytest.raises(InputError):
        bring("interplm", from_=folder)


def test_the_command_fails_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from plmsae.cli.app import run

    folder = saelens(tmp_path / "theirs", k=None)
    arguments = ["import", "sae", str(folder), "--plm", "plmsae-mini", "--layer", "3", "-q"]
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.endswith("the file does not say k; give --k\n")
