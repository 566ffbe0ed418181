"""A real atlas of real proteins by the PLM that ships, with SAEs that were never trained."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from atlas_world import (
    FORMULA,
    HOSTILE,
    HOSTILE_LABEL,
    N_PROTEINS,
    OBO,
    helix_pdb,
    highest_of,
    write_bundle_of,
    write_report,
)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with all that an atlas is made from, and the atlas.

    Two bundles (a, b), proteins.tsv, structures/, report/, fill/, go.obo; the atlas is site/, and
    enriched.json names the latent whose proteins carry the term GO:0005515.
    """
    from plmsae.concepts.features.patterns import ACTIVE
    from plmsae.workflows import fill
    from plmsae.workflows.atlas import run
    from plmsae.workflows.shared.progress import Silent
    from plmsae.workflows.shared.requests import AtlasRequest, FillRequest
    from plmsae.workflows.shared.swissprot_sample import SAMPLE

    folder = tmp_path_factory.mktemp("atlas")
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    table = table.filter(pl.col("Sequence").str.len_chars() < 160)[:N_PROTEINS]
    names = table["Protein names"].to_list()
    table = table.with_columns(pl.Series("Protein names", [HOSTILE, FORMULA, *names[2:]]))
    domains = [f'DOMAIN 3..40; /note="{HOSTILE_LABEL}"', *table["Domain [FT]"].to_list()[1:]]
    table = table.with_columns(pl.Series("Domain [FT]", domains, pl.String))
    sequences = table["Sequence"].to_list()
    (folder / "structures").mkdir()
    (folder / "structures" / f"AF-{table['Entry'][0]}-F1-model_v4.pdb").write_text(helix_pdb(40))
    a, b = (
        write_bundle_of(tmp_path_factory.mktemp(n), sequences, seed=i) for i, n in enumerate("ab")
    )
    highest_PF = highest_of(str(a), sequences)
    active_PF = highest_PF >= ACTIVE
    enriched = int(np.abs(active_PF.sum(axis=0) - N_PROTEINS / 2).argmin())
    (folder / "enriched.json").write_text(json.dumps(enriched))
    (folder / "go.obo").write_text(OBO)
    terms = ["GO:0005515" if active else None for active in active_PF[:, enriched]]
    table = table.with_columns(pl.Series("Gene Ontology IDs", terms, pl.String))
    tsv = folder / "proteins.tsv"
    table.write_csv(tsv, separator="\t", quote_style="never")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        patch.chdir(folder)
        write_report(str(a), tsv, folder / "report", highest_PF)
        proposed = fill.run(
            FillRequest(
                table=str(tsv),
                model=str(a),
                out=folder / "fill",
                min_precision=0.0,
                validate=False,
            ),
            Silent(),
        )
        assert proposed.n_proposed > 0
        request = AtlasRequest(
            model=str(a),
            proteins=str(tsv),
            out=folder / "site",
            compare=(str(b),),
            structures=folder / "structures",
            reports=folder / "report" / "report.json",
            proposals=folder / "fill",
            ontology=folder / "go.obo",
            min_precision=0.0,
        )
        outcome = run(request, Silent())
    assert (outcome.n_proteins, outcome.n_compared, outcome.n_structures) == (N_PROTEINS, 1, 1)
    return folder


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    from browser_pages import quiet_page

    with quiet_page(browser, viewport={"width": 1300, "height": 900}) as opened:
        yield opened
