"""Types of the public names; made by `python -m plmsae.cli.reference`, do not edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from plmsae.api.model import Model as Model
from plmsae.api.model import load as load
from plmsae.plm.model import load_plm as load_plm
from plmsae.sae.model import load_sae as load_sae
from plmsae.workflows.evaluating.outcome import EvaluateOutcome
from plmsae.workflows.evaluating.protein_outcome import EvaluateProteinsOutcome
from plmsae.workflows.features import FeaturesOutcome
from plmsae.workflows.fill import FillOutcome
from plmsae.workflows.report import ReportOutcome
from plmsae.workflows.score import ScoreOutcome
from plmsae.workflows.training.outcome import TrainOutcome
from plmsae.workflows.validate import ValidateOutcome

__version__: str
__all__: list[str]

def train(
    *,
    proteins: str | Path,
    plm: str | Path = ...,
    plm_revision: str | None = ...,
    layers: Sequence[int] | int = ...,
    k: Sequence[int] | int = ...,
    unit: Literal["residue", "protein"] = ...,
    recipe: str | None = ...,
    target_layer: int | None = ...,
    arch: str | None = ...,
    d_sae: int | None = ...,
    target: Literal["input", "layer", "change"] | None = ...,
    levels: Sequence[int] | int | None = ...,
    n_vectors: int | None = ...,
    batch_size: int | None = ...,
    lr: float | Literal["auto"] | None = ...,
    warmup_share: float | None = ...,
    decay_share: float | None = ...,
    sparsity_coefficient: float | None = ...,
    per_row_share: float | None = ...,
    auxk_coefficient: float | None = ...,
    auxk_k: int | None = ...,
    dead_window_share: float | None = ...,
    grad_clip: float | None = ...,
    scale_batches: int | None = ...,
    checkpoint_minutes: float | None = ...,
    log_every: int | None = ...,
    max_proteins: int | None = ...,
    cache: str | Path | None = ...,
    cache_dtype: Literal["float16", "bfloat16", "float32"] | None = ...,
    out: str | Path = ...,
    start_over: bool = ...,
    register: bool = ...,
    device: str = ...,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = ...,
    threads: int | None = ...,
    seed: int = ...,
    progress: bool = ...,
) -> list[TrainOutcome]: ...
def evaluate(
    *,
    model: str | Path,
    concepts: str | Path,
    proteins: str | Path | None = ...,
    report_on: str | Path | None = ...,
    ontology: str | Path | None = ...,
    kinds: Literal["own", "interplm"] = ...,
    split: Literal["cluster", "organism"] = ...,
    identity: float | None = ...,
    select_share: float = ...,
    min_instances: int = ...,
    min_residues: int = ...,
    min_spans: int = ...,
    min_precision: float = ...,
    max_proteins: int | None = ...,
    baselines: Literal["all", "fast", "none"] = ...,
    random_vectors: int = ...,
    probes: bool = ...,
    bootstrap: int = ...,
    fidelity_proteins: int = ...,
    out: str | Path = ...,
    start_over: bool = ...,
    keep_encoded: bool = ...,
    register: bool = ...,
    promote: bool = ...,
    device: str = ...,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = ...,
    threads: int | None = ...,
    seed: int = ...,
    progress: bool = ...,
) -> EvaluateOutcome | EvaluateProteinsOutcome: ...
def score(
    *,
    proteins: str | Path,
    model: str | Path = ...,
    out: str | Path = ...,
    start_over: bool = ...,
    format: str | None = ...,
    features: bool = ...,
    strict: bool = ...,
    min_precision: float | None = ...,
    validate: bool = ...,
    encoded: str | Path | None = ...,
    device: str = ...,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = ...,
    threads: int | None = ...,
    engine: str = ...,
    address: str | None = ...,
    workers: int | None = ...,
    progress: bool = ...,
) -> ScoreOutcome: ...
def features(
    *,
    folder: str | Path,
    latent: Sequence[int] | int,
    top: int = ...,
    min_activation: float = ...,
    model: str | Path | None = ...,
    out: str | Path | None = ...,
    progress: bool = ...,
) -> FeaturesOutcome: ...
def fill(
    *,
    table: str | Path,
    model: str | Path = ...,
    out: str | Path = ...,
    start_over: bool = ...,
    truth: str | Path | None = ...,
    ontology: str | Path | None = ...,
    min_precision: float | None = ...,
    missing_share: float = ...,
    missing_shares: str | None = ...,
    backtest: bool = ...,
    hide_share: float = ...,
    strict: bool = ...,
    validate: bool = ...,
    encoded: str | Path | None = ...,
    device: str = ...,
    precision: Literal["auto", "fp32", "bf16", "fp16"] = ...,
    threads: int | None = ...,
    seed: int = ...,
    progress: bool = ...,
) -> FillOutcome: ...
def validate(
    *,
    path: str | Path,
    kind: Literal["proteins", "annotations", "proposals", "labels"] | None = ...,
    proteins: str | Path | None = ...,
    labels: str | None = ...,
    model: str | Path | None = ...,
    out: str | Path = ...,
    progress: bool = ...,
) -> ValidateOutcome: ...
def report(
    *,
    model: str | Path,
    proteins: str | Path,
    out: str | Path = ...,
    n_features: int = ...,
    latents: Sequence[int] | int = ...,
    llm: str | None = ...,
    no_llm: bool = ...,
    batch: bool = ...,
    max_usd: float | None = ...,
    dry_run: bool = ...,
    max_proteins: int | None = ...,
    encoded: str | Path | None = ...,
    device: str = ...,
    threads: int | None = ...,
    seed: int = ...,
    progress: bool = ...,
) -> ReportOutcome: ...
