"""The columns of every file that scoring writes: the one place that says what they mean.

The files themselves (`plmsae.scoring.parquet_files`) and the page
``docs/reference/score-columns.md`` say it from here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    import polars as pl

FORMAT_VERSION = 4
"""Version of the output contract; a folder of another version is refused."""


def _field(
    name: str, dtype: pa.DataType, meaning: str, unit: str = "", *, nullable: bool = False
) -> pa.Field:
    facts = {"meaning": meaning, "unit": unit} if unit else {"meaning": meaning}
    return pa.field(name, dtype, nullable=nullable, metadata=facts)


def _list_of(dtype: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("element", dtype, nullable=False))


def _changed(field: pa.Field, meaning: str, *, nullable: bool = False) -> pa.Field:
    """Return a column of another table, with another meaning but the same unit."""
    unit = (field.metadata or {}).get(b"unit", b"").decode()
    return _field(field.name, field.type, meaning, unit, nullable=nullable)


def _table(name: str, fields: list[pa.Field]) -> pa.Schema:
    """Return a schema whose files say, to any reader, what is in them."""
    columns = {
        field.name: {key.decode(): value.decode() for key, value in field.metadata.items()}
        for field in fields
    }
    about = {
        "plmsae.format": str(FORMAT_VERSION),
        "plmsae.table": name,
        "plmsae.columns": json.dumps(columns, ensure_ascii=False),
    }
    return pa.schema(fields, metadata=about)


_PLACE = "residues, 1-based"

ANNOTATIONS = _table(
    "annotations",
    [
        _field("accession", pa.string(), "The protein."),
        _field("start", pa.int32(), "First residue of the call.", _PLACE),
        _field("end", pa.int32(), "Last residue of the call.", _PLACE),
        _field("concept", pa.string(), "What is called."),
        _field(
            "score", pa.float32(), "Highest activation in the call.", "shares of `max_activation`"
        ),
        _field(
            "precision", pa.float64(),
            "Share of calls of the concept that were right on held-out proteins; null: never "
            "measured.", "share", nullable=True,
        ),
        _field(
            "precision_low", pa.float64(), "Lower end of its 95 % interval.", "share", nullable=True
        ),
        _field(
            "probability", pa.float32(),
            "Calibrated probability that this call is right; null: no calibrator.", "probability",
            nullable=True,
        ),
        _field(
            "latents", _list_of(pa.int32()),
            "Latents that agree on the call; of a probe those that speak for it, the strongest "
            "first.", "latents, 0-based",
        ),
        _field(
            "implied", _list_of(pa.string()),
            "Classes of which the concept is a member (`Domain` for `Domain: SH3`), not called "
            "beside it.",
        ),
        _field("model_uri", pa.string(), "The model."),
    ],
)  # fmt: skip
FEATURES = _table(
    "features",
    [
        _field("accession", pa.string(), "The protein."),
        _field(
            "position", pa.int32(), "The residue; null for an SAE whose unit is the protein.",
            _PLACE, nullable=True,
        ),
        _field("latent", pa.int32(), "The latent that is active.", "latents, 0-based"),
        _field("activation", pa.float32(), "Its activation.", "raw, above 0"),
    ],
)  # fmt: skip
PROTEINS = _table(
    "proteins",
    [
        _field("accession", pa.string(), "The protein."),
        _field("length", pa.int32(), "Its length.", "residues"),
        _field("sha256", pa.string(), "SHA-256 of its sequence."),
        _field(
            "status", pa.string(),
            "`scored`, or `windowed`: longer than the PLM reads at once.",
        ),
        _field("n_annotations", pa.int32(), "Its rows of `annotations/`.", "calls"),
    ],
)  # fmt: skip
REJECTED = _table(
    "rejected",
    [
        _field("accession", pa.string(), "The record, as far as it could be read."),
        _field("where", pa.string(), "File and line."),
        _field("reason", pa.string(), "Why it was not scored."),
    ],
)
PROPOSALS = _table(
    "proposals",
    [
        *(ANNOTATIONS.field(name) for name in ("accession", "start", "end", "concept")),
        _field("name", pa.string(), "Name of a GO term; null for other concepts.", nullable=True),
        ANNOTATIONS.field("score"),
        _changed(
            ANNOTATIONS.field("precision"),
            "Precision of calls of the concept where the table has no label.",
        ),
        _changed(ANNOTATIONS.field("precision_low"), "Lower end of its 95 % interval."),
        _field(
            "precision_high", pa.float64(), "Upper end of its 95 % interval.", "share",
            nullable=True,
        ),
        _field(
            "call_precision", pa.float64(),
            "Precision of calls of the concept in general, most of which are known labels.",
            "share",
        ),
        _changed(
            ANNOTATIONS.field("probability"),
            "Calibrated probability that this proposal is right; null: no calibrator.",
            nullable=True,
        ),
        ANNOTATIONS.field("latents"),
        ANNOTATIONS.field("implied"),
        _field("sequence_stretch", pa.string(), "The residues from `start` to `end`."),
        _field(
            "evidence", _list_of(pa.string()),
            "Proteins that fire the same latent on a label of the concept, the most similar first.",
        ),
        _field(
            "homologue", pa.string(),
            "The nearest of the ten best labelled hits whose label, carried over by alignment, "
            "would make the proposal right; null: none does.", nullable=True,
        ),
        _field(
            "homologue_identity", pa.float64(), "Identical residues in that hit.", "share",
            nullable=True,
        ),
        ANNOTATIONS.field("model_uri"),
    ],
)  # fmt: skip
ABSTAINED = _table(
    "abstained",
    [
        _field("concept", pa.string(), "A concept that proposes nothing."),
        _field("reason", pa.string(), "Why."),
        _field("n_withheld", pa.int64(), "What would have been proposed.", "calls"),
        _field(
            "precision_low", pa.float64(),
            "The highest `min_precision` at which it would propose; null: none.", "share",
            nullable=True,
        ),
    ],
)  # fmt: skip

TABLES: dict[str, pa.Schema] = {
    "annotations": ANNOTATIONS,
    "features": FEATURES,
    "proteins": PROTEINS,
    "rejected": REJECTED,
}
"""Table name (its folder) to schema, in the order a part is written."""


def empty_frame(schema: pa.Schema) -> pl.DataFrame:
    """Return a polars frame without rows whose columns have the types of `schema`."""
    import polars as pl

    frame = pl.from_arrow(schema.empty_table())
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table never becomes a Series
    return frame


def page() -> str:
    """Return ``docs/reference/score-columns.md``."""
    lines = [
        "# Columns of scores and proposals",
        "",
        "Made from `plmsae/scoring/schema.py` by `make docs`. `score` writes the first four tables "
        "in a folder each; `fill` writes `proposals/` and `abstained.parquet` beside `scores/`, "
        "which they are made of. Columns in bold are never null.",
        "",
        "Every file says the same of itself, in the key-value metadata of its footer: "
        "`plmsae.format`, the version of this contract; `plmsae.table`; `plmsae.columns`, the "
        "meaning and unit of each column, as JSON; `plmsae.model` and `plmsae.model_sha256`, the "
        "model that made it. pyarrow also has meaning and unit as metadata of each field.",
    ]
    for schema in (*TABLES.values(), PROPOSALS, ABSTAINED):
        name = schema.metadata[b"plmsae.table"].decode()
        lines += ["", f"## {name}", "", "| column | type | unit | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        for field in schema:
            facts = {key.decode(): value.decode() for key, value in field.metadata.items()}
            shown = f"`{field.name}`" if field.nullable else f"**`{field.name}`**"
            kind = (
                f"list of {field.type.value_type}" if pa.types.is_list(field.type) else field.type
            )
            lines.append(f"| {shown} | {kind} | {facts.get('unit', '')} | {facts['meaning']} |")
    return "\n".join(lines) + "\n"
