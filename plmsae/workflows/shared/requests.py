"""What each workflow is asked to do: one dataclass each, the one definition of its settings.

The CLI makes its options of these, the Python API its arguments, the ``MLproject`` entry points
pass them on, and MLflow logs them. A configuration embedded in a request brings its fields along.
This module imports nothing heavy, so that ``plmsae --help`` answers at once.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from plmsae.core.resources import READY
from plmsae.core.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    Range,
    Seed,
    Setting,
    Share,
    check_settings,
    read_settings,
    settings_values,
)
from plmsae.encode import Unit
from plmsae.plm.choices import FillOrder, Precision
from plmsae.plm.distil_config import DistilConfig
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.quality.suites import TableKind
from plmsae.sae.choices import CacheDtype, ScaleConvention
from plmsae.workflows.shared.recipe_settings import recipe_overrides

SplitBy = Literal["cluster", "organism"]
Baselines = Literal["all", "fast", "none"]

_USUAL_DOCS = {
    "out": "Folder to write.",
    "model": "Registered model (NAME@alias, NAME/3; NAME alone means @champion), bundle folder, or "
    "ready: the model that comes with plmsae.",
    "device": "auto, cpu, cuda, cuda:1 or mps.",
    "precision": "What the PLM's matrix products are computed in: auto (bf16 on GPUs and on CPUs "
    "with matrix units, else fp32), fp32, bf16 or fp16.",
    "threads": "Processor cores to compute on. By default all that the process may use, or as many "
    "as OMP_NUM_THREADS says.",
    "seed": "Seed of everything random.",
    "min_precision": "Abstain on concepts whose precision interval starts lower; 0 proposes all "
    "whose precision was measured. By default the model's own bound.",
    "start_over": "Remove what an earlier run of this command left in the output folder, and begin "
    "anew; a folder of anything else is refused.",
    "strict": "Stop at the first bad record instead of listing it in rejected.",
    "validate": "Check input and output against the reviewed suites.",
    "plm_revision": "Branch, tag or commit; by default the catalogue's.",
    "clusters": "Homology clusters of the proteins, a line ``cluster<TAB>accession`` each, as "
    "MMseqs2 writes them: relatives are then drawn more often than proteins without any.",
    "checkpoint_minutes": "Minutes between checkpoints.",
    "max_minutes": "Stop after this many minutes, with a checkpoint; the same command continues.",
    "unit": "``residue``, or ``protein`` (mean over residues).",
    "max_proteins": "Use a random sample of this many.",
    "register": "Register as ``challenger``.",
    "encoded": "Folder in which encoded proteins are kept. Those of the same model that are there, "
    "left by any command, do not run the PLM again; others are added.",
    "sequence": "One-letter residues of the protein; it must fit one window of the PLM.",
    "mask": "Residues that the PLM does not see, so that its predictions there are no copies.",
    "n_controls": "Random latents of the same density and norm, and random directions, to compare "
    "with.",
}
"""Docstrings of fields that mean the same in every request."""


def request_settings(request: type) -> list[Setting]:
    """Return the settings of a request, each with its description."""
    return [
        dataclasses.replace(setting, doc=setting.doc or _USUAL_DOCS.get(setting.name, ""))
        for setting in read_settings(request)
    ]


def request_params(request: Any, **facts: Any) -> dict[str, Any]:
    """Return all settings of a request as the parameters of an MLflow run.

    Parameters
    ----------
    request : object
        One of the dataclasses below.
    **facts
        What was found out since, such as the version that an alias of a model stands for.
    """
    return {**settings_values(request), **facts}


class Request:
    """What all requests have: a value that is none of the choices or out of range is refused.

    A field declares both in its type, so that whoever makes a request learns of it before a file is
    read, a folder made or a run opened.
    """

    def __post_init__(self) -> None:
        """Raise `InputError`, naming the option."""
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class SimulateRequest(Request):
    """Make a simulated proteome with known truth."""

    out: Path
    """Folder to write."""
    n_families: PositiveInt = 60
    """Homologous families."""
    proteins_per_family: PositiveInt = 20
    """Members of each."""
    hidden_fraction: Share = 0.3
    """Share of the labels of held-out families that is hidden, in [0, 1]."""
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class FetchRequest(Request):
    """Download a PLM before it is needed."""

    plm: str
    """Catalogue name or hub id."""
    plm_revision: str | None = None
    fit_head: str | None = None
    """FASTA or UniProt TSV with proteins on which to fit the language-modelling head that a PLM
    from a package lacks; 3,000 are enough."""
    device: str = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class PretrainRequest(Request):
    """Train an ESM-2-architecture PLM of one's own."""

    proteins: tuple[str, ...]
    """FASTA files or UniProt TSV exports to learn from."""
    out: Path
    """Run folder: ``checkpoint/``, and ``model/`` with the finished Hugging Face folder. A run
    found there is continued."""
    held_out: tuple[str, ...] = ()
    """UniProt tables or FASTA files on which perplexity is measured; never trained on."""
    init: str | None = None
    """PLM of the same shape whose weights a new run starts from: catalogue name, hub id or
    folder."""
    clusters: Path | None = None
    simulated_share: Annotated[float, Range(ge=0, lt=1)] = 0.03
    """Share of simulated families among the residues, in [0, 1)."""
    config: PretrainConfig = field(default=PretrainConfig(), metadata={"fixed": ("clean_share",)})
    """Shape and schedule of the PLM."""
    checkpoint_minutes: NonNegativeFloat = 10.0
    max_minutes: NonNegativeFloat | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class DistilRequest(Request):
    """Train a small PLM to have the states and predictions of a larger one."""

    proteins: tuple[str, ...]
    """FASTA files or UniProt TSV exports to learn on; labels are not used."""
    teacher: str
    """Catalogue name, hub id or folder of the PLM to learn from."""
    out: Path
    """Run folder: ``checkpoint/``, and ``model/`` with the Hugging Face folder. A run found there
    is continued."""
    teacher_revision: str | None = None
    """Branch, tag or commit of the teacher; by default the catalogue's."""
    teacher_licence: str = "not stated"
    """Licence of the teacher's weights, for the model card."""
    init: str | None = None
    """PLM of the student's shape whose weights a new run starts from, in place of random ones:
    catalogue name, hub id or folder."""
    held_out: tuple[str, ...] = ()
    """UniProt tables or FASTA files on which perplexity and states are compared; never trained
    on."""
    clusters: Path | None = None
    config: PretrainConfig = field(
        default=PretrainConfig(
            d_model=320,
            n_heads=20,
            steps=5000,
            tokens_per_step=4096,
            row=256,
            mask_share=0.15,
            clean_share=0.5,
        ),
        metadata={"fixed": ("token_dropout",)},
    )
    """Shape and schedule of the student; its number of blocks must divide that of the teacher."""
    losses: DistilConfig = field(default=DistilConfig())
    """What the student learns from its teacher."""
    measure_minutes: Annotated[float, Range(gt=0)] = 15.0
    """Minutes between measurements on the held-out files."""
    checkpoint_minutes: NonNegativeFloat = 10.0
    max_minutes: NonNegativeFloat | None = None
    device: str = "auto"


