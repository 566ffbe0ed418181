"""What public code gets wrong between PLM and SAE, and must not be ours: each name states the
opposite."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from tiny import library_states, save_tiny

from plmsae.concepts.evaluation import Settings, evaluate_residue
from plmsae.core.errors import InputError
from plmsae.encode import Encoder
from plmsae.plm.model import Plm, load_plm
from plmsae.plm.windows import batches
from plmsae.reports.collecting import build_evidence
from plmsae.sae.config import SaeConfig
from plmsae.sae.model import build_sae
from plmsae.workflows.training.activations import streamed

LETTERS = "ACDEFGHIKLMNPQRSTVWY"
K = 4


def protein(length: int) -> str:
    return "".join(np.random.default_rng(length).choice(list(LETTERS), length))


@pytest.fixture(scope="module")
def plm(tmp_path_factory: pytest.TempPathFactory) -> Plm:
    """A PLM made for 1,022 residues, as ESM-2 is."""
    folder = save_tiny(tmp_path_factory.mktemp("plm"), max_position_embeddings=1026)
    return load_plm(str(folder), device="cpu")


def encoder(plm: Plm) -> Encoder:
    return Encoder(plm, 2, build_sae(SaeConfig(arch="topk", d_in=16, d_sae=32, k=K), seed=0))


def test_proteins_over_1022_residues_have_one_row_per_residue_and_move_no_neighbour(
    plm: Plm,
) -> None:
    # Elsewhere activations are cut at 1,022 and boundaries are not: all that follows is shifted.
    assert plm.max_residues == 1022
    sequences = [protein(n) for n in (9, 1500, 1022, 1023, 30)]
    latents = encoder(plm).encode(sequences)
    assert [array.shape[0] for array in latents] == [9, 1500, 1022, 1023, 30]
    for sequence, array in zip(sequences, latents, strict=True):
        (alone,) = encoder(plm).encode([sequence])
        assert np.allclose(array.toarray(), alone.toarray(), atol=1e-4)
    assert np.diff(latents[1].indptr)[-400:].min() > 0  # what lies behind the cut is not padding


def test_activations_shorter_than_their_protein_are_refused(plm: Plm) -> None:
    # Elsewhere labels of the whole protein are laid over the activations of a part of it.
    sequences = [protein(1023), protein(1023)]
    cut = [array[:1022] for array in encoder(plm).encode(sequences)]
    labels = pl.DataFrame({"accession": ["A", "B"], "start": [5, 5], "end": [6, 6],
                           "concept": ["x", "x"], "kind": ["site", "site"]})  # fmt: skip
    with pytest.raises(InputError, match="1022 residues for a protein of 1023"):
        evaluate_residue(
            cut, ["A", "B"], labels, ["select", "report"],
            Settings(min_instances=1, min_report=1), lengths=[1023, 1023],
        )  # fmt: skip
    features = pl.DataFrame({"latent": [0], "max_activation": [1.0]})
    with pytest.raises(InputError, match="1022 rows of latents for 1023 residues"):
        build_evidence(features, pl.DataFrame(), cut, ["A", "B"], sequences, None,
                       latents_to_report=1)  # fmt: skip


def test_training_vectors_are_residues_and_never_pads_cls_or_eos(tmp_path: Path) -> None:
    # Elsewhere the padded batch is trained on as it is, special tokens included.
    folder = save_tiny(tmp_path / "tiny")
    sequences = [protein(n) for n in (3, 40, 11, 60)]
    expected = [states[2] for states in library_states(folder, sequences)]
    plm = load_plm(str(folder), device="cpu")
    with torch.inference_mode():
        ids, lengths = plm.pack(sequences)
        layout = plm.layout(lengths)
        *_, (_, states) = plm.run_blocks(plm.embed(ids, layout), layout, 0, 2)
    special = states[~plm.is_residue(lengths)]
    n_residues = sum(map(len, sequences))
    source = streamed(load_plm(str(folder), device="cpu"), [2], "residue", sequences,
                      batch_size=1, seed=0, n_rows=n_residues, folder=tmp_path)  # fmt: skip
    epoch = torch.cat([source.pick(2)(rows) for rows in islice(source.batches.iter_from(0),
                                                               n_residues)])  # fmt: skip
    distance = torch.cdist(epoch, torch.cat(expected), compute_mode="donot_use_mm_for_euclid_dist")
    assert distance.min(dim=0).values.max() < 1e-4  # one epoch has every residue …
    assert distance.min(dim=1).values.max() < 1e-4  # … and nothing else
    assert torch.cdist(special, torch.cat(expected)).min() > 0.01
    sampled = [states[2].shape[0] for states in source.sample()]
    assert sorted(sampled) == sorted(map(len, sequences))


def test_sequences_run_many_at_a_time_sorted_by_length(
    plm: Plm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Elsewhere one sequence is run at a time, or long and short ones are padded to one another.
    lengths = np.random.default_rng(0).integers(5, 60, 50).tolist()
    widths = [w.end - w.start for batch in batches(lengths, 1022, 500) for w in batch]
    assert widths == sorted(lengths, reverse=True)
    tokens, states = [], Plm._states

    def count(self: Plm, pieces: list[str], layers: list[int]) -> dict[int, torch.Tensor]:
        found = states(self, pieces, layers)
        tokens.append(len(found[1]))
        return found

    monkeypatch.setattr(Plm, "_states", count)
    assert len(list(plm.activations([protein(n) for n in lengths], [1]))) == 50
    assert len(tokens) == 1
    # No protein is padded to another; at most the batch is filled up to an even size.
    assert 0 <= sum(tokens) - (sum(lengths) + 2 * 50) < 256


def test_each_residue_is_encoded_once_and_kept_sparse(
    plm: Plm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Elsewhere the SAE runs again for every 250 features, and its activations are kept dense.
    joined = encoder(plm)
    sequences = [protein(n) for n in range(5, 45)]
    n_rows, encode = [], joined.sae.encode_csr

    def count(x_ND: torch.Tensor) -> csr_array:
        n_rows.append(len(x_ND))
        return encode(x_ND)

    monkeypatch.setattr(joined.sae, "encode_csr", count)
    latents = joined.encode(sequences)
    n_residues = sum(map(len, sequences))
    assert n_rows == [n_residues]
    assert all(isinstance(array, csr_array) for array in latents)
    assert 0 < sum(len(array.data) for array in latents) <= K * n_residues
