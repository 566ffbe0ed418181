from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from plmsae.core.errors import InputError
from plmsae.plm.agreement import unexplained_by_layer
from plmsae.plm.corpus import write_corpus
from plmsae.plm.distil import DistilConfig, Distillation, unexplained
from plmsae.plm.model import wrap_model
from plmsae.plm.pretrain import Pretrainer, new_model
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.plm.vocabulary import esm2_vocabulary

CONFIG = PretrainConfig(
    n_layers=2,
    d_model=16,
    n_heads=2,
    row=32,
    tokens_per_step=128,
    steps=12,
    precision="fp32",
    clean_share=0.5,
    token_dropout=True,
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(0)
    letters = list("ACDEFGHIKLMNPQRSTVWY")
    proteins = ["".join(rng.choice(letters, size=rng.integers(5, 60))) for _ in range(40)]
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", proteins)


@pytest.fixture(scope="module")
def teacher():
    model = new_model(dataclasses.replace(CONFIG, seed=7)).eval().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.esm.encoder.parameters():
            parameter.mul_(3.0)
    return wrap_model(model, esm2_vocabulary())


def distiller(folder, corpus, teacher, config=CONFIG, **options):
    objective = Distillation(
        teacher, DistilConfig(**options), n_layers=config.n_layers, d_model=config.d_model
    )
    return Pretrainer(config, corpus, folder, objective=objective)


@pytest.mark.parametrize(("width", "workers"), [(16, 1), (16, 2), (8, 1)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, corpus, teacher, width, workers):
    config = dataclasses.replace(CONFIG, d_model=width, workers=workers)
    whole = distiller(tmp_path / "whole", corpus, teacher, config, forced_steps=6)
    whole.train()
    part = distiller(tmp_path / "part", corpus, teacher, config, forced_steps=6)
    for _ in range(5):
        part._one_step()
    part.save()
    resumed = distiller(tmp_path / "part", corpus, teacher, config, forced_steps=6)
    resumed.train()
    for name, tensor in whole.average.items():
        assert torch.equal(tensor, resumed.average[name]), name
    for name, tensor in whole.objective.state_dict().items():
        assert torch.equal(tensor, resumed.objective.state_dict()[name]), name


def test_workers_share_the_rows_without_changing_the_gradient(tmp_path, corpus, teacher):
    one = distiller(tmp_path / "one", corpus, teacher, kl_weight=0.0)
    config = dataclasses.replace(CONFIG, workers=2)
    two = distiller(tmp_path / "two", corpus, teacher, config, kl_weight=0.0)
    batch = one._make_batch(0)
    halves = [one._loss_and_gradients(part)[1] for part in batch.split(2, CONFIG.row)]
    two._gradients(batch)
    for parameter, a, b in zip(two.parameters, *halves, strict=True):
        if a is None:
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, (a + b) / 2)


def test_forced_blocks_learn_alone(tmp_path, corpus, teacher):
    """Against the obvious: run each block by itself on the teacher's states."""
    run = distiller(tmp_path / "run", corpus, teacher, kl_weight=0.0, forced_steps=1)
    batch = run._make_batch(0)
    family, model = run.family, run.model
    layout = family.layout(model.esm, batch.lengths, run.device, row=CONFIG.row)
    loss = run.objective.loss(model, family, batch, layout, CONFIG.row, 0)
    states, _ = run.objective.teach(batch, CONFIG.row)
    slow = [unexplained(family.embed(model.esm, batch.ids, layout), states[0])]
    for number in (1, 2):
        block = family.block(model.esm, number, states[number - 1], layout)
        if number == 2:
            block = family.final_norm(model.esm, block)
        slow.append(unexplained(block, states[number]))
    torch.testing.assert_close(loss, torch.stack(slow).mean())


def test_the_student_comes_to_have_the_teachers_states(tmp_path, corpus, teacher):
    config = dataclasses.replace(CONFIG, steps=150, other_lr=0.01)
    run = distiller(tmp_path / "run", corpus, teacher, config, forced_steps=100)
    first = float(run._one_step())
    losses = []
    run.train(on_metrics=lambda _, metrics: losses.append(metrics["train_loss"]), log_every=10)
    assert losses[-1] < 0.5 * first


def test_a_teacher_with_another_vocabulary_is_refused(teacher):
    vocabulary = dataclasses.replace(teacher.vocabulary, fingerprint="another")
    stranger = dataclasses.replace(teacher, vocabulary=vocabulary)
    with pytest.raises(InputError, match="vocabulary of this teacher"):
        Distillation(stranger, DistilConfig(), n_layers=2, d_model=16)


def test_the_teacher_itself_leaves_nothing_unexplained(teacher):
    objective = Distillation(teacher, DistilConfig(), n_layers=2, d_model=16)
    proteins = ["MKTAYIAKQRQISFVK", "ACDEFGHIKL", "MKLV" * 5]
    for share in (0.0, 0.3):
        shares = unexplained_by_layer(
            teacher, objective, proteins, masked_share=share, token_budget=20
        )
        assert shares == pytest.approx([0, 0, 0], abs=1e-9)


def test_the_mean_of_the_teachers_states_leaves_everything_unexplained(teacher):
    """A student whose last layer is constant, at the mean over the same residues."""
    objective = Distillation(teacher, DistilConfig(), n_layers=2, d_model=16)
    proteins = ["MKTAYIAKQRQISFVK", "ACDEFGHIKL"]
    states = [x[2] for _, x in teacher.activations(proteins, [2])]
    student = new_model(CONFIG).eval()
    norm = student.esm.encoder.emb_layer_norm_after
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.copy_(torch.cat(states).mean(0))
    shares = unexplained_by_layer(
        wrap_model(student, esm2_vocabulary()), objective, proteins, token_budget=20
    )
    assert shares[2] == pytest.approx(1, rel=1e-4)
