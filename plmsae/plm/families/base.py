"""What plmsae must know of a model family to run it over packed residues.

A family is a subclass of `Family` in a module of its own in this package. Defining it registers
it; nothing else has to be edited. The weights are held by modules of the transformers library, and
everything that a checkpoint states (vocabulary, rotary frequencies, norms, scale factors) is read
from it. What a family adds is the order of the work: many proteins in one flat tensor, no padding.

Shapes: N tokens, D hidden size, M predicted tokens, V vocabulary.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from plmsae.core.errors import InputError
from plmsae.plm.packed import PackedLayout, row_mask
from plmsae.plm.vocabulary import Vocabulary, read_vocabulary

_FAMILIES: dict[str, Family] = {}

#: Residues in one window of a PLM whose checkpoint states no limit, or one far above what memory
#: allows: as many as ESM-2 takes.
WINDOW = 1022


@dataclass(frozen=True)
class OpenedModel:
    """The library's modules of an opened checkpoint.

    Attributes
    ----------
    body : Module
        Embeddings, blocks and final norm.
    with_head : Module or None
        The model with its head that predicts residues; None if it was not asked for or the
        checkpoint has none.
    """

    body: Any
    with_head: Any

    @classmethod
    def load(
        cls,
        bare: Any,
        full: Any,
        source: str,
        *,
        body: str,
        head_key: str,
        head: bool,
        dtype: torch.dtype,
        options: Mapping[str, Any],
        **only_bare: Any,
    ) -> OpenedModel:
        """Load the library's bare model, or the one with its head if `head` asks for it.

        Parameters
        ----------
        bare, full : type
            The library's classes without and with the head.
        body : str
            Attribute of `full` that is the bare model.
        head_key : str
            What the names of the head's weights begin with. Where the checkpoint lacks one, the
            library fills the head with random weights: such a head is not returned.
        only_bare
            Arguments that only `bare` takes.
        """
        loaded, info = (full if head else bare).from_pretrained(
            source,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
            **({} if head else only_bare),
            **options,
        )
        if not head:
            return cls(loaded, None)
        without = any(key.startswith(head_key) for key in info["missing_keys"])
        return cls(getattr(loaded, body), None if without else loaded)


class Family(ABC):
    """One model family; stateless.

    Attributes
    ----------
    model_types : tuple of str
        The values of ``model_type`` in ``config.json`` that this family opens.
    layers_key, width_key : str
        Names of the number of blocks and of the hidden size in the config.
    causal : bool
        Whether a residue sees only those before it.
    headless : str or None
        Why no PLM of this family predicts masked residues; None if those with a head do.
    tokenizer_hint : str
        What to do where the tokenizer files are missing.
    """

    model_types: ClassVar[tuple[str, ...]]
    layers_key: ClassVar[str] = "num_hidden_layers"
    width_key: ClassVar[str] = "hidden_size"
    causal: ClassVar[bool] = False
    headless: ClassVar[str | None] = None
    tokenizer_hint: ClassVar[str] = (
        "copy vocab.txt, tokenizer.json or the SentencePiece model of the original checkpoint "
        "beside config.json"
    )

    def __init_subclass__(cls) -> None:
        """Register the family under its model types."""
        super().__init_subclass__()
        for model_type in cls.model_types:
            _FAMILIES[model_type] = cls()

    def refuse(self, config: Mapping[str, Any], where: str) -> None:  # noqa: B027 - most accept all
        """Raise `InputError` if this family cannot run a model of that config."""

    def spelling(self, tokenizer: Any) -> Callable[[str], str]:
        """Return what writes a sequence as a tokenizer of this family expects it."""
        return str

    def vocabulary(self, source: str, config: Any, options: Mapping[str, Any]) -> Vocabulary:
        """Read the vocabulary from the tokenizer files of a checkpoint.

        Raises
        ------
        InputError
            If there are none, or they do not suit the model.
        """
        try:
            tokenizer = open_tokenizer(source, config, options)
        # Which error a missing file gives depends on the tokenizer's class; TypeError is one.
        except (OSError, ValueError, TypeError, ImportError) as error:
            return self.without_tokenizer_files(source, config, error)
        return read_vocabulary(tokenizer, where=source, spell=self.spelling(tokenizer))

    def without_tokenizer_files(self, source: str, config: Any, error: Exception) -> Vocabulary:
        """Return the vocabulary of a checkpoint whose tokenizer cannot be opened, or refuse it."""
        raise InputError(
            "the tokenizer files of this PLM are missing or cannot be read",
            where=source,
            hint=self.tokenizer_hint,
        ) from error

    def max_residues(self, config: Any, vocabulary: Vocabulary) -> int:
        """Return the most residues that the PLM takes at once.

        The usual window, or the positions less the special tokens if they are fewer.
        """
        return min(WINDOW, int(config.max_position_embeddings) - vocabulary.n_special)

    @abstractmethod
    def open(
        self, source: str, *, head: bool, dtype: torch.dtype, options: Mapping[str, Any]
    ) -> OpenedModel:
        """Open the weights with the library, safetensors only and without remote code."""

    @abstractmethod
    def fresh(self, config: Any) -> Any:
        """Return a body of `config` with the weights that training would start from."""

    def untrained(self, config: Any, blocks: int) -> Any:
        """Return the embeddings and first `blocks` blocks of a fresh PLM of `config`.

        The others are not made. A family where a block depends on how many there are adjusts it.
        """
        shallow = copy.deepcopy(config)
        setattr(shallow, self.layers_key, blocks)
        return self.fresh(shallow)

    @abstractmethod
    def keep_blocks(self, body: Any, count: int) -> None:
        """Drop all blocks after the first `count`."""

    @abstractmethod
    def embed(self, body: Any, ids_N: Tensor, layout: PackedLayout) -> Tensor:
        """Return layer 0: the embedding output (N, D)."""

    @abstractmethod
    def block(self, body: Any, number: int, x_ND: Tensor, layout: PackedLayout) -> Tensor:
        """Run block `number` (1-based) on (N, D)."""

    @abstractmethod
    def final_norm(self, body: Any, x_ND: Tensor) -> Tensor:
        """Apply what follows the last block, if anything does."""

    def with_new_head(self, body: Any) -> Any:
        """Return the library's model with `body` and an untrained head, for `logits`.

        Raises
        ------
        InputError
            If no head can be fitted for this family.
        """
        raise InputError(
            "no language-modelling head can be fitted for this family of PLMs",
            where=", ".join(self.model_types),
            hint=self.headless,
        )

    def logits(self, with_head: Any, x_MD: Tensor) -> Tensor:
        """Return the head's logits (M, V) for states of the last layer (M, D)."""
        raise NotImplementedError(f"{type(self).__name__} has no head that predicts residues")

    def rotary(
        self, body: Any, lengths: Sequence[int], device: torch.device, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor] | None:
        """Return the rotary tables of the checkpoint's own frequencies; None for other PLMs."""
        return None

    def bias(self, body: Any, longest: int, device: torch.device) -> Tensor | None:
        """Return what is added to the attention scores, (H, longest, longest); None for nothing."""
        return None

    def layout(
        self,
        body: Any,
        lengths: Sequence[int],
        device: torch.device,
        *,
        dtype: torch.dtype = torch.float32,
        row: int | None = None,
    ) -> PackedLayout:
        """Prepare what every block needs to know of how the tokens divide into segments.

        Give `row` if no segment crosses a multiple of it: attention may then run on rows of
        constant length under a mask.
        """
        bias = self.bias(body, max(lengths), device)
        mask = None
        if row is not None and bias is None and not self.causal:
            mask = row_mask(lengths, row, dtype, device)
        return PackedLayout(
            tuple(lengths),
            dtype,
            rotary=self.rotary(body, lengths, device, dtype),
            mask=mask,
            bias=None if bias is None else bias.to(dtype),
            causal=self.causal,
        )

    def run_blocks(
        self, body: Any, x_ND: Tensor, layout: PackedLayout, first: int, last: int
    ) -> Iterator[tuple[int, Tensor]]:
        """Run blocks `first` + 1 to `last` on the output of layer `first`.

        Yields the number of each layer and its states (N, D), those of the PLM's last layer after
        the final norm.
        """
        n_layers = getattr(body.config, self.layers_key)
        for number in range(first + 1, last + 1):
            x_ND = self.block(body, number, x_ND, layout)
            if number == n_layers:
                x_ND = self.final_norm(body, x_ND)
            yield number, x_ND


