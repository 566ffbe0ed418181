"""Open a Hugging Face PLM and run it up to layer L.

Layer L is the residual stream after block L, 1-based; 0 is the embedding output. The last layer is
taken after the final layer norm, as in fair-esm's ``repr_layers`` and InterPLM.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from plmsae.core.errors import InputError, is_out_of_memory
from plmsae.plm.catalogue import find_plm
from plmsae.plm.packed import embed, make_layout, run_blocks
from plmsae.plm.vocabulary import CLS, EOS, TOKENS, tokenize
from plmsae.plm.windows import Window, batches

logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Plm:
    """An opened PLM.

    Attributes
    ----------
    id : str
        Catalogue name, hub id or folder name.
    revision : str
        The hub commit, or ``sha256:…`` over a local folder's config and weights.
    n_layers, d_model : int
    max_residues : int
        The longest window the PLM was made for; longer proteins are cut into windows.
    device : torch.device
    dtype : torch.dtype
        Of weights and matrix products.
    model : EsmModel
    masked_lm : EsmForMaskedLM or None
        The same model with its language-modelling head, if it was asked for.
    """

    id: str
    revision: str
    n_layers: int
    d_model: int
    max_residues: int
    device: torch.device
    dtype: torch.dtype
    model: Any = field(repr=False)
    masked_lm: Any = field(default=None, repr=False)

    def check_layer(self, layer: int, *, option: str = "--layer") -> None:
        """Raise `InputError`, naming the option that gave it, if the PLM has no such layer."""
        if not 0 <= layer <= self.n_layers:
            raise InputError(
                f"{self.id} has layers 0 to {self.n_layers}", where=option, value=str(layer)
            )

    def activations(
        self, sequences: Sequence[str], layers: Sequence[int], *, token_budget: int | None = None
    ) -> Iterator[tuple[int, dict[int, Tensor]]]:
        """Yield the residue activations of each sequence, the longest sequences first.

        Only blocks 1 to max(layers) are computed. When a batch does not fit the memory of the
        device it is halved and tried again.

        Parameters
        ----------
        sequences : sequence of str
            Upper-case residues, none empty.
        layers : sequence of int
        token_budget : int, optional
            Tokens in a batch; 8,192 on a CPU and 65,536 elsewhere if not given.

        Yields
        ------
        index : int
            Position of the sequence in the input; each comes exactly once.
        activations : dict of int to Tensor, dtype=float32, shape (length, D)
            By layer, on the PLM's device. Special tokens are not among the rows.
        """
        for layer in layers:
            self.check_layer(layer)
        budget = token_budget or (8192 if self.device.type == "cpu" else 65536)
        lengths = [len(sequence) for sequence in sequences]
        partial: dict[int, list[tuple[int, dict[int, Tensor]]]] = {}
        for batch in batches(lengths, self.max_residues, budget):
            for window, states in self._run(batch, sequences, layers):
                kept = slice(window.keep_start - window.start, window.keep_end - window.start)
                pieces = {layer: x[kept] for layer, x in states.items()}
                if window.keep_end - window.keep_start == lengths[window.protein]:
                    yield window.protein, pieces
                    continue
                have = partial.setdefault(window.protein, [])
                have.append((window.keep_start, pieces))
                if sum(len(p[layers[0]]) for _, p in have) == lengths[window.protein]:
                    have.sort(key=lambda item: item[0])
                    yield (
                        window.protein,
                        {layer: torch.cat([p[layer] for _, p in have]) for layer in layers},
                    )
                    del partial[window.protein]

    def _run(
        self, batch: list[Window], sequences: Sequence[str], layers: Sequence[int]
    ) -> Iterator[tuple[Window, dict[int, Tensor]]]:
        states = self._states_if_they_fit(batch, sequences, layers)
        if states is None:
            logger.warning("batch of %d windows does not fit; halving it", len(batch))
            middle = len(batch) // 2
            yield from self._run(batch[:middle], sequences, layers)
            yield from self._run(batch[middle:], sequences, layers)
            return
        first = 1
        for window in batch:
            rows = slice(first, first + window.end - window.start)
            yield window, {layer: x[rows] for layer, x in states.items()}
            first = rows.stop + 2

    def _states_if_they_fit(
        self, batch: list[Window], sequences: Sequence[str], layers: Sequence[int]
    ) -> dict[int, Tensor] | None:
        """Return None for a batch to be halved; by then the error has let go of its memory."""
        try:
            return self._states([sequences[w.protein][w.start : w.end] for w in batch], layers)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        if len(batch) > 1:
            return None
        raise InputError(
            f"one window of {batch[0].end - batch[0].start} residues does not fit the "
            f"memory of {self.device}",
            hint="use a smaller PLM or --device cpu",
        )

    @torch.inference_mode()
    def _states(self, pieces: list[str], layers: Sequence[int]) -> dict[int, Tensor]:
        """Return the states (N, D) of each layer over the pieces laid end to end."""
        ids, lengths = pack(pieces)
        layout = make_layout(self.model.config, lengths, self.device, dtype=self.dtype)
        x_ND = embed(self.model, ids.to(self.device), layout)
        states = {0: x_ND.float()} if 0 in layers else {}
        for number, state in run_blocks(self.model, x_ND, layout, 0, max(layers)):
            if number in layers:
                states[number] = state.float()
        return states


def pack(sequences: Sequence[str]) -> tuple[Tensor, list[int]]:
    """Lay ``<cls> residues <eos>`` of all sequences end to end; return ids (N,) and lengths."""
    pieces: list[Tensor] = []
    for sequence in sequences:
        residues = torch.from_numpy(tokenize(sequence)).long()
        pieces += [torch.tensor([CLS]), residues, torch.tensor([EOS])]
    return torch.cat(pieces), [len(sequence) + 2 for sequence in sequences]


def load_plm(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    revision: str | None = None,
    max_layer: int | None = None,
    head: bool = False,
) -> Plm:
    """Open a PLM of the ESM family.

    Parameters
    ----------
    name : str
        Catalogue name (``esm2-8m`` … ``esm2-15b``, ``plmsae-mini``), hub id, or local folder.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "fp32", "bf16", "fp16"}
        ``auto`` is bf16 on CUDA and fp32 elsewhere.
    revision : str, optional
        Hub revision.
    max_layer : int, optional
        Drop the blocks above this layer; they are never computed.
    head : bool
        Keep the language-modelling head (and all blocks), for perplexity and loss recovered. Where
        the checkpoint has none, `masked_lm` is None: random weights in its place would predict
        nothing.

    Raises
    ------
    InputError
        If there is no such PLM, it is not of the ESM family, its weights are not safetensors, or
        the device is not there. Model code from the hub is never run.
    """
    from transformers import AutoConfig, EsmForMaskedLM, EsmModel

    quiet_transformers()
    entry = find_plm(name, revision)
    torch_device = choose_device(device)
    if precision == "auto":
        precision = "bf16" if torch_device.type == "cuda" else "fp32"
    common: dict[str, Any] = {"revision": entry.revision} if entry.revision else {}
    try:
        config = AutoConfig.from_pretrained(entry.source, trust_remote_code=False, **common)
        if config.model_type != "esm" or config.vocab_size != len(TOKENS):
            raise InputError(
                f"not a PLM of the ESM family (model type {config.model_type!r})", where=name
            )
        if getattr(config, "is_folding_model", False):
            raise InputError("a folding model, not a language model", where=name)
        kind: Any = EsmForMaskedLM if head else EsmModel
        options: dict[str, Any] = {} if head else {"add_pooling_layer": False}
        loaded: Any
        info: Any
        loaded, info = kind.from_pretrained(
            entry.source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=_DTYPES[precision],
            output_loading_info=True,
            **options,
            **common,
        )
    except (OSError, ValueError) as error:
        raise InputError(
            "the PLM cannot be opened: " + str(error).strip().splitlines()[0],
            where=entry.source,
            hint="give a folder with config.json and model.safetensors, or check the network",
        ) from error
    loaded = loaded.to(torch_device).eval().requires_grad_(False)
    body = loaded.esm if head else loaded
    has_head = head and not any(key.startswith("lm_head.dense") for key in info["missing_keys"])
    if head and not has_head:
        logger.warning("%s has no language-modelling head", name)
    if max_layer is not None and not head and 0 <= max_layer < config.num_hidden_layers:
        body.encoder.layer = body.encoder.layer[:max_layer]
    return Plm(
        id=entry.name,
        revision=getattr(config, "_commit_hash", None) or folder_revision(Path(entry.source)),
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        max_residues=config.max_position_embeddings - 4,
        device=torch_device,
        dtype=_DTYPES[precision],
        model=body,
        masked_lm=loaded if has_head else None,
    )


def quiet_transformers() -> None:
    """Keep the library's load reports and progress bars out of a command's output."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def choose_device(device: str = "auto") -> torch.device:
    """Return the torch device; ``auto`` takes CUDA, then MPS, then the CPU."""
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        # For a name that it does not know torch lists twenty, most of which nobody has.
        unknown = reason.startswith("Expected one of") or "Invalid device string" in reason
        what = "no such device" if unknown else f"no such device here: {reason}"
        hint = "give auto, cpu, cuda, cuda:1 or mps" if unknown else "auto takes what there is"
        raise InputError(what, where="--device", value=device, hint=hint) from None
    return torch.device(device)


def folder_revision(folder: Path) -> str:
    """Return ``sha256:…`` over the config and weights of a local PLM folder."""
    digest = hashlib.sha256()
    for path in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(path.name.encode())
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return f"sha256:{digest.hexdigest()}"