@dataclass(frozen=True, kw_only=True)
class TrainRequest(Request):
    """Train SAEs on the activations of a PLM and register them."""

    proteins: str
    """FASTA or UniProt TSV to learn from."""
    plm: str = "plmsae-mini"
    """Catalogue name, hub id or folder."""
    plm_revision: str | None = None
    layers: tuple[NonNegativeInt, ...] = (4,)
    """One SAE is trained for each; 1-based, 0 is the embedding output."""
    k: tuple[PositiveInt, ...] = ()
    """Active latents per residue; an SAE is trained for each, too. By default the recipe's."""
    unit: Unit = "residue"
    recipe: str | None = None
    """A recipe's name or a YAML file; by default the PLM's own, or ``default``."""
    overrides: dict[str, object] = field(
        default_factory=dict, metadata={"settings": recipe_overrides}
    )
    """Values that replace the recipe's: ``d_sae``, ``arch``, ``n_vectors``, ``target``, …"""
    max_proteins: PositiveInt | None = None
    cache: Path | None = None
    """Keep the activations of all layers in this folder and train from there: written once for
    these proteins and this PLM, used again by any training on them."""
    cache_dtype: CacheDtype | None = None
    """How a new cache stores its numbers; by default float16."""
    out: Path = Path("runs/train")
    """Folder for checkpoints and bundles; a run found there is continued."""
    start_over: bool = False
    register: bool = True
    device: str = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class ImportRequest(Request):
    """Bring in an SAE that others trained and register it."""

    source: Literal["interplm", "sae"]
    """``interplm``: one that InterPLM published; ``sae``: a folder or file of a known layout."""
    folder: Path | None = None
    """Folder or weights file; InterPLM's is fetched from the Hugging Face hub if not given."""
    plm: str
    """Catalogue name, hub id or folder of the PLM it was trained on."""
    layer: NonNegativeInt
    """The layer it was trained on; 1-based, 0 is the embedding output."""
    target_layer: NonNegativeInt | None = None
    """For a transcoder: the layer that it gives, or up to which it gives the change."""
    from_: Path | None = None
    """The same as `folder`; nothing is fetched then."""
    plm_revision: str | None = None
    unit: Unit = "residue"
    format: str = "auto"
    """Layout of the files; auto finds it from the names of the tensors."""
    k: PositiveInt | None = None
    """Active latents per residue, where the file does not say; of a hierarchical SAE that plmsae
    trained, how many of the largest to keep."""
    arch: Literal["relu", "topk", "jumprelu"] | None = None
    """Activation function, where the configuration beside the weights is missing."""
    norm_factor: Annotated[float, Range(gt=0)] | None = None
    """What the training activations were divided by, where the file leaves that open."""
    convention: ScaleConvention | None = None
    """Where an InterPLM file keeps the scale of its latents, where it is not clear: folded into
    the weights, in a buffer beside them, or nowhere (raw)."""
    name: str | None = None
    """What to call it where its origin is shown; by default the repository or the file."""
    proteins: str | None = None
    """FASTA or UniProt TSV on which to measure the reconstruction and the loss recovered, as
    promotion asks for; by default the reconstruction alone, on proteins that ship with plmsae."""
    check_fit: bool = True
    """Refuse an SAE that explains nothing of this layer, or clearly more of another one. Without
    it the PLM is opened only for `proteins`."""
    out: Path = Path("runs/import")
    """Folder for the bundle."""
    register: bool = True
    device: str = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest(Request):
    """Find out what the features of an SAE mean, on proteins held out, beside the baselines."""

    model: str
    concepts: str
    """UniProt TSV export with sequences, or a plain label table (then give `proteins`)."""
    proteins: str | None = None
    """FASTA with the sequences of a plain label table."""
    report_on: str | None = None
    """A second UniProt table: concepts are chosen on the first and reported on this one. Without
    it, the first is split."""
    ontology: str | None = None
    """Gene Ontology as an OBO file (go-basic.obo, a slim), for a protein-level model: adds the
    ancestors, names and depths of GO terms."""
    kinds: Literal["own", "interplm"] = "own"
    """Which concepts are counted by residue, the others by instance: ``own`` by the feature key;
    ``interplm`` by that protocol's list, under which binding sites, lipidations, sites and
    cross-links count by instance. For comparison with published numbers; a residue-level model."""
    split: SplitBy = "cluster"
    """How one table is split: ``cluster`` keeps every homology cluster on one side; ``organism``
    chooses on some species and reports on others, with homologues on both sides."""
    identity: Share | None = None
    """Share of identical residues at which homology clusters are cut, in [0, 1]. By default the
    clusters that the table names (UniRef50), or 0.3 where it names none."""
    select_share: Annotated[float, Range(gt=0, lt=1)] = 0.5
    """Share of the proteins on which pairs are chosen, when one table is split."""
    min_instances: PositiveInt = 10
    """A concept needs that many instances to be chosen on."""
    min_residues: NonNegativeInt = 0
    """A concept needs that many labelled residues in all, to be looked at."""
    min_spans: NonNegativeInt = 0
    """A concept needs that many labelled spans or sites in all, to be looked at."""
    min_precision: Share = 0.8
    """Concepts whose precision interval starts lower abstain in scoring and filling."""
    max_proteins: PositiveInt | None = None
    """Use a random sample of this many of each table."""
    baselines: Baselines = "all"
    """What stands beside the SAE, through the same protocol: ``fast`` is the PLM's neurons,
    shuffled labels, amino-acid identity, windows of 3 residues, and labels transferred from the
    best hit of a homology search and from the nearest mean embedding; ``all`` adds PCA, ICA and
    the SAE of a randomly initialised PLM, and takes up to twice as long."""
    random_vectors: NonNegativeInt = 100_000
    """Residues (repeats counted) on which the SAE of the random PLM is trained."""
    probes: bool = True
    """Fit a sparse probe over a few latents for each common concept, and let it call the concept
    where it does better than the best single latent on proteins held out for that."""
    bootstrap: NonNegativeInt = 500
    """Samples of homology clusters for the 95 % intervals, of F1 and of what each method finds; 0
    for none."""
    fidelity_proteins: NonNegativeInt = 128
    """Report proteins on which the reconstruction and its cost to the PLM are measured; 0 for
    none."""
    out: Path = Path("runs/evaluate")
    """Folder to write; what an evaluation that was stopped had encoded is found there."""
    start_over: bool = False
    keep_encoded: bool = False
    """Leave the encoded proteins in ``encoded`` of the output folder: another evaluation of the
    same model and proteins there does not run the PLM over them again, nor do ``score``, ``fill``
    and ``report`` that are given this folder as ``--encoded``."""
    register: bool = True
    """Register the SAE with its evidence as a new version, ``challenger``."""
    promote: bool = False
    """Then promote it to ``champion`` if its gates are met."""
    device: str = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class ScoreRequest(Request):
    """Annotate a proteome."""

    proteins: str
    """FASTA or UniProt TSV, plain, gz or zst; ``-`` for standard input, or ``s3://BUCKET/KEY``."""
    model: str = READY
    out: str = "runs/score"
    """Folder to write, here or at ``s3://BUCKET/PREFIX``."""
    start_over: bool = False
    format: str | None = None
    """Also export in this format."""
    features: bool = False
    """Also write every latent that fired."""
    strict: bool = False
    """Stop at the first bad record instead of listing it in ``rejected``."""
    min_precision: Share | None = None
    """Leave out concepts whose precision interval starts lower, and those that abstained at this
    bound or a lower one when the model was evaluated; 0 keeps all whose precision was measured. By
    default the model's own bound."""
    validate: bool = True
    """Check input and annotations against the reviewed suites."""
    encoded: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None
    """Processor cores to compute on. By default all that the process may use, or as many as
    OMP_NUM_THREADS says. Ray's workers share the cores of their cluster evenly instead."""
    engine: str = "local"
    """What scores the parts of the input: this process, or the workers of Ray."""
    address: str | None = None
    """Of a running Ray cluster (auto, HOST:6379, ray://HOST:10001); by default Ray is started on
    this machine for the length of the run."""
    workers: PositiveInt | None = None
    """Ray workers; by default one for each GPU, or, without GPUs, one for every four processors."""