def open_tokenizer(source: str, config: Any, options: Mapping[str, Any]) -> Any:
    """Open the tokenizer that a checkpoint publishes, without remote code.

    Where there is a ``tokenizer.json``, it is taken as it stands. The library's own classes of some
    families take no more than the vocabulary from it and add rules of their own, for example a
    blank before the first letter, which Ankh does not have.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast
    from transformers.utils.hub import cached_file

    published = cached_file(
        source,
        "tokenizer.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        **options,
    )
    if published is not None:
        return PreTrainedTokenizerFast.from_pretrained(source, **options)
    return AutoTokenizer.from_pretrained(source, config=config, trust_remote_code=False, **options)


def open_config(source: str, where: str, options: Mapping[str, Any]) -> tuple[Any, Family]:
    """Return the library's config of a checkpoint, and the family that opens it.

    Raises
    ------
    InputError
        If no family does.
    OSError, ValueError
        If there is no config, or not one of the library's.
    """
    from transformers import CONFIG_MAPPING, PreTrainedConfig

    values, _ = PreTrainedConfig.get_config_dict(source, **options)
    if not values:
        raise OSError("config.json is missing")
    family = family_of(values, where)
    return CONFIG_MAPPING[_model_type(values)].from_pretrained(source, **options), family


def family_of(config: Mapping[str, Any] | Any, where: str) -> Family:
    """Return the family that opens a config (of the library, or as read from JSON).

    Raises
    ------
    InputError
        If no family does, or the family refuses this config.
    """
    values: Mapping[str, Any] = config if isinstance(config, Mapping) else config.to_dict()
    model_type = _model_type(values)
    family = _FAMILIES.get(model_type)
    if family is None:
        raise InputError(
            f"no PLM family here opens models of type {model_type!r}",
            where=where,
            hint=f"known types: {', '.join(sorted(_FAMILIES))}; docs/add-a-plm.md says how to "
            "add one",
        )
    family.refuse(values, where)
    return family


def _model_type(values: Mapping[str, Any]) -> str:
    """Return ``model_type``; where an old config states none, that of the class it names."""
    if "model_type" in values:
        return str(values["model_type"])
    import transformers

    classes = (getattr(transformers, str(name), None) for name in values.get("architectures") or ())
    configs = (getattr(kind, "config_class", None) for kind in classes)
    return next((str(config.model_type) for config in configs if config is not None), "unknown")
