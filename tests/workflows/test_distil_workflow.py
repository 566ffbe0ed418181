from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.core.settings import make_settings
from plmsae.plm.model import load_plm
from plmsae.workflows import distil
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import DistilRequest

LETTERS = list("ACDEFGHIKLMNPQRSTVWY")


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def files(tmp_path):
    for name, count, seed in (("p", 40, 0), ("held", 8, 1)):
        rng = np.random.default_rng(seed)
        (tmp_path / f"{name}.fasta").write_text(
            "".join(
                f">{name}{i}\n{''.join(rng.choice(LETTERS, size=rng.integers(60, 90)))}\n"
                for i in range(count)
            )
        )
    save_tiny(tmp_path / "teacher", num_hidden_layers=2)
    return tmp_path


def request(folder: Path, **changes) -> DistilRequest:
    settings = {
        "proteins": (str(folder / "p.fasta"),),
        "teacher": str(folder / "teacher"),
        "teacher_licence": "MIT",
        "out": folder / "run",
        "held_out": (str(folder / "held.fasta"),),
        "n_layers": 2,
        "d_model": 16,
        "n_heads": 2,
        "row": 64,
        "tokens_per_step": 256,
        "steps": 6,
        "forced_steps": 3,
        "device": "cpu",
    }
    return make_settings(DistilRequest, settings | changes)


def test_a_student_is_written_with_a_card_that_says_whose_it_is(files):
    outcome = distil.run(request(files), Silent())
    assert outcome.finished
    assert outcome.steps == 6
    assert set(outcome.agreement.perplexity["held"]) == {"student", "teacher"}
    assert len(outcome.agreement.unexplained["clean"]) == 3
    card = (outcome.folder / "README.md").read_text()
    assert "distilled from teacher" in card
    assert "licence of its weights: MIT" in card
    assert load_plm(str(outcome.folder), device="cpu").d_model == 16
    json.dumps(outcome.to_json())


def test_a_run_starts_from_a_student_that_was_distilled_before(files):
    before = distil.run(request(files), Silent())
    later = distil.run(
        request(files, out=files / "later", init=str(before.folder), steps=1, forced_steps=0),
        Silent(),
    )
    state, start = (
        load_plm(str(o.folder), device="cpu").model.state_dict() for o in (later, before)
    )
    off = max(float((state[name] - start[name]).abs().max()) for name in start)
    assert 0 < off < 0.2  # one step away, and not another random beginning
    assert "From the weights `sha256:" in (later.folder / "README.md").read_text()


def test_the_written_student_is_the_librarys_own_model(files):
    """Logits of transformers' EsmForMaskedLM, padded, masks and token dropout included."""
    from transformers import EsmForMaskedLM

    folder = distil.run(request(files, held_out=()), Silent()).folder
    theirs = EsmForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    assert theirs.config.token_dropout
    plm = load_plm(str(folder), device="cpu", head=True)
    ids, lengths = plm.pack(["MKTAYIAKQRQISFVK", "ACDEFGHIKL"])
    ids[[3, 20]] = plm.vocabulary.mask_id
    padded = torch.nn.utils.rnn.pad_sequence(
        ids.split(lengths), batch_first=True, padding_value=plm.vocabulary.pad
    )
    with torch.no_grad():
        layout = plm.layout(lengths)
        *_, (_, states) = plm.run_blocks(plm.embed(ids, layout), layout, 0, 2)
        ours = plm.logits(states)
        logits = theirs(padded, attention_mask=(padded != plm.vocabulary.pad).long()).logits
    expected = torch.cat([row[:n] for row, n in zip(logits, lengths, strict=True)])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_run_goes_on_where_it_stopped(files):
    whole = distil.run(request(files, out=files / "whole", held_out=()), Silent())
    part = request(files, held_out=(), max_minutes=1e-9)
    stopped = distil.run(part, Silent())
    assert not stopped.finished
    resumed = distil.run(request(files, held_out=()), Silent())
    one, two = (
        (folder / "model.safetensors").read_bytes() for folder in (whole.folder, resumed.folder)
    )
    assert one == two


def test_another_teacher_is_refused_when_a_run_goes_on(files):
    distil.run(request(files, held_out=(), max_minutes=1e-9), Silent())
    save_tiny(files / "other", num_hidden_layers=2, intermediate_size=16)
    with pytest.raises(InputError, match="another teacher"):
        distil.run(request(files, held_out=(), teacher=str(files / "other")), Silent())


def test_a_narrower_student_learns_through_maps(files):
    outcome = distil.run(request(files, d_model=8, n_layers=1), Silent())
    assert len(outcome.agreement.unexplained["masked"]) == 2


def test_layers_that_do_not_divide_are_refused(files):
    with pytest.raises(InputError, match="multiple of the student's"):
        distil.run(request(files, n_layers=3), Silent())