@dataclass(frozen=True, kw_only=True)
class FillRequest(Request):
    """Propose labels that a UniProt table lacks."""

    table: str
    """UniProt TSV export, plain, gz or zst."""
    model: str = READY
    out: Path = Path("runs/fill")
    start_over: bool = False
    truth: str | None = None
    """The same table with the labels that were hidden, to measure what comes back."""
    ontology: str | None = None
    """Gene Ontology as an OBO file, for a protein-level model that was evaluated with one: what a
    table's GO terms imply is known, too."""
    min_precision: Share | None = None
    missing_share: Annotated[float, Range(gt=0, le=1)] = 0.1
    """Share of the true labels that the table is taken to lack, in (0, 1]: the precision of
    proposals follows from it."""
    missing_shares: str | None = None
    """A table (concept, missing_share; tab-separated) for concepts, or whole classes (Domain, GO),
    of which another share is missing; 0 where nothing is. Too large a share gives too high a
    precision."""
    backtest: bool = False
    """Also hide a share of the known labels, at random and by whole homology cluster, and measure
    what comes back, beside what the best hit of a homology search brings back."""
    hide_share: Annotated[float, Range(gt=0, lt=1)] = 0.1
    """Share of the known labels that the back-test hides, in (0, 1)."""
    strict: bool = False
    validate: bool = True
    encoded: Path | None = None
    device: str = "auto"
    precision: Precision = "auto"
    threads: PositiveInt | None = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class ValidateRequest(Request):
    """Check a table, or the output of scoring or filling, against the reviewed suites."""

    path: str
    """FASTA or UniProt table (kind ``proteins`` or ``labels``), folder made by ``score`` or
    ``fill`` (kind ``annotations`` or ``proposals``), or a table of any tool (``.parquet``,
    ``.tsv``, ``.csv``) with the columns that docs/reference/tables.md lists."""
    kind: TableKind | None = None
    """Found from the path if not given; a table of calls or proposals of any tool needs it."""
    proteins: str | None = None
    """FASTA or UniProt table of the proteins that were scored: residues are checked against it."""
    labels: str | None = None
    """UniProt table, or table of labels, of proteins whose labels are known: calls and their
    probabilities are checked against it."""
    model: str | None = None
    """Registered model that made the calls: its concepts, its files and the PLM's revision are
    checked. By default the one that the folder names, where the registry has it."""
    out: Path = Path("runs/validate")


