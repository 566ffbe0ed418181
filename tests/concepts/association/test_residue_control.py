import numpy as np
import pytest
from conftest_concepts import label_table, make_world
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import f1_score, roc_auc_score

from plmsae.concepts.association.pairs import gather_pairs
from plmsae.concepts.association.residue_control import identity_control, residue_codes
from plmsae.concepts.labels.residue_labels import build_residue_labels
from plmsae.concepts.latents import max_activations, stack_rows
from plmsae.core.errors import InputError


def test_a_cysteine_feature_is_told_from_a_disulfide_feature():
    rng = np.random.default_rng(0)
    sequence = "".join(rng.choice(list("ACDE"), 400))
    cysteines = np.flatnonzero(np.array(list(sequence)) == "C")
    bonded = cysteines[::2]
    rows = [("A", int(i) + 1, int(i) + 1, "disulfide", "site") for i in bonded]
    labels = build_residue_labels(label_table(rows), ["A"], [400])
    dense = np.zeros((400, 2), dtype=np.float32)
    dense[cysteines, 0] = 1
    dense[bonded, 1] = 1
    pairs = gather_pairs([csr_array(dense)], labels, [0, 0], [0, 1], [1, 1])
    cysteine, disulfide = identity_control(pairs, [0.5, 0.5], [sequence]).rows(named=True)
    assert cysteine["amino_acid"] == "C"
    assert cysteine["amino_acid_share"] == 1.0
    assert cysteine["auroc_same_residue"] == 0.5
    assert cysteine["f1_same_residue"] == cysteine["f1_every_residue"] < 0.7
    assert disulfide["auroc_same_residue"] == 1.0
    assert disulfide["f1_same_residue"] == 1.0
    assert disulfide["precision_expected"] == pytest.approx(len(bonded) / len(cysteines))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=8, deadline=None)
def test_the_control_equals_scikit_learn_on_residues_of_one_amino_acid(seed):
    world = make_world(seed, n_concepts=2)
    rng = np.random.default_rng(seed)
    sequences = ["".join(rng.choice(list("ACD"), n)) for n in world.lengths]
    labels = build_residue_labels(world.table, world.accessions, world.lengths)
    highest = max_activations(world.latents, 6)
    concept, latent = (i.ravel() for i in np.indices((labels.n_concepts, 6)))
    pairs = gather_pairs(world.latents, labels, concept, latent, highest)
    control = identity_control(pairs, np.full(len(concept), 0.15), sequences)
    dense, mask = stack_rows(world.latents).toarray(), labels.mask_CN().toarray()
    letters = np.array(list("".join(sequences)))
    for row, c, f in zip(control.rows(named=True), concept, latent, strict=True):
        same = letters == row["amino_acid"]
        scaled = dense[:, f] / (highest[f] or 1)
        f1 = f1_score(mask[c][same], scaled[same] > np.float32(0.15))
        assert row["f1_same_residue"] == pytest.approx(f1)
        top, bottom = 0.0, 0.0
        for letter in "ACD":
            here = letters == letter
            positive = mask[c][here].sum()
            weight = positive * (here.sum() - positive)
            if weight:
                top += weight * roc_auc_score(mask[c][here], scaled[here])
                bottom += weight
        if bottom:
            assert row["auroc_same_residue"] == pytest.approx(top / bottom)
        else:
            assert row["auroc_same_residue"] is None


def test_sequences_that_do_not_fit_are_refused():
    labels = build_residue_labels(label_table([("A", 1, 1, "x", "site")]), ["A"], [4])
    pairs = gather_pairs([csr_array((4, 1))], labels, [0], [0], [1.0])
    with pytest.raises(InputError, match="sequences of 3 residues, labels of 4"):
        identity_control(pairs, [0.5], ["ACD"])
    with pytest.raises(InputError, match=r"upper-case letters.*'AC-D'"):
        residue_codes(["ACD", "AC-D"])
