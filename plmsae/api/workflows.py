"""The workflows as functions: the fields of a request are the arguments, its outcome is returned.

Signatures and descriptions of parameters come from the request dataclasses; ``plmsae/__init__.pyi``
holds the same for type checkers and is made from them.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from plmsae.api.progress import listener
from plmsae.core.settings import Setting, make_settings
from plmsae.core.telemetry import switch_off_telemetry
from plmsae.workflows.shared import requests

_PATHS = (
    "model",
    "plm",
    "proteins",
    "concepts",
    "report_on",
    "table",
    "truth",
    "ontology",
    "path",
    "folder",
    "out",
)
"""Settings that are text on the command line because they need not be paths, but may be."""


def _workflow(
    name: str, request: type, about: str, outcome: str, examples: str
) -> Callable[..., Any]:
    """Return the function that runs `plmsae.workflows.<name>`.

    Parameters
    ----------
    name : str
        Of the workflow.
    request : type
        Its request.
    about : str
        First line of the docstring.
    outcome : str
        Type that is returned, as the docstring and the stub name it.
    examples : str
        Lines of a doctest.
    """
    found = sorted(requests.request_settings(request), key=lambda setting: not setting.required)
    parameters = [
        inspect.Parameter(
            setting.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if setting.required else setting.default,
            annotation=accepted(setting),
        )
        for setting in found
    ]
    parameters.append(
        inspect.Parameter(
            "progress", inspect.Parameter.KEYWORD_ONLY, default=False, annotation="bool"
        )
    )
    signature = inspect.Signature(parameters, return_annotation=outcome)

    def run(**settings: Any) -> Any:
        given = signature.bind(**settings).arguments
        progress = bool(given.pop("progress", False))
        switch_off_telemetry()
        workflow = import_module(f"plmsae.workflows.{name}")
        return workflow.run(make_settings(request, given), listener(progress))

    run.__name__ = run.__qualname__ = name
    run.__module__ = "plmsae"
    run.__signature__ = signature  # type: ignore[attr-defined]
    run.__doc__ = _docstring(found, about, outcome, examples)
    return run


def accepted(setting: Setting) -> str:
    """Return the type annotation of an argument: all that `Setting.convert` takes."""
    if setting.kind is tuple:
        item = setting.item.__name__
        return f"Sequence[{item}] | {item}" + (" | None" if setting.optional else "")
    kinds = [setting.kind.__name__]
    if setting.choices:
        kinds = ["float"] * (setting.kind is float) + [f"Literal{list(setting.choices)}"]
    elif setting.kind is Path or setting.name in _PATHS:
        kinds = ["str", "Path"]
    return " | ".join([*kinds, *["None"] * setting.optional])


def _docstring(found: list[Setting], about: str, outcome: str, examples: str) -> str:
    """Return a NumPy-style docstring."""
    lines = [about, "", "Parameters", "----------"]
    for setting in found:
        optional = "" if setting.required else f", default {setting.default!r}"
        lines.append(f"{setting.name} : {accepted(setting)}{optional}")
        lines += textwrap.wrap(setting.doc, 92, initial_indent="    ", subsequent_indent="    ")
    lines += ["progress : bool, default False", "    Show progress bars.", ""]
    lines += ["Returns", "-------", outcome, ""]
    lines += ["Raises", "------", "InputError", "    If an argument or a file is wrong."]
    lines += ["QualityError", "    If a critical expectation or a gate is not met.", ""]
    return "\n".join([*lines, "Examples", "--------", *examples.strip().splitlines(), ""])


train = _workflow(
    "train",
    requests.TrainRequest,
    "Train SAEs on the activations of a PLM, one for each layer and each k, and register them.",
    "list[TrainOutcome]",
    """
>>> import plmsae
>>> trained = plmsae.train(
...     proteins="swissprot.tsv.gz", d_sae=512, k=16, n_vectors=20_480, register=False
... )
>>> trained[0].layer, trained[0].bundle.as_posix()
(4, 'runs/train/L4/bundle')
>>> 0 < trained[0].metrics["explained_variance"] < 1
True
""",
)
evaluate = _workflow(
    "evaluate",
    requests.EvaluateRequest,
    "Find out what the features of an SAE mean, on proteins held out, beside the baselines.",
    "EvaluateOutcome | EvaluateProteinsOutcome",
    """
>>> import plmsae
>>> found = plmsae.evaluate(
...     model="runs/train/L4/bundle",
...     concepts="swissprot.tsv.gz",
...     baselines="none",
...     probes=False,
...     bootstrap=0,
...     fidelity_proteins=0,
...     min_precision=0.2,
...     register=False,
... )
>>> found.bundle.as_posix()
'runs/evaluate/bundle'
""",
)
score = _workflow(
    "score",
    requests.ScoreRequest,
    "Annotate a proteome.",
    "ScoreOutcome",
    """
>>> import plmsae
>>> scored = plmsae.score(
...     proteins="swissprot.tsv.gz", model="runs/evaluate/bundle", out="annotated", validate=False
... )
>>> scored.n_read == scored.n_scored + scored.n_rejected
True
""",
)
features = _workflow(
    "features",
    requests.FeaturesRequest,
    "Find the proteins and residues on which latents fire, in what `score` has kept.",
    "FeaturesOutcome",
    """
>>> import plmsae
>>> scored = plmsae.score(
...     proteins="swissprot.tsv.gz",
...     model="runs/evaluate/bundle",
...     out="with-features",
...     features=True,
...     validate=False,
... )
>>> found = plmsae.features(folder="with-features", latent=12, model="runs/evaluate/bundle")
>>> found.proteins.columns
['latent', 'accession', 'maximum', 'n_residues', 'positions']
""",
)
fill = _workflow(
    "fill",
    requests.FillRequest,
    "Propose labels that a UniProt table lacks.",
    "FillOutcome",
    """
>>> import plmsae
>>> filled = plmsae.fill(
...     table="swissprot.tsv.gz", model="runs/evaluate/bundle", out="proposals", validate=False
... )
>>> filled.n_proposed <= filled.n_calls
True
""",
)
validate = _workflow(
    "validate",
    requests.ValidateRequest,
    "Check a table, or the output of scoring or filling, against the reviewed suites.",
    "ValidateOutcome",
    """
>>> import plmsae
>>> plmsae.validate(path="swissprot.tsv.gz").report.kind
'proteins'
""",
)
report = _workflow(
    "report",
    requests.ReportRequest,
    "Write reports on the best features of a model.",
    "ReportOutcome",
    """
>>> import plmsae
>>> written = plmsae.report(
...     model="runs/evaluate/bundle", proteins="swissprot.tsv.gz", n_features=2, no_llm=True
... )
>>> sorted(written.pages)
['html', 'json', 'markdown']
""",
)
