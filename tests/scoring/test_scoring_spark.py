"""A saved model as a function of a real Spark session on this machine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pytest
from test_scoring_served import SEQUENCES, folder, loaded

pytest.importorskip("pyspark", reason="pyspark is not installed")

__all__ = ["folder", "loaded"]  # fixtures

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    if shutil.which("java") is None:
        pytest.skip("Spark needs java")
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        session = (
            SparkSession.builder.master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.memory", "1g")
            .getOrCreate()
        )
        try:
            yield session
        finally:
            session.stop()


@pytest.mark.slow
def test_spark_gets_one_row_for_each_sequence(spark: Any, folder: Path, loaded: Any) -> None:
    from pyspark.sql.functions import struct

    annotate = mlflow.pyfunc.spark_udf(
        spark,
        str(folder),
        result_type="string",
        env_manager="local",
        params={"per_sequence": True},
    )
    rows = [(f"P{i}", sequence) for i, sequence in enumerate(SEQUENCES * 3)]
    frame = spark.createDataFrame(rows, ["accession", "sequence"]).repartition(2)
    found = frame.withColumn("annotations", annotate(struct("accession", "sequence"))).collect()
    assert sorted(row["accession"] for row in found) == [name for name, _ in rows]
    wanted = loaded.predict(SEQUENCES, params={"per_sequence": True})["annotations"]
    for row in found:
        mine = json.loads(row["annotations"])
        assert mine == json.loads(wanted[SEQUENCES.index(row["sequence"])])
    assert any(json.loads(row["annotations"]) for row in found)
