"""The block of docs/scale.md for Spark, in a real session on this machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest

pytest.importorskip("pyspark", reason="pyspark is not installed")

from test_scoring_spark import spark

__all__ = ["spark"]  # a fixture

PAGE = Path(__file__).resolve().parents[2] / "docs" / "scale.md"


@pytest.mark.slow
def test_spark_annotates_a_frame_of_proteins(spark: Any, inside: Path) -> None:
    from pyspark.sql.functions import struct

    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if "spark_udf" in block]
    sequences = (inside / "proteome.fasta").read_text().split("\n")[1::2]
    rows = [(f"P{i}", sequence) for i, sequence in enumerate(sequences[:4])]
    proteins = spark.createDataFrame(rows, ["accession", "sequence"])
    *_, last = lines = block.strip().splitlines()
    lines[-1] = f"found = {last}"  # the page shows the frame; here it is kept
    names = {"mlflow": mlflow, "spark": spark, "proteins": proteins, "struct": struct}
    exec(compile("\n".join(lines), PAGE.name, "exec"), names)
    found = names["found"].collect()
    assert [row["accession"] for row in found] == [name for name, _ in rows]
    assert any(json.loads(row["annotations"]) for row in found)
