"""The vocabulary comes from the checkpoint; the expected ids come from outside this project."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import save_tiny

from plmsae.core.errors import InputError
from plmsae.plm.model import load_plm
from plmsae.plm.vocabulary import esm2_tokens, esm2_vocabulary, read_vocabulary
from plmsae.proteins.alphabet import AMINO_ACIDS

#: ``proteinseq_toks`` of fair-esm (facebookresearch/esm, esm/constants.py); its alphabet puts
#: ``<cls> <pad> <eos> <unk>`` before them.
FAIR_ESM = "LAGVSERTIDPKQNFYMHWCXBUZO"

#: Ids in the tokenizer tests of the transformers library (tests/models/esm).
LIBRARY_TESTS = {"LAGVS": [0, 4, 5, 6, 7, 8, 2], "WCB": [0, 22, 23, 25, 2]}


def test_ids_are_those_of_fair_esm():
    expected = [4 + FAIR_ESM.index(letter) for letter in AMINO_ACIDS]
    assert list(esm2_vocabulary().standard) == expected
    assert esm2_vocabulary().tokenize(FAIR_ESM).tolist() == list(range(4, 29))


@pytest.mark.parametrize("sequence", LIBRARY_TESTS)
def test_ids_are_those_that_the_library_tests_for(sequence):
    assert esm2_vocabulary().encode(sequence).tolist() == LIBRARY_TESTS[sequence]


# Not J: the library joins neighbouring unknown letters, plmsae gives one token per residue.
@given(st.text("ABCDEFGHIKLMNOPQRSTUVWXYZ", min_size=1, max_size=80))
def test_any_sequence_gets_the_ids_of_the_librarys_tokenizer(sequence):
    tokenizer = _tokenizer()
    assert esm2_vocabulary().encode(sequence).tolist() == tokenizer(sequence)["input_ids"]


def _tokenizer(tokens=None, cache={}):  # noqa: B006 - made once
    import tempfile
    from pathlib import Path

    from transformers import EsmTokenizer

    key = tuple(tokens or esm2_tokens())
    if key not in cache:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "vocab.txt"
            path.write_text("\n".join(key))
            cache[key] = EsmTokenizer(str(path))
    return cache[key]


def test_the_order_of_the_checkpoints_own_file_decides(tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    tokens = list(esm2_tokens())
    tokens[4:24] = reversed(tokens[4:24])
    (folder / "vocab.txt").write_text("\n".join(tokens))
    plm = load_plm(str(folder), device="cpu")
    assert plm.vocabulary.encode("LA").tolist() == [0, 23, 22, 2]
    assert plm.vocabulary.fingerprint != esm2_vocabulary().fingerprint


def test_a_vocabulary_without_an_amino_acid_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    tokens = [token if token != "W" else "w" for token in esm2_tokens()]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    with pytest.raises(InputError, match="no token of its own for W"):
        load_plm(str(folder), device="cpu")


def test_a_vocabulary_larger_than_the_model_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "tiny")
    (folder / "vocab.txt").write_text("\n".join([*esm2_tokens(), "<more>"]))
    with pytest.raises(InputError, match="tokenizer has 34 tokens, the model only 33"):
        load_plm(str(folder), device="cpu")


def test_a_tokenizer_of_several_residues_to_a_token_is_refused():
    class Pairs:
        unk_token_id, all_special_ids = 0, [0]

        def __call__(self, text):
            return {"input_ids": [7]}

    with pytest.raises(InputError, match="does not give one token for each residue"):
        read_vocabulary(Pairs(), where="x")


def test_an_esm_checkpoint_without_tokenizer_files_takes_the_librarys(tmp_path, caplog):
    folder = save_tiny(tmp_path / "tiny")
    (folder / "vocab.txt").unlink()
    assert load_plm(str(folder), device="cpu").vocabulary == esm2_vocabulary()
    assert "no tokenizer files" in caplog.text


def test_without_tokenizer_files_another_vocabulary_size_is_refused(tmp_path):
    folder = save_tiny(tmp_path / "tiny", vocab_size=40)
    (folder / "vocab.txt").unlink()
    with pytest.raises(InputError, match="tokenizer files"):
        load_plm(str(folder), device="cpu")


def test_the_real_checkpoints_files_give_the_same_ids(real_plm):
    """On a real ESM-2 8M: this fails with a table that is typed in wrong."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(real_plm)
    sequence = "MKTAYIAKQRNQISFVKSHFSRCWHYXBUZO"
    vocabulary = load_plm(str(real_plm), device="cpu").vocabulary
    assert vocabulary.encode(sequence).tolist() == tokenizer(sequence)["input_ids"]
    assert vocabulary.fingerprint == esm2_vocabulary().fingerprint
