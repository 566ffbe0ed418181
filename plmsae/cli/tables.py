"""Tables on standard output: fitted to a terminal, plain and unwrapped in a pipe."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plmsae.bundle.metric_names import HEADLINE, grouped, is_count, metric_name

if TYPE_CHECKING:
    import polars as pl

    from plmsae.registry.comparison import ModelComparison
    from plmsae.registry.gates import GateResult

_COLUMNS: Mapping[str, str] = {
    "model": "model",
    "aliases": "aliases",
    "n_features_f1_50": "features F1>0.5",
    "n_concepts_f1_50": "concepts F1>0.5",
    "explained_variance": "expl. var.",
    "loss_recovered": "loss rec.",
    "dead_share": "dead",
    "d_sae": "latents",
    "k": "k",
    "arch": "arch",
    "created": "created (UTC)",
}
"""By what one decides first: what does not fit a terminal is left out from the end."""
_IDENTITY = ("plm", "layer", "unit", "arch", "d_sae", "k")
_WIDE = 10_000
_MEANING = 24
"""Columns that the meaning of a metric needs at least."""


def print_models(
    frame: pl.DataFrame, *, parts: Sequence[str], as_json: bool = False, quiet: bool = False
) -> None:
    """Print what is registered.

    Parameters
    ----------
    frame : DataFrame
        From `plmsae.registry.models.list_models`.
    parts : sequence of str
        Only models whose name and version holds one of these, if there are any.
    as_json : bool, optional
        One JSON list instead of a table.
    quiet : bool, optional
        Do not say that there is none.
    """
    rows = [
        {**row, "model": f"{row['name']}/{row['version']}"}
        for row in frame.iter_rows(named=True)
        if not parts or any(_holds(row, part) for part in parts)
    ]
    if as_json:
        _print_json(rows)
        return
    if not rows and quiet:
        return
    if not rows:
        asked = f" that matches {' or '.join(map(repr, parts))}" if parts and frame.height else ""
        print(f"no model{asked} is registered; plmsae train makes one", file=sys.stderr)  # noqa: T201
        return
    rows = [{**row, "aliases": " ".join(f"@{a}" for a in row["aliases"] or ())} for row in rows]
    _print_fitting(
        rows, [name for name in _COLUMNS if any(r[name] not in (None, "") for r in rows)]
    )


def _print_fitting(rows: list[dict[str, Any]], shown: list[str]) -> None:
    """Print a row for each model; where that is too wide, numbered below the references."""
    width = _terminal_width()
    if _table_width([[_COLUMNS[n], *(_cell(row[n]) for row in rows)] for n in shown]) > width:
        _print_legend([f"{row['model']}  {row['aliases'] or ''}".rstrip() for row in rows])
        rows = [{**row, "model": str(number)} for number, row in enumerate(rows, start=1)]
        heads = {name: _COLUMNS[name].replace(" ", "\n") for name in shown if name != "aliases"}
        heads["model"] = ""
    else:
        heads = {name: _COLUMNS[name] for name in shown}
    cells = {n: [*heads[n].split("\n"), *(_cell(row[n]) for row in rows)] for n in heads}
    kept: list[str] = []
    for name in heads:
        if _table_width([cells[n] for n in [*kept, name]]) > width:
            break
        kept.append(name)
    _print_table(
        [heads[name] for name in kept],
        [[_cell(row[name]) for name in kept] for row in rows],
        right={heads[n] for n in kept if n not in ("model", "aliases", "arch", "created")},
        whole={heads[name] for name in kept},
    )
    if left := [_COLUMNS[name] for name in heads if name not in kept]:
        note = f"not shown for lack of width: {', '.join(left)}; --json shows all"
        print(note, file=sys.stderr)  # noqa: T201


def _table_width(columns: Sequence[Sequence[str]]) -> int:
    """Return how wide a table is whose columns, heads included, hold these cells."""
    return sum(max(map(len, cells)) + 3 for cells in columns)


def _print_legend(references: Sequence[str]) -> None:
    """Print whole references, which are what one copies, each with the number it has below."""
    for number, reference in enumerate(references, start=1):
        print(f"{number:>3}  {reference}")  # noqa: T201
    print()  # noqa: T201


def print_compared(
    frame: pl.DataFrame, *, as_json: bool = False, all_metrics: bool = False
) -> None:
    """Print models side by side, one per column, and what each row means.

    Parameters
    ----------
    frame : DataFrame
        From `plmsae.registry.models.compare`.
    as_json : bool, optional
        One JSON list instead of a table, with all metrics.
    all_metrics : bool, optional
        All metrics by group, not only the headline.
    """
    if as_json:
        _print_json(frame.to_dicts())
        return
    identity = [name for name in frame.columns if name in _IDENTITY]
    metrics = [name for name in frame.columns if name not in (*_IDENTITY, "model")]
    headline = [name for name in HEADLINE if name in metrics] or metrics
    groups = grouped(metrics).values()
    shown = [m.name for members in groups for m in members] if all_metrics else headline
    rows = [[name, *map(_cell, frame[name]), ""] for name in identity]
    rows += [[name, *_cells(name, frame[name]), metric_name(name).meaning] for name in shown]
    names = [name.removeprefix("models:/") for name in frame["model"]]
    columns = [
        [head, *cells] for head, *cells in zip(["", *names], *(r[:-1] for r in rows), strict=True)
    ]
    if _table_width(columns) + _MEANING > _terminal_width():
        _print_legend(names)
        names = [str(number) for number in range(1, len(names) + 1)]
    _print_table(["", *names, "meaning"], rows, right=set(names), whole={"", *names})
    if left := len(metrics) - len(shown):
        print(f"{left} more metrics: --all", file=sys.stderr)  # noqa: T201


def print_history(frame: pl.DataFrame, *, as_json: bool = False) -> None:
    """Print who made which version champion, oldest first.

    Parameters
    ----------
    frame : DataFrame
        From `plmsae.registry.promotion.promotion_log`.
    as_json : bool, optional
        One JSON list instead of a table, with what each gate found.
    """
    rows = frame.to_dicts()
    if as_json:
        _print_json([{**row, "gates": json.loads(row["gates"])} for row in rows])
        return
    shown = ("at", "by", "from", "to")
    cells = [
        [*(_cell(r[name]) for name in shown), "yes" if r["forced"] else "no", _cell(r["reason"])]
        for r in rows
    ]
    _print_table(["at (UTC)", *shown[1:], "forced", "reason"], cells, right=set())


def print_gates(gates: Sequence[GateResult]) -> None:
    """Print what each gate of promotion expected and found."""
    _print_table(
        ["gate", "expected", "found"],
        [[g.verdict, g.expected, g.found] for g in gates],
        right=set(),
    )


def print_comparison(comparison: ModelComparison) -> None:
    """Print champion and challenger side by side, and on what they were measured."""
    print(comparison.data + ("" if comparison.same_data else "; not ranked"))  # noqa: T201
    rows = [
        [m.name, *_cells(m.name, (m.champion, m.challenger)), _cell(m.better)]
        for m in comparison.metrics
    ]
    heads = [f"champion {_version(comparison.champion)}"]
    heads.append(f"challenger {_version(comparison.challenger)}")
    _print_table(["metric", *heads, "better"], rows, right=set(heads))
    print()  # noqa: T201


def _version(model: str) -> str:
    return f"/{model.rpartition('/')[2]}"


def print_promotion(
    model: str,
    gates: Sequence[GateResult],
    *,
    promoted: bool,
    forced: bool = False,
    previous: str | None = None,
    comparison: ModelComparison | None = None,
) -> None:
    """Print as JSON what a promotion did, with the verdict of every gate."""
    verdicts = [
        {"met": g.passed, "applies": not g.skipped, "expected": g.expected, "found": g.found}
        for g in gates
    ]
    value = {
        "model": model,
        "promoted": promoted,
        "forced": forced,
        "previous": previous,
        "gates_met": all(g.passed for g in gates),
        "gates": verdicts,
        "comparison": comparison and comparison.to_json(),
    }
    print(json.dumps(value, ensure_ascii=False, indent=2))  # noqa: T201


def _holds(row: Mapping[str, Any], part: str) -> bool:
    aliases = [f"{row['name']}@{alias}" for alias in row["aliases"] or ()]
    return any(part in name for name in (f"{row['name']}/{row['version']}", *aliases))


def _cells(metric: str, values: Iterable[Any]) -> list[str]:
    """Return what several models have of a metric; the intervals of counts are whole numbers."""
    whole = is_count(metric)
    return [_cell(v if v is None or not whole else float(round(v))) for v in values]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1 else f"{value:.4g}"
    if hasattr(value, "strftime"):
        return str(value.strftime("%Y-%m-%d %H:%M"))
    return str(value)


def _terminal_width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE


def _print_table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: set[str],
    whole: Collection[str] = (),
) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name in head:
        kind = "right" if name in right else "left"
        table.add_column(
            Text(name),
            justify=kind,  # type: ignore[arg-type]
            overflow="fold",
            no_wrap=name in whole,
        )
    for row in rows:
        # As Text: brackets in names are no markup.
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, width=_terminal_width(), highlight=False).print(table)


def _print_json(rows: Sequence[Mapping[str, Any]]) -> None:
    print(json.dumps(list(rows), ensure_ascii=False, indent=2, default=str))  # noqa: T201
