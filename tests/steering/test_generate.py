from __future__ import annotations

import pytest
from steering_world import SEQUENCE

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS
from plmsae.steering.feature import open_feature
from plmsae.steering.generate import generate
from plmsae.steering.prompt import open_prompt

MASKED = [5, 6, 7, 20]


@pytest.fixture
def feature(encoder, features, latent):
    return open_feature(encoder, features, latent, n_controls=1)


@pytest.mark.parametrize("order", ["one-shot", "sequential"])
def test_only_masked_residues_are_filled_under_every_change(encoder, feature, order):
    table = generate(feature, open_prompt(encoder, SEQUENCE, MASKED), 2.0, MASKED, order=order)
    assert table["kind"].to_list() == ["none", "feature", "latent", "direction"]
    for sequence, filled in table.select("sequence", "filled").iter_rows():
        at = {p - 1 for p in MASKED}
        assert [c for i, c in enumerate(sequence) if i not in at] == [
            c for i, c in enumerate(SEQUENCE) if i not in at
        ]
        assert filled == "".join(sequence[p - 1] for p in MASKED)


def test_one_shot_takes_the_most_probable_of_one_prediction(encoder, feature):
    prompt = open_prompt(encoder, SEQUENCE, MASKED)
    best = prompt.log_probabilities([prompt.x_LD])[0].argmax(1)
    expected = "".join(AMINO_ACIDS[best[p - 1]] for p in MASKED)
    assert generate(feature, prompt, 1.0, [5], order="one-shot")["filled"][0] == expected


def test_sequential_fills_the_most_certain_first_and_shows_it_to_the_next(encoder, feature):
    """The slow reference: by hand, one open prompt after another."""
    letters, left = list(SEQUENCE), list(MASKED)
    while left:
        prompt = open_prompt(encoder, "".join(letters), left)
        p_LA = prompt.log_probabilities([prompt.x_LD])[0]
        surest = max(left, key=lambda p: float(p_LA[p - 1].max()))
        letters[surest - 1] = AMINO_ACIDS[int(p_LA[surest - 1].argmax())]
        left.remove(surest)
    found = generate(feature, open_prompt(encoder, SEQUENCE, MASKED), 1.0, [5])
    assert found["sequence"][0] == "".join(letters)


def test_draws_depend_on_the_seed_alone(encoder, feature):
    def drawn(seed: int):
        prompt = open_prompt(encoder, SEQUENCE, MASKED)
        return generate(feature, prompt, 1.0, MASKED, temperature=1.0, seed=seed)

    assert drawn(3).equals(drawn(3))
    assert not drawn(3).equals(drawn(4))


def test_without_masks_there_is_nothing_to_generate(encoder, feature):
    with pytest.raises(InputError, match="--mask: no residue is masked"):
        generate(feature, open_prompt(encoder, SEQUENCE), 1.0, [5])
