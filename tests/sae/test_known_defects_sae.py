"""What public code gets wrong about SAEs and checkpoints, and must not be ours: each name states
the opposite."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import foreign_saes as foreign
import numpy as np
import pytest
import torch
from sae_planted import Planted
from safetensors.torch import load_file, save_file

from plmsae.core.errors import InputError
from plmsae.sae.architecture import ARCHITECTURES
from plmsae.sae.architectures.batchtopk import BatchTopK
from plmsae.sae.architectures.jumprelu import JumpReLU
from plmsae.sae.architectures.topk import TopK
from plmsae.sae.base import Sae
from plmsae.sae.checkpoints import latest_checkpoint
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.evaluate import evaluate_sae
from plmsae.sae.importing.dispatch import import_sae
from plmsae.sae.model import build_sae, load_sae
from plmsae.sae.train import train

K = 3


def config(arch: str) -> SaeConfig:
    return SaeConfig(arch=arch, d_in=16, d_sae=40, k=K)


def trained(arch: str, steps: int = 30) -> Sae:
    return train(Planted(), config(arch), TrainConfig(steps=steps, batch_size=256)).sae


def uneven() -> torch.Tensor:
    """Rows of which some are far more active than others."""
    rows = Planted().batch(99)[:40]
    return rows * torch.linspace(0.2, 4, 40)[:, None]


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_checkpoint_loads_as_the_architecture_it_was_saved_as(arch: str, tmp_path: Path) -> None:
    # Elsewhere the class is guessed, and a TopK checkpoint loads as BatchTopK.
    sae = trained(arch, steps=5)
    sae.save(tmp_path)
    again = load_sae(tmp_path)
    assert type(again) is type(sae)
    assert again.config == sae.config
    assert (again.encode_csr(uneven()) != sae.encode_csr(uneven())).nnz == 0


def test_a_topk_checkpoint_stays_topk_even_without_our_metadata(tmp_path: Path) -> None:
    # Elsewhere a TopK checkpoint loads as BatchTopK: the rows of a batch would share B·k entries.
    sae = build_sae(config("topk"), seed=2)
    sae.save(tmp_path / "ours")
    path = tmp_path / "ours" / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": {}}))
    foreign.sparsify(tmp_path / "theirs")
    for found, width in ((load_sae(tmp_path / "ours"), 16), (import_sae(path.parent)[0], 16),
                         (import_sae(tmp_path / "theirs")[0], foreign.D)):  # fmt: skip
        assert isinstance(found, TopK)
        x = torch.randn(50, width, generator=torch.Generator().manual_seed(0))
        x *= torch.linspace(0.2, 4, 50)[:, None]
        assert set(np.diff(found.encode_csr(x).indptr)) == {K}


def test_a_jumprelu_checkpoint_keeps_its_thresholds_over_the_round_trip(tmp_path: Path) -> None:
    # Elsewhere a JumpReLU checkpoint crashes when it is loaded.
    sae = build_sae(config("jumprelu"), seed=2)
    assert isinstance(sae, JumpReLU)
    threshold_F = torch.linspace(0, 2, 40)
    sae.extra_from_stored("threshold", threshold_F)
    x = uneven()
    pre = (x - sae.b_dec_D) @ sae.W_enc_FD.t() + sae.b_enc_F
    expected = (pre * (pre > threshold_F)).detach().numpy()
    assert 0 < (expected > 0).sum() < (pre > 0).sum()
    sae.save(tmp_path)
    for again in (load_sae(tmp_path), import_sae(tmp_path)[0]):
        assert isinstance(again, JumpReLU)
        assert torch.allclose(again.thresholds, threshold_F, atol=1e-6)
        assert np.allclose(again.encode_csr(x).toarray(), expected, atol=1e-4)


class BrokenOffError(Exception):
    """Ends a run."""


@pytest.mark.parametrize("arch", ["topk", "batchtopk", "jumprelu"])
def test_a_run_broken_off_resumes_at_its_last_step(arch: str, tmp_path: Path) -> None:
    # Elsewhere resuming crashes, or begins again with another optimiser.
    settings = TrainConfig(steps=14, batch_size=256, checkpoint_minutes=0, log_every=1)
    seen: list[int] = []

    def break_off(step: int, metrics: dict[str, float]) -> None:
        if step == 11:
            raise BrokenOffError

    with pytest.raises(BrokenOffError):
        train(Planted(), config(arch), settings, on_metrics=break_off, checkpoint_dir=tmp_path)
    resumed = train(Planted(), config(arch), settings, checkpoint_dir=tmp_path, resume=True,
                    on_metrics=lambda step, metrics: seen.append(step))  # fmt: skip
    assert seen == [11, 12, 13, 14]
    straight = train(Planted(), config(arch), settings).sae.state_dict()
    for name, tensor in resumed.sae.state_dict().items():
        assert torch.equal(tensor, straight[name]), name


def test_the_latest_checkpoint_is_of_step_10000_and_not_of_9000(tmp_path: Path) -> None:
    # Elsewhere names are sorted as text, where 9000 comes last.
    for steps in ("9000", "10000", "000000800"):
        (tmp_path / f"step-{steps}").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "step-10000"
    (tmp_path / "step-1000000000").mkdir()  # more digits than we pad to
    (tmp_path / "step-999999999").mkdir()
    assert latest_checkpoint(tmp_path) == tmp_path / "step-1000000000"


@pytest.mark.parametrize("arch", ["batchtopk", "matryoshka"])
def test_batchtopk_scores_do_not_depend_on_what_else_is_in_the_batch(
    arch: str, tmp_path: Path
) -> None:
    # Elsewhere inference takes the B·k best of the batch: a protein's score depends on the others.
    sae = trained(arch)
    assert isinstance(sae, BatchTopK)
    sae.save(tmp_path)
    x = uneven()
    for one in (sae, load_sae(tmp_path)):
        together = one.encode_csr(x).toarray()
        alone = np.vstack([one.encode_csr(row[None]).toarray() for row in x])
        assert ((together > 0) == (alone > 0)).all()
        assert np.allclose(together, alone, atol=1e-4)
        assert len(set((alone > 0).sum(axis=1))) > 2  # k is no more than an average


def test_fvu_is_global_and_about_the_mean_of_all_rows() -> None:
    # Elsewhere FVU is a mean of batches, or about zero, which flatters activations off centre.
    x = Planted(gamma=50).batch(0)
    x = x[x[:, 0].argsort()]  # so that the chunks have means of their own
    sae = build_sae(config("topk"), seed=1)
    with torch.no_grad():
        sae.b_enc_F.fill_(-1e6)
        sae.b_dec_D.copy_(x.mean(dim=0))
    whole = evaluate_sae(sae, [x])["fvu"]
    assert whole == pytest.approx(1, rel=1e-4)  # answering the mean explains nothing
    assert evaluate_sae(sae, x.split([20, 200, 36]))["fvu"] == pytest.approx(whole, rel=1e-6)


def test_a_checkpoint_whose_dead_latents_became_nan_is_refused(tmp_path: Path) -> None:
    # Elsewhere weights are divided by the maximum of a dead latent; scores are NaN ever after.
    path = foreign.interplm(tmp_path)
    stored = torch.load(path, weights_only=True)
    for value in (torch.nan, torch.inf):
        stored["encoder.weight"][3] = value
        torch.save(stored, path)
        with pytest.raises(InputError, match="not finite"):
            import_sae(tmp_path)


def scaled_topk(folder: Path) -> Path:
    cfg = {"architecture": "topk", "k": foreign.K, "rescale_acts_by_decoder_norm": True}
    return foreign.saelens(folder, cfg)


@pytest.mark.parametrize("make", [foreign.interprot, foreign.sparsify, scaled_topk])
def test_dead_latents_whose_weights_are_zero_stay_silent_and_finite(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    # Elsewhere a dead latent is divided by its norm or its maximum, which is 0.
    path = make(tmp_path)
    stored = load_file(path)
    for name, tensor in stored.items():
        if tensor.ndim == 2:
            tensor[(slice(None), 4) if tensor.shape[1] == foreign.F else 4] = 0
        elif name in ("b_enc", "encoder.bias"):
            tensor[4] = 0
    save_file(stored, path)
    sae, _ = import_sae(tmp_path, k=foreign.K if make is foreign.interprot else None)
    code = sae.encode_csr(foreign.raw_rows())
    assert 4 not in code.indices
    assert np.isfinite(code.data).all()
    assert all(torch.isfinite(tensor).all() for tensor in sae.state_dict().values())
    assert all(np.isfinite(list(evaluate_sae(sae, [foreign.raw_rows()]).values())))
