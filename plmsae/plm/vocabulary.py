"""Which token ids a PLM reads for a protein; taken from the tokenizer of its checkpoint.

No table of tokens is written here. The library's own tokenizer, opened from the files of the
checkpoint, is asked once for the id of each letter and for the special tokens around a sequence;
after that, sequences are translated by one look-up in an array.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plmsae.core.errors import InputError
from plmsae.proteins.alphabet import AMINO_ACIDS

#: Rare and ambiguous residues, as ProtBert and ProtT5 read them.
_RARE = str.maketrans("UZOB", "XXXX")


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The token ids of one PLM, one token per residue.

    Attributes
    ----------
    size : int
        Number of token ids.
    prefix, suffix : tuple of int
        Special tokens before and after the residues of a sequence.
    pad, mask : int or None
        None where the PLM has no such token.
    standard : tuple of int
        Ids of the twenty standard amino acids, in the order of `AMINO_ACIDS`.
    fingerprint : str
        SHA-256 over all of the above and the ids of the letters A to Z.
    """

    size: int
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int | None
    mask: int | None
    standard: tuple[int, ...]
    fingerprint: str
    _table: NDArray[np.int64] = field(repr=False)

    def tokenize(self, sequence: str) -> NDArray[np.int64]:
        """Return the ids of the residues, shape (len(sequence),), without special tokens.

        A letter that the vocabulary lacks gets the id that the library's tokenizer gives it:
        the unknown token.
        """
        return self._table[np.frombuffer(sequence.encode("ascii", "replace"), dtype=np.uint8)]

    def encode(self, sequence: str) -> NDArray[np.int64]:
        """Return the ids of a sequence with its special tokens."""
        return np.concatenate([self.prefix, self.tokenize(sequence), self.suffix]).astype(np.int64)

    @property
    def mask_id(self) -> int:
        """The mask token; raises `InputError` where the PLM has none."""
        if self.mask is None:
            raise InputError("this PLM has no mask token, so it predicts no masked residues")
        return self.mask

    @property
    def n_special(self) -> int:
        """How many special tokens stand around a sequence."""
        return len(self.prefix) + len(self.suffix)


def with_blanks(sequence: str) -> str:
    """Write U, Z, O and B as X and set blanks between residues.

    So the authors of ProtBert and ProtT5 prepare sequences (Elnaggar et al. 2021; README of
    ProtTrans).
    """
    return " ".join(sequence.translate(_RARE))


def read_vocabulary(tokenizer: Any, *, where: str, spell: Callable[[str], str] = str) -> Vocabulary:
    """Ask a tokenizer of the library for the ids of all letters and of the special tokens.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizer
    where : str
        The checkpoint, for messages.
    spell : callable
        Writes a sequence as the PLM's tokenizer expects it, for example with blanks between
        the residues.

    Raises
    ------
    InputError
        If one of the twenty amino acids is unknown to the tokenizer, if two of them share an id,
        or if the tokenizer does not give one token per residue.
    """
    special = set(tokenizer.all_special_ids)
    # Two letters apart, because the special tokens are found as what does not change with them.
    first, second = (tokenizer(spell(pair))["input_ids"] for pair in ("AC", "CA"))
    changed = [i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b]
    if len(first) != len(second) or len(changed) != 2 or changed[1] != changed[0] + 1:
        raise _not_by_residue(where)
    start, end = changed[0], changed[1] + 1
    prefix, suffix = tuple(first[:start]), tuple(first[end:])

    def inside(letter: str) -> list[int]:
        """Return the ids of a letter behind an A, as they are inside a sequence."""
        found: list[int] = tokenizer(spell("A" + letter))["input_ids"]
        return found[start + 1 : len(found) - len(suffix)]

    ids = {letter: inside(letter) for letter in ascii_uppercase}
    unknown = tokenizer.unk_token_id
    if unknown is None and len(strange := inside("*")) == 1:
        unknown = strange[0]
    standard = [ids[letter][0] if len(ids[letter]) == 1 else unknown for letter in AMINO_ACIDS]
    missing = [
        letter
        for letter, token in zip(AMINO_ACIDS, standard, strict=True)
        if token == unknown or token in special or standard.count(token) > 1
    ]
    if missing:
        raise InputError(
            f"the vocabulary of this PLM has no token of its own for {', '.join(missing)}",
            where=where,
            hint="the tokenizer files do not belong to a protein language model, or are damaged",
        )
    table = np.full(256, -1 if unknown is None else unknown, dtype=np.int64)
    for letter, tokens in ids.items():
        if len(tokens) == 1:
            table[ord(letter)] = tokens[0]
    facts: dict[str, Any] = {
        "size": len(tokenizer),
        "prefix": prefix,
        "suffix": suffix,
        "pad": tokenizer.pad_token_id,
        "mask": tokenizer.mask_token_id,
        "standard": tuple(standard),
    }
    letters = {letter: int(table[ord(letter)]) for letter in ascii_uppercase}
    digest = hashlib.sha256(json.dumps([facts, letters], sort_keys=True).encode()).hexdigest()
    vocabulary = Vocabulary(**facts, fingerprint=digest, _table=table)
    # Every pair of letters once: a tokenizer that joins frequent pairs would join one of these.
    pairs = "".join(a + b for a in AMINO_ACIDS for b in AMINO_ACIDS)
    if unknown in prefix + suffix or tokenizer(spell(pairs))["input_ids"] != [
        *vocabulary.encode(pairs)
    ]:
        raise _not_by_residue(where)
    return vocabulary


def _not_by_residue(where: str) -> InputError:
    return InputError(
        "the tokenizer of this PLM does not give one token for each residue", where=where
    )


@lru_cache(maxsize=1)
def esm2_vocabulary() -> Vocabulary:
    """Return the vocabulary of ESM-2 as the library itself lists it.

    It is what a PLM pretrained here is given, and what an ESM checkpoint without tokenizer files
    falls back to.
    """
    from transformers import EsmTokenizer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(esm2_tokens()), encoding="utf-8")
        tokenizer = EsmTokenizer(str(path))  # type: ignore[no-untyped-call]
        return read_vocabulary(tokenizer, where="ESM-2")


def esm2_tokens() -> tuple[str, ...]:
    """Return the tokens of ESM-2 in the order of their ids, as the library lists them."""
    from transformers.models.esm.configuration_esm import get_default_vocab_list

    return tuple(get_default_vocab_list())  # type: ignore[no-untyped-call]
