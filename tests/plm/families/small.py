"""Small random PLMs of every family, as the library writes them, and the library's own results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import published
import torch

SEQUENCES = ["MKTAYIAKQR", "ACDEFGHIKLMNPQRSTVWYXBZUO", "MA", "M" + "GASP" * 10]


@dataclass(frozen=True)
class Case:
    """One kind of PLM.

    Attributes
    ----------
    make : callable
        Returns a random model with its head, or without where it has none.
    tokenizer : callable
        Writes tokenizer files into a folder.
    ids : callable
        Takes the library's tokenizer and a sequence; the ids as its authors ask for them.
    first, last : int
        Special tokens before and after the residues.
    longest : int
        Residues in one window.
    """

    make: Callable[[], Any]
    tokenizer: Callable[[Path], None]
    ids: Callable[[Any, str], list[int]]
    first: int
    last: int
    longest: int

    def save(self, folder: Path) -> Path:
        folder.mkdir()
        torch.manual_seed(0)
        self.make().save_pretrained(folder)
        self.tokenizer(folder)
        return folder


def esm2() -> Any:
    from transformers import EsmConfig, EsmForMaskedLM

    return EsmForMaskedLM(
        EsmConfig(
            **{"vocab_size": 33, "mask_token_id": 32, "pad_token_id": 1, "hidden_size": 16},
            **{"num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 32},
            **{"max_position_embeddings": 68, "position_embedding_type": "rotary"},
            **{"token_dropout": True, "initializer_range": 0.3},
        )
    )


def esm1b() -> Any:
    from transformers import EsmForMaskedLM

    config = esm2().config
    config.position_embedding_type = "absolute"
    config.emb_layer_norm_before = True
    return EsmForMaskedLM(config)


def esmc() -> Any:
    from transformers import EsmcConfig, EsmcForMaskedLM

    model = EsmcForMaskedLM(
        EsmcConfig(
            **{"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 3},
            **{"num_attention_heads": 4, "intermediate_size": 32, "initializer_range": 0.3},
            max_position_embeddings=66,
        )
    )
    return _uneven(model)


def t5(vocab_size: int, feed_forward: str, buckets: int) -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    return _uneven(
        T5ForConditionalGeneration(
            T5Config(
                **{"vocab_size": vocab_size, "d_model": 16, "d_kv": 8, "d_ff": 32},
                **{"num_layers": 3, "num_decoder_layers": 1, "num_heads": 4},
                **{"feed_forward_proj": feed_forward, "initializer_factor": 0.7},
                relative_attention_num_buckets=buckets,
            )
        )
    )


def bert() -> Any:
    from transformers import BertConfig, BertForMaskedLM

    return _uneven(
        BertForMaskedLM(
            BertConfig(
                **{"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 3},
                **{"num_attention_heads": 4, "intermediate_size": 32, "initializer_range": 0.3},
                max_position_embeddings=66,
            )
        )
    )


def gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    return _uneven(
        GPT2LMHeadModel(
            GPT2Config(
                **{"vocab_size": 458, "n_embd": 16, "n_layer": 3, "n_head": 4},
                **{"n_positions": 66, "initializer_range": 0.2, "bos_token_id": 1},
                eos_token_id=1,
            )
        )
    )


def _uneven(model: Any) -> Any:
    """Give norms and biases, which start as ones and zeros, values of their own."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def plain(tokenizer: Any, sequence: str) -> list[int]:
    found: list[int] = tokenizer(sequence)["input_ids"]
    return found


def blanks(tokenizer: Any, sequence: str) -> list[int]:
    """As the README of ProtTrans has it."""
    import re

    return plain(tokenizer, " ".join(re.sub(r"[UZOB]", "X", sequence)))


def directed(tokenizer: Any, sequence: str) -> list[int]:
    """As the README of ProstT5 has it."""
    import re

    return plain(tokenizer, "<AA2fold> " + " ".join(re.sub(r"[UZOB]", "X", sequence)))


def words(tokenizer: Any, sequence: str) -> list[int]:
    """As the README of Ankh has it."""
    found: list[int] = tokenizer(list(sequence), is_split_into_words=True)["input_ids"]
    return found


def tagged(tokenizer: Any, sequence: str) -> list[int]:
    """As ZymCTRL was trained, without the EC number."""
    return plain(tokenizer, f"<start>{sequence}<end>")


CASES = {
    "esm2": Case(esm2, published.esm, plain, first=1, last=1, longest=64),
    "esm1b": Case(esm1b, published.esm, plain, first=1, last=1, longest=64),
    "esmc": Case(esmc, published.esmc, plain, first=1, last=1, longest=64),
    "prott5": Case(
        lambda: t5(128, "relu", 32), published.prott5, blanks, first=0, last=1, longest=1022
    ),
    "prostt5": Case(
        lambda: t5(150, "relu", 32), published.prostt5, directed, first=1, last=1, longest=1022
    ),
    "ankh": Case(
        lambda: t5(144, "gated-gelu", 64), published.ankh, words, first=0, last=1, longest=1022
    ),
    "protbert": Case(bert, published.protbert, blanks, first=1, last=1, longest=64),
    "zymctrl": Case(gpt2, published.zymctrl, tagged, first=1, last=1, longest=64),
}

#: Those that predict masked residues.
MASKED = [name for name in CASES if name in ("esm2", "esm1b", "esmc", "protbert")]


def library_tokenizer(folder: Path) -> Any:
    """Open the published files with the library, ``tokenizer.json`` as it stands."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    kind: Any = PreTrainedTokenizerFast if (folder / "tokenizer.json").exists() else AutoTokenizer
    return kind.from_pretrained(folder)


def library_model(folder: Path) -> Any:
    """Open the model with its head where it has one, of a T5 the encoder."""
    import transformers

    config = transformers.AutoConfig.from_pretrained(folder)
    name = "T5EncoderModel" if config.model_type == "t5" else config.architectures[0]
    return getattr(transformers, name).from_pretrained(folder).eval()


def library_forward(model: Any, rows: Sequence[Sequence[int]]) -> Any:
    """Run the library's padded forward over lists of ids."""
    ids = [torch.tensor(row) for row in rows]
    attended = [torch.ones(len(row), dtype=torch.int64) for row in rows]
    pad = torch.nn.utils.rnn.pad_sequence
    with torch.no_grad():
        return model(
            input_ids=pad(ids, batch_first=True, padding_value=model.config.pad_token_id or 0),
            attention_mask=pad(attended, batch_first=True),
            output_hidden_states=True,
        )
