"""The commands about what is registered or scored: models, compare, promote, lineage, export."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from plmsae.cli.running import Common, fail, guarded
from plmsae.core.errors import InputError
from plmsae.core.plugins import plugin_names

if TYPE_CHECKING:
    from plmsae.registry.comparison import ModelComparison
    from plmsae.registry.gates import GateResult

    Format = str
else:
    # The choices are the files that are there.
    Format = Literal[plugin_names("plmsae.scoring.exporters")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
AllMetrics = Annotated[bool, typer.Option("--all", help="Compare by every metric, not a dozen.")]
TrackingUri = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        metavar="URI",
        envvar="MLFLOW_TRACKING_URI",
        help="MLflow server or store; by default mlflow.db in the working folder.",
    ),
]


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Let a command report its errors in one line, exit with their code and know its store."""

    @functools.wraps(function)
    def run(**given: Any) -> None:
        common = Common(
            quiet=given["quiet"], debug=given["debug"], tracking_uri=given.get("tracking_uri")
        )
        raise typer.Exit(guarded(common, lambda: function(**given)))

    return run


@_command
def models(
    refs: Annotated[
        list[str] | None,
        typer.Argument(metavar="REF", help="Only names that hold this; references to compare."),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put the models named side by side.")
    ] = False,
    all_metrics: AllMetrics = False,
    history: Annotated[
        str | None,
        typer.Option("--history", metavar="NAME", help="Show who made which version champion."),
    ] = None,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """List and compare registered models."""
    from plmsae.cli import tables
    from plmsae.registry.models import list_models

    if history is not None:
        from plmsae.registry.promotion import promotion_log

        tables.print_history(promotion_log(history), as_json=as_json)
    elif compare:
        _side_by_side(refs or [], "--compare", as_json=as_json, all_metrics=all_metrics)
    else:
        tables.print_models(list_models(), parts=refs or [], as_json=as_json, quiet=quiet)


@_command
def compare(
    refs: Annotated[
        list[str],
        typer.Argument(metavar="REF", help="NAME@alias, NAME/3 or a bundle folder; two or more."),
    ],
    all_metrics: AllMetrics = False,
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Put layers and PLMs side by side, by what was measured."""
    _side_by_side(refs, "compare", as_json=as_json, all_metrics=all_metrics)


def _side_by_side(refs: list[str], where: str, *, as_json: bool, all_metrics: bool) -> None:
    from plmsae.cli import tables
    from plmsae.registry import models

    if len(refs) < 2:
        raise InputError("needs two references or more", where=where)
    tables.print_compared(models.compare(refs), as_json=as_json, all_metrics=all_metrics)


@_command
def promote(
    ref: Annotated[
        str,
        typer.Argument(metavar="REF", help="NAME@challenger or NAME/3; NAME alone: challenger."),
    ],
    force: Annotated[
        bool, typer.Option("--force", help="Promote though gates fail; the log says so.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why; kept in the log. --force needs one."),
    ] = "",
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Make a registered version the champion, if it meets the gates."""
    from plmsae.cli import tables
    from plmsae.registry import promotion

    def show(comparison: ModelComparison | None, gates: tuple[GateResult, ...]) -> None:
        if not as_json and not quiet:
            if comparison is not None:
                tables.print_comparison(comparison)
            tables.print_gates(gates)

    try:
        result = promotion.promote(ref, force=force, reason=reason, on_checked=show)
    except promotion.GatesNotMetError as error:
        if as_json:
            tables.print_promotion(ref, error.gates, promoted=False, comparison=error.comparison)
        raise
    if as_json:
        tables.print_promotion(
            str(result.ref),
            result.gates,
            promoted=result.promoted,
            forced=result.forced,
            previous=result.previous,
            comparison=result.comparison,
        )
        return
    if not result.promoted:
        typer.echo(f"{result.ref} is champion already")
        return
    before = f"; before it was version {result.previous}" if result.previous else ""
    forced = " (forced, though gates are not met)" if result.forced else ""
    typer.echo(f"{result.ref} is champion now{forced}{before}")


@_command
def lineage(
    ref: Annotated[
        str, typer.Argument(metavar="MODEL", help="NAME@alias or NAME/3; NAME alone: its champion.")
    ],
    tracking_uri: TrackingUri = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Print where a version comes from: runs, data, promotions."""
    from plmsae.registry.lineage import lineage as find

    found = find(ref)
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False, indent=2))
    else:
        typer.echo("\n".join(found.lines()))


@_command
def export(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder made by plmsae score, also at s3://.")
    ],
    out: Annotated[
        str,
        typer.Option("--out", "-o", metavar="FILE", help="File to write; - for standard output."),
    ],
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="By default found from the name of the file."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Write annotations as GFF3, TSV, UniProt's table or JSON lines."""
    from plmsae.scoring.export import export as write
    from plmsae.scoring.exporter import format_of

    if as_json and out == "-":
        raise InputError("both would go to standard output", where="--json with --out -")
    chosen = format or format_of(out)
    written = write(folder, chosen, out)
    if as_json:
        value = {"folder": folder, "exported": out, "format": chosen}
        typer.echo(json.dumps(value | {"n_annotations": written}, ensure_ascii=False, indent=2))
    elif out != "-" and not quiet:
        fail(f"{written} annotations in {out}", kind="done")
