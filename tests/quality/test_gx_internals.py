"""What is used of Great Expectations beyond its public API still does what it did."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from plmsae.quality.gx_internals import ephemeral_context, import_library, put_result

SPARK_CONNECT_WITHOUT_GRPC = """
import sys
print("grpc is missing", file=sys.stderr)
sys.exit(0)
"""

BROKEN = "Great Expectations changed: see plmsae/quality/gx_internals.py"


def test_a_context_has_no_progress_bars_and_no_site_of_its_own() -> None:
    context = ephemeral_context()
    assert context.progress_bars["globally"] is False, BROKEN
    assert context.get_docs_sites_urls() == [], BROKEN


def test_a_result_that_was_put_there_is_shown_in_data_docs(tmp_path: Path) -> None:
    gx = import_library()
    from great_expectations.core.run_identifier import RunIdentifier

    context = ephemeral_context()
    asset = context.data_sources.add_pandas("p").add_dataframe_asset("a")
    batch = asset.add_batch_definition_whole_dataframe("b").get_batch(
        batch_parameters={"dataframe": pd.DataFrame({"x": [1, None]})}
    )
    suite = gx.ExpectationSuite(
        name="s", expectations=[gx.expectations.ExpectColumnValuesToNotBeNull(column="x")]
    )
    result = batch.validate(suite)
    result.meta["run_id"] = RunIdentifier(run_name="r")
    context.suites.add(suite)
    put_result(context, "s", result)
    store = {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(tmp_path)}
    site: Any = {"class_name": "SiteBuilder", "store_backend": store}
    context.add_data_docs_site("site", site)
    context.build_data_docs(site_names=["site"])
    pages = list((tmp_path / "validations").rglob("*.html"))
    assert len(pages) == 1, BROKEN
    assert "50%" in pages[0].read_text(encoding="utf-8"), BROKEN


def test_a_pyspark_without_spark_connect_ends_nothing(tmp_path: Path) -> None:
    connect = tmp_path / "pyspark" / "sql" / "connect"
    connect.mkdir(parents=True)
    for folder in (connect.parent.parent, connect.parent):
        (folder / "__init__.py").touch()
    (connect / "__init__.py").write_text(SPARK_CONNECT_WITHOUT_GRPC)
    # What tests have grpc of their own is hidden too.
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); sys.modules['grpc'] = None\n"
        "from plmsae.quality.gx_internals import import_library\n"
        "import_library(); assert 'pyspark' in sys.modules; print('goes on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "goes on\n", done.stderr
