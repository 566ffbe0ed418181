"""The application: the list of commands, and how a command line is run."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from plmsae import __version__
from plmsae.cli import registered
from plmsae.cli.by_name import NamedArgument
from plmsae.cli.commands import COMMANDS, WorkflowCommand
from plmsae.cli.fields import build, parameter
from plmsae.cli.running import EXIT_USAGE, Common, fail, guarded, listening, print_outcome
from plmsae.core.allocator import return_freed_memory
from plmsae.core.errors import PlmsaeError
from plmsae.core.telemetry import switch_off_telemetry

ABOUT = """Open protein language models with sparse autoencoders: train them, find out what their
features mean, keep them in an MLflow registry, and annotate proteomes with them.

\b
The usual steps:
  plmsae train corpus.fasta.gz --layers 5
  plmsae evaluate swissprot.tsv.gz --model plmsae.plmsae-mini.L5.residue@challenger --promote
  plmsae score proteome.fasta --model plmsae.plmsae-mini.L5.residue --out annotated
"""

EXAMPLES = {
    "models": (
        "plmsae models",
        "plmsae models esm2-8m",
        "plmsae models --compare plmsae.plmsae-mini.L5.residue@champion ready",
    ),
    "compare": (
        "plmsae compare plmsae.plmsae-mini.L5.residue ready",
        "plmsae compare plmsae.plmsae-mini.L5.residue/1 plmsae.plmsae-mini.L5.residue@challenger",
    ),
    "promote": (
        "plmsae promote plmsae.plmsae-mini.L5.residue@challenger",
        "plmsae promote plmsae.plmsae-mini.L5.residue/1 --force --reason trial",
    ),
    "lineage": (
        "plmsae lineage plmsae.plmsae-mini.L5.residue",
        "plmsae lineage plmsae.plmsae-mini.L5.residue/1 --json",
    ),
    "export": (
        "plmsae export annotated -o annotated.gff3",
        "plmsae export annotated --format tsv -o - | head",
    ),
}

ORDER = (
    *("fetch", "pretrain", "distil", "train", "import", "evaluate", "models", "compare"),
    *("promote", "lineage"),
    *("score", "features", "fill", "validate", "report", "atlas", "steer", "ablate", "export"),
    *("simulate", "demo"),
)


app = typer.Typer(
    name="plmsae",
    help=ABOUT,
    add_completion=False,
    rich_markup_mode=None,  # Rich takes longer to import than everything else together.
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@app.callback(invoke_without_command=True)
def _root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    if version:
        typer.echo(f"plmsae {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; by default those of the process.
    """
    switch_off_telemetry()
    return_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a path need not be text in this locale
            stream.reconfigure(errors="backslashreplace")
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = typer.main.get_command(app).main(given, prog_name="plmsae", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "plmsae"
        message = error.format_message().rstrip(".").replace(": Value error, ", ": ")
        fail(f"{message}; see {path} --help")
        return EXIT_USAGE
    return code if isinstance(code, int) else 0


def _command(spec: WorkflowCommand) -> Callable[..., None]:
    """Make the function that typer registers for a workflow."""
    found = spec.options

    def command(**given: Any) -> None:
        common = Common(
            quiet=given.pop("quiet"),
            debug=given.pop("debug"),
            as_json=given.pop("as_json"),
            tracking_uri=given.pop("tracking_uri", None),
        )

        def work() -> None:
            request = build(spec.request, found, given)
            with listening(common) as progress:
                try:
                    outcome = spec.run(request, progress)
                except PlmsaeError as error:
                    if error.outcome is not None:
                        print_outcome(error.outcome, common)
                    raise
            print_outcome(outcome, common)

        raise typer.Exit(guarded(common, work))

    signature = inspect.Signature([*map(parameter, found), *_common(spec)])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
    return command


def _common(spec: WorkflowCommand) -> list[inspect.Parameter]:
    kinds: dict[str, tuple[Any, Any]] = {
        "tracking_uri": (registered.TrackingUri, None),
        "as_json": (registered.AsJson, False),
        "quiet": (registered.Quiet, False),
        "debug": (registered.Debug, False),
    }
    if not spec.tracked:
        del kinds["tracking_uri"]
    return [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in kinds.items()
    ]


def _help(about: str, more: str, examples: Sequence[str]) -> str:
    shown = "\n".join(f"  {example}" for example in examples)
    parts = [about, more, f"\b\nExamples:\n{shown}"]
    return "\n\n".join(part for part in parts if part)


def _register() -> None:
    listed = (
        *(registered.models, registered.compare, registered.promote, registered.lineage),
        registered.export,
    )
    functions = {f.__name__: f for f in listed}
    specs = {spec.name: spec for spec in COMMANDS}
    for name in ORDER:
        if name in specs:
            spec = specs[name]
            text = _help(spec.about, spec.more, spec.examples)
            app.command(name, help=text, cls=NamedArgument)(_command(spec))
        else:
            text = _help(inspect.getdoc(functions[name]) or "", "", EXAMPLES[name])
            app.command(name, help=text)(functions[name])


_register()
