"""The user's page on tables that can be checked, made from the suites."""

from __future__ import annotations

from collections.abc import Mapping

from plmsae.quality.plan import explain
from plmsae.quality.suites import Expectation, TableKind, load_suite

#: What `plmsae validate` takes: how the table comes to it, and a command that checks one.
CHECKED: Mapping[TableKind, tuple[str, str]] = {
    "proteins": (
        "A FASTA file, or a table with a column of sequences as UniProt exports it (`Entry`, "
        "`Sequence`), plain or gzipped. The columns below are made from it.",
        "plmsae validate proteome.fasta",
    ),
    "labels": (
        "A UniProt table with its columns of features, or a table (`.parquet`, `.tsv`, `.csv`, the "
        "latter two plain or gzipped) with the columns below.",
        "plmsae validate labels.tsv --kind labels",
    ),
    "annotations": (
        "A folder made by `plmsae score`, or the calls of any tool: a table, or a folder of "
        "Parquet parts, with the columns below.",
        "plmsae validate calls.tsv --kind annotations --proteins proteome.fasta",
    ),
    "proposals": (
        "A folder made by `plmsae fill`, or the proposals of any tool: a table, or a folder of "
        "Parquet parts, with the columns below.",
        "plmsae validate proposals.tsv --kind proposals --labels uniprot.tsv.gz",
    ),
}

_MEANING = {
    "accession": "name of the protein, without blanks",
    "length": "residues of the protein",
    "sequence": "one-letter codes in upper case",
    "status": "`scored`, or why not; not checked",
    "start": "first residue, from 1",
    "end": "last residue, itself included",
    "concept": "name of the label: `Active site`, `Domain: SH3`",
    "kind": "`site` or `span`",
    "score": "how strongly it is called, in [0, 1]",
    "precision": "share of calls of this concept that are right, as measured, in [0, 1]",
    "precision_low": "lower end of the interval of that share",
    "probability": "that this call is right, in [0, 1]; empty where not known",
    "model_uri": "the model that made the row",
}


def page() -> str:
    """Return ``docs/reference/tables.md``."""
    lines = [
        "# Tables that can be checked",
        "",
        "Made from `registry/suites/` by `make docs`. `plmsae validate` checks these tables, "
        "whoever made them. Positions are 1-based and inclusive. Further columns are let be. A "
        "table without a column in bold, or with one of another type, is refused (exit code 2); "
        "rows that fail a critical expectation end the command with exit code 3. What a table or "
        "the options do not let check is listed as unchecked, never as met.",
    ]
    for kind, (about, command) in CHECKED.items():
        suite = load_suite(kind)
        lines += ["", f"## {kind.capitalize()}", "", about, "", "```sh", command, "```", ""]
        lines += ["| column | type | meaning |", "| --- | --- | --- |"]
        lines += [f"| **`{n}`** | {t} | {_MEANING[n]} |" for n, t in suite.required.items()]
        lines += [f"| `{n}` | {t} | {_MEANING[n]} |" for n, t in suite.optional.items()]
        lines += ["", "| expected | severity | why |", "| --- | --- | --- |"]
        lines += [_row(expectation) for expectation in suite.expectations]
    return "\n".join(lines) + "\n"


def _row(expectation: Expectation) -> str:
    what = expectation.expected.replace("|", "\\|")
    if "regex" in expectation.kwargs:
        what = f"`{what}`"
    derived = "; ".join(f"{name}: {explain(name)}" for name in expectation.columns if explain(name))
    more = f" ({derived})" if derived else ""
    return f"| {what}{more} | {expectation.severity} | {expectation.why} |"
