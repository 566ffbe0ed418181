"""Token ids that the families publish, typed from the source named beside each.

docs/reference/plm-families.md has the same sources, and says what could not be looked up.
"""

from __future__ import annotations

import json

import published
import pytest
import torch
from small import CASES

from plmsae.core.errors import InputError
from plmsae.plm.facts import plm_facts
from plmsae.plm.model import load_plm

GOLDEN = {
    # facebookresearch/esm, esm/constants.py, with cls, pad, eos and unk before it (esm/data.py).
    "esm2": ("MKTAYIAKQR", [0, 20, 15, 11, 5, 19, 12, 5, 15, 16, 10, 2], 32),
    "esm1b": ("MKTAYIAKQR", [0, 20, 15, 11, 5, 19, 12, 5, 15, 16, 10, 2], 32),
    # What biohub/ESMC-300M read in the library, printed in
    # https://github.com/liuhlab/liulab-protein/issues/5.
    "esmc": (
        "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ",
        [
            *(0, 20, 15, 11, 5, 19, 12, 5, 15, 16, 10, 16, 12, 8, 18, 7, 15, 8, 21, 18, 8, 10, 16),
            *(4, 9, 9, 10, 4, 6, 4, 12, 9, 7, 16, 2),
        ],
        32,
    ),
    # https://github.com/agemagician/ProtTrans/issues/42; U, Z, O and B as X by the README there.
    "prott5": ("MKTAYIAKQRU", [19, 14, 11, 3, 18, 12, 3, 14, 16, 8, 23, 1], None),
    # The same, and https://huggingface.co/Rostlab/ProstT5_fp16/blob/c24a80ea/added_tokens.json.
    "prostt5": ("MKTAYIAKQRU", [149, 19, 14, 11, 3, 18, 12, 3, 14, 16, 8, 23, 1], None),
    # https://huggingface.co/Rostlab/prot_bert/blob/dcd3c9bf/vocab.txt; U, Z, O and B as above.
    "protbert": ("MKTAYIAKQRU", [2, 21, 12, 15, 6, 20, 11, 6, 12, 18, 13, 25, 3], 4),
}


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_peptide_gets_the_published_ids(tmp_path, name):
    peptide, ids, mask = GOLDEN[name]
    vocabulary = load_plm(str(CASES[name].save(tmp_path / "plm")), device="cpu").vocabulary
    assert vocabulary.encode(peptide).tolist() == ids
    assert vocabulary.mask == mask


def test_zymctrl_stands_between_the_published_start_and_end(tmp_path):
    # https://huggingface.co/AI4PD/ZymCTRL/commit/a28099b3; the ids of its letters are not known.
    vocabulary = load_plm(str(CASES["zymctrl"].save(tmp_path / "plm")), device="cpu").vocabulary
    assert (vocabulary.prefix, vocabulary.suffix) == ((3,), (4,))


def test_an_unknown_letter_gets_the_unknown_token_where_only_the_model_names_one(tmp_path):
    vocabulary = load_plm(str(CASES["zymctrl"].save(tmp_path / "plm")), device="cpu").vocabulary
    assert vocabulary.tokenize("A*").tolist()[1] == 5


def test_ankh_reads_its_letters_without_a_token_before_them(tmp_path):
    # The library's T5Tokenizer puts a blank there, which Ankh does not know.
    vocabulary = load_plm(str(CASES["ankh"].save(tmp_path / "plm")), device="cpu").vocabulary
    assert (vocabulary.prefix, vocabulary.suffix, vocabulary.size) == ((), (1,), 144)


def test_sentencepiece_itself_gives_prott5_the_same_ids(tmp_path):
    published.prott5(tmp_path)
    from sentencepiece import SentencePieceProcessor

    model = SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    assert model.encode("M K T A Y I A K Q R X") == GOLDEN["prott5"][1][:-1]


def test_protbert_is_opened_although_its_config_states_no_model_type(tmp_path):
    # https://huggingface.co/Rostlab/prot_bert/blob/refs%2Fpr%2F7/config.json has none.
    folder = CASES["protbert"].save(tmp_path / "plm")
    expected = load_plm(str(folder), device="cpu")
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("model_type") == "bert"
    assert config["architectures"] == ["BertForMaskedLM"]
    (folder / "config.json").write_text(json.dumps(config))
    plm = load_plm(str(folder), device="cpu")
    facts = plm_facts(str(folder))
    assert (plm.n_layers, plm.d_model) == (facts.n_layers, facts.d_model) == (3, 16)
    for name, weight in plm.model.named_parameters():
        assert torch.equal(weight, expected.model.get_parameter(name))


def test_a_config_that_names_nothing_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 30}')
    with pytest.raises(InputError, match="no PLM family here opens models of type 'unknown'"):
        load_plm(str(tmp_path))


def test_tokens_of_several_residues_are_refused(tmp_path):
    """As ProtGPT2 has them: the pair is one that a test with A and C does not meet."""
    from tokenizers import Tokenizer, models

    folder = CASES["zymctrl"].save(tmp_path / "plm")
    tokens = {token: i for i, token in enumerate([*"ACDEFGHIKLMNPQRSTVWY", "LL", "[UNK]"])}
    tokenizer = Tokenizer(models.BPE(tokens, [("L", "L")], unk_token="[UNK]"))
    tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(InputError, match="does not give one token for each residue"):
        load_plm(str(folder))


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("prott5", "spiece.model"),
        ("ankh", "tokenizer.json"),
        ("protbert", "vocab.txt"),
        ("zymctrl", "tokenizer.json"),
    ],
)
def test_missing_tokenizer_files_are_one_clear_line(tmp_path, name, missing):
    folder = CASES[name].save(tmp_path / "plm")
    (folder / missing).unlink()
    with pytest.raises(InputError, match=r"tokenizer files of this|token of its own|one token"):
        load_plm(str(folder))


def test_esm_c_falls_back_to_the_tokenizer_of_the_library(tmp_path):
    folder = CASES["esmc"].save(tmp_path / "plm")
    expected = load_plm(str(folder), device="cpu").vocabulary
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    found = load_plm(str(folder), device="cpu").vocabulary
    assert found.fingerprint == expected.fingerprint