@dataclass(frozen=True, kw_only=True)
class FeaturesRequest(Request):
    """Find the proteins and residues on which latents fire, in what ``score`` has kept."""

    folder: str
    """A folder made by ``score`` with its features, here or at ``s3://BUCKET/PREFIX``."""
    latent: tuple[NonNegativeInt, ...]
    """The latent, or several; 0-based, as in the model's features."""
    top: PositiveInt = 20
    """Proteins to show of each latent, the highest activation first."""
    min_activation: float = 0.0
    """Leave out residues whose raw activation is lower."""
    model: str | None = None
    """The model that scored, to say what is known of a latent. By default the one that the folder
    names, where the registry has it."""
    out: Path | None = None
    """Also write every residue to a file, ``.tsv`` or ``.parquet``."""


@dataclass(frozen=True, kw_only=True)
class ReportRequest(Request):
    """Write reports on the best features of a model."""

    model: str
    proteins: str
    """UniProt TSV export (labels are shown beside) or FASTA."""
    out: Path = Path("runs/report")
    n_features: PositiveInt = 20
    """How many features. A quarter are strong ones without a concept at F1 > 0.5."""
    latents: tuple[NonNegativeInt, ...] = ()
    """These and no others; the page and the numbers of the version stay as they are."""
    llm: str | None = None
    """Claude model; by default the one of ``registry/llm.yaml``. Used only where a key is set."""
    no_llm: bool = False
    """Write from evidence alone even where a key is set."""
    batch: bool = False
    """Ask Claude by Message Batches: half the price, and up to a day. A run that was killed
    finds its batch again."""
    max_usd: NonNegativeFloat | None = None
    """Spend at most this many US dollars; no request that could cost more than the rest is sent."""
    dry_run: bool = False
    """Say what Claude would be asked, and what it can cost at most; nothing is asked or written.
    Where a key is set, the API counts the tokens of the questions, for free; --no-llm sends
    nothing at all."""
    max_proteins: PositiveInt | None = 2000
    encoded: Path | None = None
    device: str = "auto"
    threads: PositiveInt | None = None
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class SteerRequest(Request):
    """Set a latent to a value in one protein, and see what the PLM then predicts."""

    model: str
    sequence: str
    latent: NonNegativeInt
    """The latent to set; 0-based, as in the model's features."""
    value: NonNegativeFloat
    """What to set it to, 0 or more, in units of its max_activation in the bundle: 1 is the highest
    activation on the proteins it was measured on; 0 removes it."""
    positions: tuple[PositiveInt, ...] = ()
    """Residues at which it is set, such as 30-60; 1-based, both ends included. By default all."""
    mask: tuple[PositiveInt, ...] = ()
    target: str | None = None
    """An amino acid whose probability is followed beside the KL divergence."""
    generate: Literal["none"] | FillOrder = "none"
    """Fill the masked residues: all from one prediction (one-shot), or the most certain first, each
    seen by those after it (sequential)."""
    temperature: NonNegativeFloat = 0.0
    """0 fills in the most probable amino acid, 1 draws from the prediction."""
    n_controls: PositiveInt = 10
    out: Path = Path("runs/steer")
    device: str = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class AblateRequest(Request):
    """Find out which predictions of one protein need which latent."""

    model: str
    sequence: str
    mask: tuple[PositiveInt, ...] = ()
    latents: tuple[NonNegativeInt, ...] = ()
    """These and no others; by default those of all active ones that change a prediction most."""
    n_latents: PositiveInt = 20
    """How many of them."""
    n_controls: PositiveInt = 5
    out: Path = Path("runs/ablate")
    device: str = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class AtlasRequest(Request):
    """Build a site to explore a model's latents and the proteins seen through them."""

    model: str | None = None
    """Registered model (``NAME@alias``, ``NAME/3``; ``NAME`` alone means ``@champion``) or bundle
    folder. With `serve`, by default the one that the folder was made from."""
    proteins: str | None = None
    """UniProt TSV export (labels and terms are shown) or FASTA; by default the sample of
    Swiss-Prot that ships."""
    out: Path = Path("atlas")
    max_proteins: PositiveInt | None = 1000
    features_per_protein: PositiveInt = 80
    """Features drawn along each protein: those with the highest peaks."""
    compare: tuple[str, ...] = ()
    """Other models to put beside this one, on the same proteins."""
    proposals: Path | None = None
    """A folder made by ``fill``; its proposals are shown on the proteins."""
    reports: Path | None = None
    """The ``report.json`` of ``report``: its words are shown in the place of those made from the
    evidence alone."""
    structures: Path | None = None
    """A folder of PDB or mmCIF files, named as the AlphaFold database does or by accession."""
    fetch_structures: NonNegativeInt = 0
    """Fetch AlphaFold's models, from its database, of as many proteins: those that are the
    strongest example of most latents."""
    ontology: Path | None = None
    """Gene Ontology as an OBO file: enrichment then counts the ancestors of terms."""
    min_precision: Share | None = None
    """Show annotations only of concepts whose precision interval starts at this or higher. By
    default the model's own bound."""
    serve: bool = False
    """Serve the folder on this machine until stopped; pasted sequences are then read by the model.
    Builds first what is not there yet."""
    port: Annotated[int, Range(ge=0, le=65535)] = 8765
    """Where to serve; 0 takes any free port."""
    device: str = "auto"
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class DemoRequest(Request):
    """Every step on the sample of Swiss-Prot that ships."""

    out: Path = Path("demo-out")
    plm: str = "plmsae-mini"
    layer: NonNegativeInt = 5
    max_proteins: PositiveInt | None = None
    """Use a random part of the sample."""
    d_sae: PositiveInt = 2048
    n_vectors: PositiveInt = 500_000
    random_vectors: NonNegativeInt = 50_000
    """Residues seen by the SAE of the random PLM, a baseline."""
    min_precision: Share = 0.5
    """Concepts whose precision interval starts lower abstain."""
    fill_precision: Share = 0.2
    """The same for proposals, whose precision is lower: they are made where the table says
    nothing."""
    hide_share: Annotated[float, Range(gt=0, lt=1)] = 0.3
    """Share of the labels of the held-back proteins that is hidden, to count what comes back."""
    device: str = "auto"
    seed: Seed = 0
