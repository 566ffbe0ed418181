"""What bf16 changes of latents and calls, on real proteins and the model that ships."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from scipy.sparse import vstack

from plmsae.bundle.reading import read_bundle
from plmsae.core.resources import ready_model
from plmsae.plm.device import native_bf16
from plmsae.proteins.records import Protein
from plmsae.scoring.encoding import load_encoder
from plmsae.scoring.in_memory import annotate_proteins
from plmsae.workflows.shared.swissprot_sample import SAMPLE


def test_bf16_changes_few_latents_and_calls() -> None:
    if not native_bf16(torch.device("cpu")):
        pytest.skip("this processor does not multiply bf16")
    table = pl.read_csv(SAMPLE, separator="\t", infer_schema=False, quote_char=None)
    chosen = table.filter(pl.col("Sequence").str.len_chars().is_between(100, 300)).head(30)
    proteins = [
        Protein(accession=name, sequence=sequence, where="the sample")
        for name, sequence in chosen.select("Entry", "Sequence").iter_rows()
    ]
    bundle = read_bundle(ready_model())
    active, calls = [], []
    for precision in ("fp32", "bf16"):
        encoder = load_encoder(bundle, device="cpu", precision=precision)
        active.append(vstack(encoder.encode([p.sequence for p in proteins])) > 0)
        found = annotate_proteins(bundle, encoder, proteins, min_precision=0.0)
        calls.append(set(found.select("accession", "concept", "start", "end").iter_rows()))
    common = active[0].multiply(active[1]).sum() / active[0].sum()
    f1 = 2 * len(calls[0] & calls[1]) / (len(calls[0]) + len(calls[1]))
    assert len(calls[0]) > 20
    assert common > 0.98  # 0.994 where it was measured
    assert f1 > 0.9  # 0.945
