"""The summary of a run: on its page, as Markdown, and as an artifact, escaped."""

from __future__ import annotations

from pathlib import Path

from plmsae.tracking.runs import start_run
from plmsae.tracking.store import client
from plmsae.tracking.summary import NOTE, PAGE, log_summary

TABLE = [("proteins", "3 of 4 records"), ("tables", "out/<b>|x")]


def test_a_summary_is_the_description_of_its_run_and_a_page(store_uri: str, tmp_path: Path) -> None:
    with start_run() as run:
        log_summary(
            run, "Scored", "On [proteins](http://x).", TABLE, {"For example": ["a & b", "c"]}
        )
    store = client(store_uri)
    note = store.get_run(run.run_id).data.tags[NOTE]
    assert note.split("\n") == [
        "**Scored**",
        "",
        r"On \[proteins\]\(http&#58;//x\).",
        "",
        "| | |",
        "| --- | --- |",
        "| proteins | 3 of 4 records |",
        r"| tables | out/&lt;b&gt;\|x |",
    ]
    page = Path(store.download_artifacts(run.run_id, PAGE, str(tmp_path))).read_text()
    assert page.count("<tr>") == len(TABLE)
    assert "out/&lt;b&gt;|x" in page
    assert "<li>a &amp; b</li>" in page
