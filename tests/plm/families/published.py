"""Tokenizer files as each family publishes them, written from publicly documented token ids.

The hub cannot be reached from where these tests run. What is written here is taken from the source
named at each function; docs/reference/plm-families.md lists them, and what could not be looked up.
"""

from __future__ import annotations

import json
from pathlib import Path

#: https://huggingface.co/Rostlab/prot_bert/blob/dcd3c9bf/vocab.txt, 81 bytes.
PROTBERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"LAGVESIKRDTPNQFYMHCWXUBZO"]

#: https://github.com/agemagician/ProtTrans/issues/42 prints the whole vocabulary of ProtT5.
PROTT5 = ["<pad>", "</s>", "<unk>", *(f"▁{letter}" for letter in "ALGVSREDTIPKFQNYMHWCXBOUZ")]

#: https://huggingface.co/Rostlab/ProstT5_fp16/blob/c24a80ea/added_tokens.json; the same file is in
#: Rostlab/ProstT5 at ef54505b.
PROSTT5_ADDED = {
    **{letter: 128 + i for i, letter in enumerate("algvsredtipkfqnymhwc")},
    "<fold2AA>": 148,
    "<AA2fold>": 149,
}

#: https://huggingface.co/AI4PD/ZymCTRL/commit/a28099b3 (vocab.json). The numbers of EC classes
#: follow, each its value plus 6. The ids of the letters could not be looked up; here they are what
#: comes next.
ZYMCTRL = ["<pad>", "<|endoftext|>", "<sep>", "<start>", "<end>", "[UNK]"]


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def esm(folder: Path) -> None:
    """ESM-1b and ESM-2, in the order of ``constants.py`` of facebookresearch/esm."""
    special = ["<cls>", "<pad>", "<eos>", "<unk>"]
    tokens = [*special, *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
    (folder / "vocab.txt").write_text("\n".join(tokens))
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "EsmTokenizer"})


def esmc(folder: Path) -> None:
    """ESM C: what the library's own tokenizer writes.

    A real checkpoint names the class ``ESMCTokenizer``, which the library does not have
    (https://github.com/liuhlab/liulab-protein/issues/5).
    """
    from transformers import EsmcTokenizer

    EsmcTokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    write_json(path, json.loads(path.read_text()) | {"tokenizer_class": "ESMCTokenizer"})


def protbert(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(PROTBERT) + "\n")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})


def prott5(folder: Path) -> None:
    """ProtT5: a SentencePiece model without a ``tokenizer.json``."""
    pytest_skip_without_sentencepiece()
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto()
    kinds = {"<unk>": 2, "<pad>": 3, "</s>": 3}  # unknown, control; 1 is normal
    for rank, piece in enumerate(PROTT5):
        model.pieces.add(piece=piece, score=-float(rank), type=kinds.get(piece, 1))
    model.trainer_spec.model_type = 1  # Unigram
    ids = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1, "vocab_size": len(PROTT5)}
    for name, value in ids.items():
        setattr(model.trainer_spec, name, value)
    model.normalizer_spec.name = "identity"
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False})
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    sentinels = [f"<extra_id_{i}>" for i in range(100)]
    write_json(
        folder / "special_tokens_map.json", special | {"additional_special_tokens": sentinels}
    )


def prostt5(folder: Path) -> None:
    prott5(folder)
    write_json(folder / "added_tokens.json", PROSTT5_ADDED)


def ankh(folder: Path) -> None:
    """Ankh: a Unigram ``tokenizer.json`` of 144 tokens whose letters carry no blank.

    That there are 144 is in https://huggingface.co/Synthyra/ANKH_base/blob/main/config.json, a copy
    of ElnaggarLab/ankh-base; that a sequence gives one token per residue and ``</s>``, with or
    without ``is_split_into_words``, in README.md and likelihood.py of agemagician/Ankh. The order
    of the letters could not be looked up; here it is that of ProtT5.
    """
    from tokenizers import Tokenizer, models, processors

    letters = [token.removeprefix("▁") for token in PROTT5]
    sentinels = [f"<extra_id_{i}>" for i in range(144 - len(letters))]
    pieces = [(token, -float(rank)) for rank, token in enumerate([*letters, *sentinels])]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=["$A", "</s>"], special_tokens=[("</s>", 1)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    write_json(
        folder / "tokenizer_config.json",
        special | {"tokenizer_class": "T5Tokenizer", "extra_ids": len(sentinels)},
    )


def zymctrl(folder: Path) -> None:
    """ZymCTRL: ``tokenizer.json`` and ``vocab.json`` and no more, as its list of files shows."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    tokens = [*ZYMCTRL, *map(str, range(425)), ".", *"ACDEFGHIKLMNPQRSTUVWXYZ"]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"<[a-z|]+>|[0-9]+|."), "isolated")
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(folder / "vocab.json", vocabulary)


def pytest_skip_without_sentencepiece() -> None:
    import pytest

    pytest.importorskip("sentencepiece", reason="ProtT5 publishes a SentencePiece model")
