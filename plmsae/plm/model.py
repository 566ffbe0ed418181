"""Open a Hugging Face PLM and run it up to layer L.

Layer L is the residual stream after block L, 1-based; 0 is the embedding output. The last layer is
taken after the final layer norm, as in fair-esm's ``repr_layers`` and InterPLM.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from plmsae.core.errors import InputError, ResourceError, is_out_of_memory
from plmsae.core.hub import downloaded_commit, hub_options
from plmsae.plm.catalogue import CatalogueEntry, announce_licence, find_plm
from plmsae.plm.choices import Device, Precision
from plmsae.plm.device import choose_device, choose_dtypes
from plmsae.plm.families import Family, family_of, open_config
from plmsae.plm.package import fetch_package
from plmsae.plm.packed import PackedLayout
from plmsae.plm.parallel import in_order, pays
from plmsae.plm.revision import HEAD, folder_revision, revision_with_head
from plmsae.plm.stored_head import open_head
from plmsae.plm.vocabulary import Vocabulary
from plmsae.plm.windows import Window, batches

logger = logging.getLogger(__name__)

_EVEN = 256
"""On a CPU the tokens of a batch are filled up to a multiple of this."""


@dataclass(frozen=True, kw_only=True)
class Plm:
    """An opened PLM.

    Attributes
    ----------
    id : str
        Catalogue name, hub id or folder name.
    revision : str
        The hub commit, or ``sha256:…`` over a local folder's config and weights; followed by
        ``+head:…`` if it has a head that was fitted here.
    n_layers, d_model : int
    max_residues : int
        The longest window the PLM was made for; longer proteins are cut into windows.
    device : torch.device
    dtype : torch.dtype
        Of the matrix products.
    family : Family
        How to run it.
    vocabulary : Vocabulary
        Read from the checkpoint's tokenizer files.
    model : Module
        The library's embeddings, blocks and final norm.
    masked_lm : Module or None
        The same model with its language-modelling head, if it was asked for.
    """

    id: str
    revision: str
    n_layers: int
    d_model: int
    max_residues: int
    device: torch.device
    dtype: torch.dtype
    family: Family = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    model: Any = field(repr=False)
    masked_lm: Any = field(default=None, repr=False)

    def check_layer(self, layer: int, *, option: str = "--layer") -> None:
        """Raise `InputError`, naming the option that gave it, if the PLM has no such layer."""
        _check_layer(self, layer, option)

    def activations(
        self, sequences: Sequence[str], layers: Sequence[int], *, token_budget: int | None = None
    ) -> Iterator[tuple[int, dict[int, Tensor]]]:
        """Yield the residue activations of each sequence, the longest sequences first.

        Only blocks 1 to max(layers) are computed. When a batch does not fit the memory of the
        device it is halved and tried again. On a CPU several batches are computed side by side.

        Parameters
        ----------
        sequences : sequence of str
            Upper-case residues, none empty.
        token_budget : int, optional
            Tokens in a batch; 4,096 on a CPU and 65,536 elsewhere if not given.

        Yields
        ------
        index : int
            Position of the sequence in the input; each comes exactly once.
        activations : dict of int to Tensor, dtype=float32, shape (length, D)
            By layer, on the PLM's device. Special tokens are not among the rows.
        """
        for layer in layers:
            self.check_layer(layer)
        budget = token_budget or (4096 if self.device.type == "cpu" else 65536)
        lengths = [len(sequence) for sequence in sequences]
        partial: dict[int, list[tuple[int, dict[int, Tensor]]]] = {}

        def run(batch: list[Window]) -> list[tuple[Window, dict[int, Tensor]]]:
            return list(self._run(batch, sequences, layers))

        planned = list(batches(lengths, self.max_residues, budget))
        for results in in_order(run, planned, side_by_side=pays(self.device, len(planned))):
            for window, states in results:
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
        first = len(self.vocabulary.prefix)
        for window in batch:
            rows = slice(first, first + window.end - window.start)
            yield window, {layer: x[rows] for layer, x in states.items()}
            first = rows.stop + self.vocabulary.n_special

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
        raise ResourceError(
            f"one window of {batch[0].end - batch[0].start} residues does not fit the "
            f"memory of {self.device}",
            hint="use a smaller PLM or --device cpu",
        )

    @torch.inference_mode()
    def _states(self, pieces: list[str], layers: Sequence[int]) -> dict[int, Tensor]:
        """Return the states (N, D) of each layer over the pieces laid end to end.

        On a CPU there may be rows of no piece behind them.
        """
        ids, lengths = self.pack(pieces)
        filler = -len(ids) % _EVEN
        if filler and len(ids) > _EVEN and self.device.type == "cpu":
            # Tensors of ever new sizes leave gaps in memory, and for each number of rows products
            # in bf16 are compiled anew.
            ids = torch.cat([ids, ids[:1].expand(filler)])
            lengths.append(filler)
        layout = self.layout(lengths)
        x_ND = self.embed(ids.to(self.device), layout)
        states = {0: x_ND.float()} if 0 in layers else {}
        for number, state in self.run_blocks(x_ND, layout, 0, max(layers)):
            if number in layers:
                states[number] = state.float()
        return states

    def pack(self, sequences: Sequence[str]) -> tuple[Tensor, list[int]]:
        """Lay the tokens of all sequences end to end, special tokens included.

        Returns
        -------
        ids : Tensor, dtype=int64, shape=(N,)
        lengths : list of int
            Tokens of each sequence.
        """
        pieces = [self.vocabulary.encode(sequence) for sequence in sequences]
        return torch.from_numpy(np.concatenate(pieces)), [len(piece) for piece in pieces]

    def is_residue(self, lengths: Sequence[int]) -> Tensor:
        """Say which tokens of packed sequences are residues, bool (N,), on the CPU."""
        before, after = len(self.vocabulary.prefix), len(self.vocabulary.suffix)
        pieces = [torch.arange(n) for n in lengths]
        return torch.cat([(p >= before) & (p < len(p) - after) for p in pieces])

    def layout(self, lengths: Sequence[int]) -> PackedLayout:
        """Return the layout of packed segments of these lengths, in the PLM's own precision."""
        return self.family.layout(self.model, lengths, self.device, dtype=self.dtype)

    def embed(self, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return layer 0 (N, D)."""
        return self.family.embed(self.model, ids_N, layout)

    def run_blocks(
        self, x_ND: Tensor, layout: PackedLayout, first: int, last: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield (layer, states (N, D)) for layers `first` + 1 to `last`, from those of `first`."""
        return self.family.run_blocks(self.model, x_ND, layout, first, last)

    def logits(self, x_MD: Tensor) -> Tensor:
        """Return the logits (M, V) of the head for last-layer states (M, D).

        Raises
        ------
        InputError
            If the PLM has no head that predicts masked residues, or was opened without it.
        """
        self.check_head()
        return self.family.logits(self.masked_lm, x_MD)

    def check_head(self) -> None:
        """Raise `InputError`, saying why, if this PLM cannot predict masked residues."""
        if self.family.headless is not None:
            raise InputError(f"{self.id} predicts no masked residues: {self.family.headless}")
        if self.masked_lm is None:
            raise InputError(f"{self.id} was opened without its language-modelling head")


def wrap_model(masked_lm: Any, vocabulary: Vocabulary) -> Plm:
    """Return an ``EsmForMaskedLM`` that is in memory already as a `Plm`."""
    config = masked_lm.config
    family = family_of(config, "the model")
    parameter = next(masked_lm.parameters())
    return Plm(
        id="in memory",
        revision="",
        n_layers=config.num_hidden_layers,
        d_model=config.hidden_size,
        max_residues=family.max_residues(config, vocabulary),
        device=parameter.device,
        dtype=parameter.dtype,
        family=family,
        vocabulary=vocabulary,
        model=masked_lm.esm,
        masked_lm=masked_lm,
    )


@dataclass(frozen=True)
class PlmIdentity:
    """What is known of a PLM without opening its weights.

    Attributes
    ----------
    id, revision : str
        As those of the `Plm`, without a head that was fitted.
    n_layers, d_model : int
    """

    id: str
    revision: str
    n_layers: int
    d_model: int

    def check_layer(self, layer: int, *, option: str = "--layer") -> None:
        """Raise `InputError`, naming the option that gave it, if the PLM has no such layer."""
        _check_layer(self, layer, option)


def identify_plm(name: str, *, revision: str | None = None) -> PlmIdentity:
    """Return what is known of a PLM without opening its weights, to check arguments against.

    Parameters
    ----------
    name, revision
        As for `load_plm`.

    Raises
    ------
    InputError
        If there is no such PLM, or its configuration cannot be read.
    """
    quiet_transformers()
    entry = find_plm(name, revision)
    options = _available(entry)
    try:
        config, family = open_config(entry.source, name, options)
    except (OSError, ValueError) as error:
        raise _unopened(entry, error) from error
    n_layers, d_model = getattr(config, family.layers_key), getattr(config, family.width_key)
    return PlmIdentity(entry.name, _revision(entry), n_layers, d_model)


def _check_layer(plm: Plm | PlmIdentity, layer: int, option: str) -> None:
    if not 0 <= layer <= plm.n_layers:
        raise InputError(f"{plm.id} has layers 0 to {plm.n_layers}", where=option, value=str(layer))


def _unopened(entry: CatalogueEntry, error: Exception) -> InputError:
    return InputError(
        "the PLM cannot be opened: " + str(error).strip().splitlines()[0],
        where=entry.source,
        hint="give a folder with config.json and model.safetensors, or check the network",
    )


def load_plm(
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = "fp32",
    revision: str | None = None,
    max_layer: int | None = None,
    head: bool = False,
    recorded: str | None = None,
) -> Plm:
    """Open a PLM of one of the families in `plmsae.plm.families`.

    Parameters
    ----------
    name : str
        Catalogue name (``esm2-8m``, ``plmsae-mini``, …), hub id, or local folder. The licence of a
        catalogue entry is logged before anything is downloaded.
    device : {"auto", "cpu", "cuda", "mps"}
    precision : {"auto", "fp32", "bf16", "fp16"}
        Of the matrix products; ``auto`` is bf16 where that is faster, see `choose_dtypes`.
    revision : str, optional
        Hub revision.
    max_layer : int, optional
        Drop the blocks above this layer; they are never computed.
    head : bool
        Keep the language-modelling head (and all blocks), for perplexity and loss recovered. Where
        the checkpoint has none, `masked_lm` is None: random weights in its place would predict
        nothing.
    recorded : str, optional
        Where a model remembers its PLM to be; see `find_plm`.

    Raises
    ------
    InputError
        If there is no such PLM, no family opens it, its tokenizer files are missing or do not suit
        it, its weights are not safetensors, or the device is not there. Model code from the hub is
        never run.
    """
    quiet_transformers()
    entry = find_plm(name, revision, recorded=recorded)
    torch_device = choose_device(device)
    parameters, products = choose_dtypes(precision, torch_device)
    options = _available(entry)
    try:
        config, family = open_config(entry.source, name, options)
        vocabulary = family.vocabulary(entry.source, config, options)
        opened = family.open(entry.source, head=head, dtype=parameters, options=options)
    except (OSError, ValueError) as error:
        raise _unopened(entry, error) from error
    if vocabulary.size > config.vocab_size:
        raise InputError(
            f"the tokenizer has {vocabulary.size} tokens, the model only {config.vocab_size}",
            where=name,
            hint="the tokenizer files belong to another model",
        )
    body = opened.body.to(torch_device).eval().requires_grad_(False)
    with_head = opened.with_head
    if with_head is not None:
        with_head = with_head.to(torch_device).eval().requires_grad_(False)
    n_layers = getattr(config, family.layers_key)
    if max_layer is not None and not head and 0 <= max_layer < n_layers:
        family.keep_blocks(body, max_layer)
    plm = Plm(
        id=entry.name,
        revision=_revision(entry),
        n_layers=n_layers,
        d_model=getattr(config, family.width_key),
        max_residues=family.max_residues(config, vocabulary),
        device=torch_device,
        dtype=products,
        family=family,
        vocabulary=vocabulary,
        model=body,
        masked_lm=with_head,
    )
    return _with_fitted_head(plm, entry) if head and with_head is None else plm


def _available(entry: CatalogueEntry) -> dict[str, Any]:
    """Download what is not a folder yet; return the options with which the library opens it."""
    from transformers.utils.hub import resolve_revision

    if entry.package is not None:
        fetch_package(entry)
    if Path(entry.source).is_dir():
        return {}
    announce_licence(entry)
    options = hub_options(entry.source, entry.revision)
    if "local_files_only" in options:
        return options
    # Resolved once, so that all files are of one commit.
    commit = resolve_revision(entry.source, entry.revision)
    return {**options, "revision": commit} if commit else options


def _with_fitted_head(plm: Plm, entry: CatalogueEntry) -> Plm:
    """Return the PLM with the head that was fitted for it; unchanged if there is none."""
    folder = Path(entry.source)
    if plm.family.headless is None and (folder / HEAD).is_file():
        with_head = open_head(plm.family, plm.model, folder).to(plm.device)
        return replace(
            plm,
            masked_lm=with_head.eval().requires_grad_(False),
            revision=revision_with_head(plm.revision, folder),
        )
    reason = plm.family.headless or "the checkpoint has no language-modelling head"
    if entry.package is not None:
        reason += f"; plmsae fetch {entry.name} --fit-head proteins.fasta fits one"
    logger.warning("%s predicts no masked residues: %s", entry.name, reason)
    return plm


def quiet_transformers() -> None:
    """Keep the library's load reports and progress bars out of a command's output."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _revision(entry: CatalogueEntry) -> str:
    """Return the hub commit of an opened PLM, or what `folder_revision` says of a folder."""
    if Path(entry.source).is_dir():
        return folder_revision(Path(entry.source))
    return downloaded_commit(entry.source, entry.revision) or ""
