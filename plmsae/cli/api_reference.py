"""Pages made from the Python API itself: ``docs/api.md`` and the stub ``plmsae/__init__.pyi``."""

from __future__ import annotations

import inspect
import textwrap
from typing import Any

import plmsae
from plmsae.api import workflows

_HEAD = """\
# The Python API

Made from the program by `python -m plmsae.cli.reference`; do not edit. `help(plmsae.train)` says
the same.

```python
import plmsae

model = plmsae.load("runs/evaluate/bundle")  # or "NAME@champion" of the MLflow registry
calls = model.annotate({"P1": "MKTAYIAKQRQISFVKSHFSRQ"}, min_precision=0)
```

`import plmsae` is fast: what a name needs is imported when the name is first used. The arguments of
`train`, `evaluate`, `score`, `features`, `fill`, `validate` and `report` are the options of the
[commands](cli.md) of those names, with underscores; all are given by keyword. Each returns an
outcome: its fields are listed by `vars(outcome)`, and `outcome.lines()` says it in words. Lists may
be tuples, paths may be text. `progress=True` shows bars. [The notebook](notebooks/first_sae.ipynb)
uses all of it on real proteins.

Errors are subclasses of `plmsae.core.errors.PlmsaeError`: `InputError` (wrong input or arguments;
attributes `what`, `where`, `record`, `value`, `hint`) and `QualityError` (a gate failed).
"""

_STUB_HEAD = '''\
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
'''

WORKFLOWS = ("train", "evaluate", "score", "features", "fill", "validate", "report")


def api_page() -> str:
    """Return ``docs/api.md``."""
    sections = [_section(name, getattr(plmsae, name)) for name in ("load", "load_plm", "load_sae")]
    members = [
        _section(f"Model.{name}", member)
        for name, member in vars(plmsae.Model).items()
        if not name.startswith("_") and inspect.getdoc(member)
    ]
    calls = [_section(name, getattr(workflows, name)) for name in WORKFLOWS]
    return "\n".join([_HEAD, sections[0], *members, *sections[1:], *calls])


def stub() -> str:
    """Return ``plmsae/__init__.pyi``."""
    return _STUB_HEAD + "\n" + "".join(_typed(name) for name in WORKFLOWS)


def _section(name: str, member: Any) -> str:
    shown = name
    if callable(member):
        parameters = inspect.signature(member).parameters
        required = [p.name for p in parameters.values() if p.default is p.empty]
        listed = [name for name in required if name != "self"]
        shown += f"({', '.join([*listed, *['…'] * (len(parameters) > len(required))])})"
    return f"## `{shown}`\n\n```text\n{inspect.getdoc(member)}\n```\n"


def _typed(name: str) -> str:
    signature = inspect.signature(getattr(workflows, name))
    lines = [
        f"{parameter.name}: {str(parameter.annotation).replace(chr(39), chr(34))}"
        + ("" if parameter.default is parameter.empty else " = ...")
        for parameter in signature.parameters.values()
    ]
    listed = textwrap.indent(",\n".join(["*", *lines]) + ",", "    ")
    return f"def {name}(\n{listed}\n) -> {signature.return_annotation}: ...\n"
