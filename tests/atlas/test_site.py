from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from atlas_pages import unpack
from atlas_world import CLAIM, N_PROTEINS, TITLE, WRITTEN
from scipy.sparse import csr_array

from plmsae.atlas.chunks import chunk_script, pack
from plmsae.atlas.proteins import protein_page
from plmsae.atlas.serve import MAX_BODY, AtlasServer
from plmsae.atlas.site import LATENTS_PER_CHUNK, PROTEINS_PER_CHUNK, STATIC, check_folder
from plmsae.core.errors import InputError
from plmsae.proteins.reading import read_pasted


def read_chunk(site: Path, key: str) -> object:
    script = (site / "data" / f"{key}.js").read_text()
    name, packed = json.loads(f"[{script.removeprefix('atlas(').removesuffix(');' + chr(10))}]")
    assert name == key
    return unpack(packed)


def test_a_chunk_holds_nothing_that_could_end_a_script() -> None:
    value = {"a": "</script>\u2028", "b": [1.5, float("nan")]}
    script = chunk_script("k", pack(value))
    assert "<" not in script
    assert unpack(pack(value)) == {"a": "</script>\u2028", "b": [1.5, None]}


def test_features_along_a_protein_are_the_activations_in_percent_of_the_maximum() -> None:
    dense = np.zeros((9, 3), dtype=np.float32)
    dense[1:4, 0], dense[7, 0], dense[5, 1] = [1, 4, 2], 1, 0.1
    page = protein_page("P", "d", "ACDEFGHIK", csr_array(dense), np.array([4, 1, 1]), n_features=5)
    assert page["features"] == [
        {"latent": 0, "max": 100, "peak": 3, "runs": [[2, 25, 100, 50], [8, 25]]}
    ]


def test_the_proteins_of_a_site_were_checked(world: Path) -> None:
    page = (world / "site-quality" / "proteins" / "summary.html").read_text()
    assert "Proteins: " in page
    assert f"{N_PROTEINS} rows" in page


def test_a_site_holds_every_latent_that_fires_and_every_protein(world: Path) -> None:
    index = read_chunk(world / "site", "index")
    assert isinstance(index, dict)
    pages = read_chunk(world / "site", "latents-0")
    assert isinstance(pages, list)
    shown = [page for page in pages if page]
    assert shown
    for page in shown:
        assert index["latents"]["title"][page["latent"]] == page["title"]
        assert sum(page["histogram"]) > 0
        assert page["examples"][0]["activation"] == 1.0
    assert len(index["proteins"]["accession"]) == N_PROTEINS
    assert index["structures"] == [0]
    comparison = read_chunk(world / "site", "compare-0")
    assert isinstance(comparison, dict)
    changes = {row["concept"]: row["change"] for row in comparison["concepts"]}
    assert changes == {"Domain: Kinase": "both", "Domain: SH3": "only here"}


def latent_page(world: Path, latent: int) -> dict[str, Any]:
    pages = read_chunk(world / "site", f"latents-{latent // LATENTS_PER_CHUNK}")
    assert isinstance(pages, list)
    page = pages[latent % LATENTS_PER_CHUNK]
    assert isinstance(page, dict)
    return page


def test_a_written_report_takes_the_place_of_the_text_from_evidence(world: Path) -> None:
    written = json.loads((world / "report" / "report.json").read_text())["features"]
    index = read_chunk(world / "site", "index")
    assert isinstance(index, dict)
    assert {report["evidence"]["latent"] for report in written} == set(WRITTEN)
    for report in written:
        latent = report["evidence"]["latent"]
        page = latent_page(world, latent)
        assert page["title"] == index["latents"]["title"][latent] == TITLE
        assert page["summary"] == index["latents"]["claim"][latent] == f"{CLAIM} ({latent})"
        assert page["verified"] == report["verified"]
        assert f"(r {report['r']:.2f}" in page["byline"]
        assert "Written by claude-sonnet-5-5." in page["byline"]
    other = next(page for page in map(partial(latent_page, world), range(2, 9)) if page)
    assert "Written from evidence only." in other["byline"]


def test_proposals_are_on_the_pages_of_their_proteins(world: Path) -> None:
    proposals = pl.read_parquet(world / "fill" / "proposals" / "part-00000.parquet")
    found = []
    for i in range(0, N_PROTEINS, PROTEINS_PER_CHUNK):
        pages = read_chunk(world / "site", f"proteins-{i // PROTEINS_PER_CHUNK}")
        assert isinstance(pages, list)
        found += [
            (page["accession"], row["start"], row["end"], row["concept"], row["precision"])
            for page in pages
            for row in page["proposals"]
        ]
    expected = proposals.select(
        "accession", "start", "end", "concept", pl.col("precision").cast(pl.Float64).round(4)
    )
    assert sorted(found) == sorted(expected.iter_rows())
    assert found


def test_enriched_terms_carry_the_names_of_the_ontology(world: Path) -> None:
    latent = json.loads((world / "enriched.json").read_text())
    terms = {row["term"]: row for row in latent_page(world, latent)["terms"]}
    # The parent is not in the table: only the ontology implies it.
    assert {"GO:0005488 binding", "GO:0005515 protein binding"} <= set(terms)
    assert terms["GO:0005488 binding"]["namespace"] == "molecular_function"


def test_every_inline_script_of_the_single_file_is_named_in_its_policy(world: Path) -> None:
    page = (world / "site" / "atlas.html").read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    assert "unsafe" not in policy[1]
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy[1]


def test_the_built_front_end_names_no_other_place_to_load_from() -> None:
    for name in ("app.js", "app.css"):
        urls = re.findall(r"https?://[\w./-]+", (STATIC / name).read_text())
        assert {url for url in urls if "www.w3.org" not in url} == set()


def test_a_folder_with_other_things_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="no atlas"):
        check_folder(tmp_path)


@pytest.mark.parametrize("text", ["", ">a\nAC\n>b\nAC", "AC1D", ">only"])
def test_what_is_not_one_protein_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_pasted(text)


def test_a_pasted_protein_may_be_letters_or_fasta() -> None:
    assert read_pasted(" acd\nEF* ").sequence == "ACDEF"
    assert read_pasted(">x y\nACD").accession == "x"


@contextmanager
def serving(server: AtlasServer) -> Iterator[http.client.HTTPConnection]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_server_scores_and_refuses_other_hosts_types_and_sizes(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("hello")

    def score(sequence: str) -> dict[str, object]:
        if sequence == "1":
            raise InputError("bad letters")
        return {"sequence": sequence}

    json_type = {"Content-Type": "application/json"}
    cases = [
        ({"sequence": "ACD"}, json_type, 200),
        ({"sequence": "1"}, json_type, 422),
        ({"sequence": 1}, json_type, 400),
        ({"sequence": "ACD"}, {"Content-Type": "text/plain"}, 415),
        ({"sequence": "A" * MAX_BODY}, json_type, 413),
        ({"sequence": "ACD"}, {**json_type, "Host": "evil.example"}, 421),
    ]
    with serving(AtlasServer(tmp_path, score, port=0)) as connection:
        for body, headers, expected in cases:
            connection.request("POST", "/api/score", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == expected, (body, headers)
            connection.close()
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.read() == b"hello"
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        connection.close()
        connection.request("GET", "/../../etc/passwd")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 404
