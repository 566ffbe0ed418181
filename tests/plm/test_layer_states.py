from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import save_tiny, tiny_masked_lm

from plmsae.core.errors import InputError
from plmsae.plm.fidelity import Fidelity, fidelities, fidelity
from plmsae.plm.layer_states import logits_from, states_at
from plmsae.plm.model import load_plm
from plmsae.plm.perplexity import masked_perplexity
from plmsae.plm.windows import batches

SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQ", "ACDEFGHIKLMNPQRSTVWY" * 2]


@pytest.fixture
def plm(tmp_path):
    return load_plm(str(save_tiny(tmp_path / "tiny")), device="cpu", head=True)


@pytest.mark.parametrize("layer", [0, 1, 3])
@pytest.mark.parametrize("masked", [True, False])
def test_replacing_a_layer_by_itself_loses_nothing(plm, layer, masked):
    result = fidelity(plm, SEQUENCES, layer, lambda x: x, masked=masked)
    assert result.replaced == pytest.approx(result.own, abs=1e-6)
    assert result.loss_recovered == pytest.approx(1, abs=1e-5)
    assert result.kl == pytest.approx(0, abs=1e-9)


def test_replacing_a_layer_by_zero_recovers_nothing(plm):
    result = fidelity(plm, SEQUENCES, 2, torch.zeros_like)
    assert result.loss_recovered == pytest.approx(0, abs=1e-6)
    assert result.kl > 0


def test_the_mean_is_another_end_than_zero(plm):
    mean_D = torch.linspace(-1, 1, 16) ** 3
    result = fidelity(plm, SEQUENCES, 2, lambda x: mean_D.expand_as(x), mean_D=mean_D)
    assert result.mean == pytest.approx(result.replaced, abs=1e-6)
    assert result.loss_recovered_mean == pytest.approx(0, abs=1e-4)
    assert result.mean != pytest.approx(result.zero, abs=1e-4)
    without = fidelity(plm, SEQUENCES, 2, lambda x: mean_D.expand_as(x))
    assert without.loss_recovered_mean is None
    assert without.loss_recovered == pytest.approx(result.loss_recovered, abs=1e-9)


def one_by_one(plm, sequences, layer, replace, *, masked, mean_D=None):
    """The slow way: the PLM runs anew for each replacement, and its own predictions with it."""
    rng = np.random.default_rng(0)
    totals, count = np.zeros(5), 0
    for batch in batches([len(s) for s in sequences], plm.max_residues, 8192):
        ids, lengths = plm.pack([sequences[w.protein][w.start : w.end] for w in batch])
        where = torch.nonzero(torch.isin(ids, torch.tensor(plm.vocabulary.standard))).squeeze(1)
        if masked:
            chosen = rng.permutation(len(where))[: max(1, round(0.15 * len(where)))]
            where = where[torch.from_numpy(np.sort(chosen))]
        target = ids[where].clone()
        if masked:
            ids[where] = plm.vocabulary.mask_id
        residues = plm.is_residue(lengths)
        x_ND, layout = states_at(plm, ids, lengths, layer)
        versions = [x_ND, *(x_ND.clone() for _ in range(3))]
        versions[1][residues] = replace(x_ND[residues])
        versions[2][residues] = 0
        versions[3][residues] = torch.zeros(16) if mean_D is None else mean_D
        log_p = [
            logits_from(plm, x, layout, layer, where).double().log_softmax(-1) for x in versions
        ]
        totals[:4] += [-p[torch.arange(len(where)), target].sum().item() for p in log_p]
        totals[4] += (log_p[0].exp() * (log_p[0] - log_p[1])).sum().item()
        count += len(where)
    own, replaced, zero, mean, kl = totals / count
    return Fidelity(own=own, replaced=replaced, zero=zero, kl=kl, n_positions=count,
                    mean=None if mean_D is None else mean)  # fmt: skip


@torch.inference_mode()
@pytest.mark.parametrize("masked", [True, False])
def test_several_replacements_share_the_plm_and_give_the_same_numbers(plm, masked, monkeypatch):
    sequences = [*SEQUENCES, "MKV" * 20]
    replacements = [
        (layer, replace)
        for layer in (0, 1, 3)
        for replace in (lambda x: x * 0.5, lambda x: x.roll(1, 1))
    ]
    mean_D = torch.linspace(-1, 1, 16)
    slow = [
        one_by_one(plm, sequences, *one, masked=masked, mean_D=mean_D if one[0] == 1 else None)
        for one in replacements
    ]
    ran = []
    original = type(plm).run_blocks

    def run_blocks(self, x_ND, layout, first, last):
        ran.append(last - first)
        return original(self, x_ND, layout, first, last)

    monkeypatch.setattr(type(plm), "run_blocks", run_blocks)
    found = fidelities(plm, sequences, replacements, masked=masked, means={1: mean_D})
    for ours, expected in zip(found, slow, strict=True):
        given, wanted = (
            {k: v for k, v in vars(f).items() if v is not None} for f in (ours, expected)
        )
        assert given == pytest.approx(wanted, rel=1e-12)
    # Of 3 blocks: once all for the PLM itself; above each layer once for zeros and once for each
    # replacement; above layer 1 once for its mean. One by one it would be 6 times up to the
    # layer, and 18 times, and twice for the mean, above it.
    assert sum(ran) == 3 + 3 * (3 + 2 + 0) + 2


def test_a_checkpoint_without_a_head_is_not_given_a_random_one(tmp_path, caplog):
    tiny_masked_lm().esm.save_pretrained(tmp_path / "body")
    plm = load_plm(str(tmp_path / "body"), device="cpu", head=True)
    assert plm.masked_lm is None
    assert "no language-modelling head" in caplog.text
    assert [i for i, _ in plm.activations(SEQUENCES, [3])] == [1, 0]


def test_every_standard_residue_is_predicted_when_none_is_masked(plm):
    result = fidelity(plm, SEQUENCES, 1, lambda x: x, masked=False)
    assert result.n_positions == sum(map(len, SEQUENCES))


def test_the_own_loss_is_the_librarys(plm):
    from transformers import EsmForMaskedLM

    sequence = SEQUENCES[0]
    ids, _ = plm.pack([sequence])
    model: EsmForMaskedLM = plm.masked_lm
    with torch.no_grad():
        logits = model(input_ids=ids[None], attention_mask=torch.ones_like(ids[None])).logits[0]
    loss = torch.nn.functional.cross_entropy(logits[1:-1], ids[1:-1]).item()
    assert fidelity(plm, [sequence], 1, lambda x: x, masked=False).own == pytest.approx(
        loss, rel=1e-5
    )


def test_perplexity_of_a_spliced_model_needs_its_head(tmp_path):
    plm = load_plm(str(save_tiny(tmp_path / "t")), device="cpu")
    with pytest.raises(InputError, match="head"):
        fidelity(plm, SEQUENCES, 1, lambda x: x)


def test_masked_perplexity_is_repeatable(plm):
    one = masked_perplexity(plm, SEQUENCES, seed=3)
    assert one == masked_perplexity(plm, SEQUENCES, seed=3)
    assert one.n_masked == 3 + 6
