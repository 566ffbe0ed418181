"""Train an ESM-2-architecture masked language model from scratch.

A run is a folder with a ``checkpoint/``: weights, averaged weights and optimiser state as
safetensors, and the step. It stops and resumes at any step with the same result bit for bit,
because batches and masks are functions of (seed, step).
"""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from plmsae.core.atomic import atomic_folder, write_json
from plmsae.core.errors import InputError, TrainingDivergedError
from plmsae.core.stopping import CONTINUES, StopRequest
from plmsae.plm.corpus import Corpus, PackedBatch, PackedStream
from plmsae.plm.device import native_bf16
from plmsae.plm.families import family_of
from plmsae.plm.objective import Batch, MaskedTokens, Objective
from plmsae.plm.pretrain_config import PretrainConfig
from plmsae.plm.vocabulary import esm2_vocabulary

if TYPE_CHECKING:
    from plmsae.plm.model import Plm

logger = logging.getLogger(__name__)

#: Settings that may differ when a run is continued.
_SCHEDULE = (
    *("steps", "decay_share", "warmup_share", "matrix_lr", "other_lr", "ema", "row", "workers"),
)

OnMetrics = Callable[[int, dict[str, float]], None]


def new_model(config: PretrainConfig) -> Any:
    """Return a freshly initialised ``EsmForMaskedLM`` of the configured shape.

    Without token dropout a mask has an embedding of its own, and inputs without masks are seen as
    they are; with it both are scaled as in ESM-2.
    """
    from transformers import EsmConfig, EsmForMaskedLM

    vocabulary = esm2_vocabulary()
    torch.manual_seed(config.seed)
    return EsmForMaskedLM(
        EsmConfig(
            vocab_size=vocabulary.size,
            mask_token_id=vocabulary.mask,
            pad_token_id=vocabulary.pad,
            hidden_size=config.d_model,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            intermediate_size=4 * config.d_model,
            max_position_embeddings=1026,  # 1022 residues
            position_embedding_type="rotary",
            emb_layer_norm_before=False,
            token_dropout=config.token_dropout,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            layer_norm_eps=1e-5,
        )
    )


def start_from(plm: Plm, config: PretrainConfig) -> Any:
    """Return the ``EsmForMaskedLM`` of a PLM that was opened with its head, to be trained on.

    Raises
    ------
    InputError
        If it has no head, is no ESM-2, or has another shape than `config`.
    """
    if plm.masked_lm is None:
        raise InputError("the model to start from has no language-modelling head", where=plm.id)
    theirs = plm.masked_lm.config
    rotary = getattr(theirs, "position_embedding_type", None) == "rotary"
    if not rotary or plm.vocabulary.fingerprint != esm2_vocabulary().fingerprint:
        raise InputError(
            "the model to start from has not the architecture and vocabulary of ESM-2", where=plm.id
        )
    shape = (plm.n_layers, plm.d_model, theirs.num_attention_heads, theirs.token_dropout)
    wanted = (config.n_layers, config.d_model, config.n_heads, config.token_dropout)
    if shape != wanted:
        told = "{} layers of width {} with {} heads and token dropout {}"
        raise InputError(
            f"the model to start from has {told.format(*shape)}, the settings say "
            f"{told.format(*wanted)}",
            where=plm.id,
        )
    return plm.masked_lm.requires_grad_(requires_grad=True)


def mask_batch(
    batch: PackedBatch, config: PretrainConfig, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return corrupted ids (N,), the indices to predict (M,) and their true ids (M,)."""
    rng = np.random.default_rng((config.seed, 1, step))
    vocabulary = esm2_vocabulary()
    standard = np.flatnonzero(np.isin(batch.ids, vocabulary.standard))
    chosen = np.sort(rng.permutation(standard)[: max(1, round(config.mask_share * len(standard)))])
    chosen = chosen[~config.is_clean(chosen // config.row)]
    ids = batch.ids.copy()
    fate = rng.random(len(chosen))
    ids[chosen[fate < 0.8]] = vocabulary.mask_id
    replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
    ids[replaced] = rng.choice(vocabulary.standard, size=len(replaced))
    return (torch.from_numpy(ids), torch.from_numpy(chosen), torch.from_numpy(batch.ids[chosen]))


def make_optimizers(
    model: Any, config: PretrainConfig, more: Sequence[nn.Parameter] = ()
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks and AdamW for the rest, or AdamW for all.

    Parameters
    ----------
    model : EsmForMaskedLM
    more : sequence of Parameter
        Of the objective; by AdamW.
    """
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    seen: set[int] = set()
    for name, parameter in model.named_parameters():
        if id(parameter) in seen or "contact_head" in name:
            continue
        seen.add(id(parameter))
        in_block = ".layer." in name and parameter.ndim == 2
        (matrices if in_block else others).append(parameter)
    others += more
    adam: dict[str, Any] = {"betas": (0.9, 0.98), "eps": 1e-8, "fused": True}
    if config.optimizer == "adamw":
        groups = [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        return [torch.optim.AdamW(groups, lr=config.other_lr, **adam)]
    return [
        torch.optim.Muon(matrices, lr=config.matrix_lr, weight_decay=config.weight_decay),
        torch.optim.AdamW(others, lr=config.other_lr, weight_decay=0.0, **adam),
    ]


def kept_checkpoint(folder: Path) -> str:
    """Return what a run that was stopped leaves in its folder, in words; empty if it is nothing."""
    checkpoint = folder / "checkpoint"
    there = (checkpoint / "state.json").exists()
    return f"the last checkpoint is kept in {checkpoint}; {CONTINUES}" if there else ""


class Pretrainer:
    """One pretraining run in one folder.

    Parameters
    ----------
    folder : Path
        Continued if it holds a checkpoint of the same config (the number of steps and the learning
        rates may differ) and the same corpus.
    device : str
        ``cpu``, ``cuda`` or ``mps``.
    init : Plm, optional
        Opened in fp32 with its head: what a new run starts from (see `start_from`).
    objective : Objective, optional
        What is minimised; by default the cross-entropy of masked residues.
    """

    def __init__(
        self,
        config: PretrainConfig,
        corpus: Corpus,
        folder: Path,
        *,
        device: str = "cpu",
        init: Plm | None = None,
        objective: Objective | None = None,
    ) -> None:
        self.config = config
        self.folder = folder
        self.corpus = corpus
        self.device = torch.device(device)
        wants_bf16 = config.precision == "bf16" or (
            config.precision == "auto" and native_bf16(self.device)
        )
        self.dtype = torch.bfloat16 if wants_bf16 else torch.float32
        self.stream = PackedStream(
            corpus, tokens_per_batch=config.tokens_per_step, row=config.row, seed=config.seed
        )
        self.model = (new_model(config) if init is None else start_from(init, config)).to(
            self.device
        )
        self.family = family_of(self.model.config, "the model to train")
        self.average = {
            name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()
        }
        self.objective = MaskedTokens() if objective is None else objective.to(self.device)
        own = list(self.objective.parameters())
        self.optimizers = make_optimizers(self.model, config, own)
        self.parameters = [p for n, p in self.model.named_parameters() if "contact_head" not in n]
        self.parameters += own
        self.step = 0
        # A GPU would wait for the packing; on a CPU both would want the same cores.
        self.packs_ahead = self.device.type == "cuda"
        self._packer = ThreadPoolExecutor(1, thread_name_prefix="packer")
        self._workers = ThreadPoolExecutor(config.workers, thread_name_prefix="worker")
        self._ahead: Future[Batch] | None = None
        if (folder / "checkpoint" / "state.json").exists():
            self._resume()

    def train(
        self,
        *,
        on_metrics: OnMetrics | None = None,
        log_every: int = 20,
        checkpoint_minutes: float = 10.0,
        max_minutes: float | None = None,
        stop: StopRequest | None = None,
    ) -> None:
        """Run until `config.steps`, for `max_minutes`, or until `stop` has been received.

        A checkpoint is written in each case; after `stop` its `StopRequest.stop` then raises.
        """
        threads = torch.get_num_threads()
        if self.config.workers > 1:
            torch.set_num_threads(1)
        try:
            self._train(on_metrics, log_every, checkpoint_minutes, max_minutes, stop)
        finally:
            torch.set_num_threads(threads)
        self.save()
        if stop is not None and stop.received:
            stop.stop(
                f"the checkpoint after step {self.step:,} of {self.config.steps:,} is kept in "
                f"{self.folder / 'checkpoint'}"
            )

    def _train(
        self,
        on_metrics: OnMetrics | None,
        log_every: int,
        checkpoint_minutes: float,
        max_minutes: float | None,
        stop: StopRequest | None,
    ) -> None:
        started = last_saved = time.monotonic()
        window, first = time.monotonic(), self.step
        loss_sum = torch.zeros((), device=self.device)
        while self.step < self.config.steps:
            loss_sum += self._one_step()
            if self.step % log_every == 0:
                steps = self.step - first
                loss = float(loss_sum) / steps
                now = time.monotonic()
                if not np.isfinite(loss):
                    raise TrainingDivergedError(
                        f"the loss became {loss} at step {self.step}; the last checkpoint stays",
                        where=self.folder,
                        hint="lower matrix_lr and other_lr, or raise warmup_share",
                    )
                speed = steps * self.config.tokens_per_step / (now - window)
                if on_metrics:
                    on_metrics(
                        self.step,
                        {
                            "train_loss": loss,
                            "tokens_per_second": speed,
                            "lr_factor": self.config.rate(self.step - 1),
                            "residues_seen": float(self.step * self.config.tokens_per_step),
                        },
                    )
                window, first = now, self.step
                loss_sum = torch.zeros((), device=self.device)
            now = time.monotonic()
            if now - last_saved > 60 * checkpoint_minutes:
                self.save()
                last_saved = now
            if max_minutes is not None and now - started > 60 * max_minutes:
                break
            if stop is not None and stop.received:
                break

    def _one_step(self) -> Tensor:
        config = self.config
        batch = self._take_batch()
        factor = config.rate(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group.setdefault("base_lr", group["lr"])
                group["lr"] = group["base_lr"] * factor
        loss = self._gradients(batch)
        nn.utils.clip_grad_norm_(self.parameters, config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        # The average starts short, so that early steps do not weigh on it.
        decay = min(config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for name, tensor in self.model.state_dict().items():
                if tensor.is_floating_point():
                    self.average[name].lerp_(tensor, 1 - decay)
        return loss

    def _gradients(self, batch: Batch) -> Tensor:
        """Set the gradient of every parameter to that of the mean loss; return the loss.

        Each worker takes a share of the rows. On a shared machine that is much faster than threads
        inside every operation, which wait for each other thousands of times a step.
        """
        self.model.train()
        parts = batch.split(self.config.workers, self.config.row)
        if len(parts) == 1:
            results = [self._loss_and_gradients(parts[0])]
        else:
            results = list(self._workers.map(self._loss_and_gradients, parts))
        # Summed in the order of the parts: the same bits whichever worker was first.
        for parameter, *gradients in zip(
            self.parameters, *(gradients for _, gradients in results), strict=True
        ):
            there = [g for g in gradients if g is not None]
            parameter.grad = torch.stack(there).sum(0) / len(parts) if there else None
        return torch.stack([loss for loss, _ in results]).mean()

    def _loss_and_gradients(self, batch: Batch) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        # One varlen kernel serves every length on CUDA; elsewhere constant shapes are faster.
        row = None if self.device.type == "cuda" else self.config.row
        layout = self.family.layout(
            self.model.esm, batch.lengths, self.device, dtype=self.dtype, row=row
        )
        loss = self.objective.loss(self.model, self.family, batch, layout, row, self.step)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        return loss.detach(), gradients

    def _take_batch(self) -> Batch:
        """Return this step's batch; on a GPU, packing of the next one goes on beside the step."""
        if not self.packs_ahead:
            return self._make_batch(self.step)
        ahead = self._ahead or self._packer.submit(self._make_batch, self.step)
        self._ahead = self._packer.submit(self._make_batch, self.step + 1)
        return ahead.result()

    def _make_batch(self, step: int) -> Batch:
        batch = self.stream.batch(step)
        ids, where, target = (t.to(self.device) for t in mask_batch(batch, self.config, step))
        return Batch(batch.lengths, ids, where, target)

    def averaged_model(self) -> Any:
        """Return a copy of the model with the averaged weights."""
        model = new_model(self.config).to(self.device)
        model.load_state_dict(self.average)
        return model.eval()

    def save(self) -> None:
        """Write ``checkpoint/`` atomically."""
        tensors: dict[str, Tensor] = {}
        for name, tensor in self.model.state_dict().items():
            tensors[f"model.{name}"] = tensor
        for name, tensor in self.average.items():
            tensors[f"average.{name}"] = tensor
        for name, tensor in self.objective.state_dict().items():
            tensors[f"objective.{name}"] = tensor
        for index, key, slot, tensor in self._optimizer_tensors():
            tensors[f"optimizer.{index}.{key}.{slot}"] = tensor
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
        with atomic_folder(self.folder / "checkpoint") as temporary:
            save_file(tensors, temporary / "state.safetensors")
            write_json(
                temporary / "state.json",
                {
                    "step": self.step,
                    "corpus": self.corpus.fingerprint,
                    "objective": self.objective.identity,
                    "config": dataclasses.asdict(self.config),
                },
            )

    def _optimizer_tensors(self) -> Iterator[tuple[int, int, str, Tensor]]:
        for index, optimizer in enumerate(self.optimizers):
            for key, slots in optimizer.state_dict()["state"].items():
                for slot, tensor in slots.items():
                    yield index, key, slot, tensor

    def _resume(self) -> None:
        folder = self.folder / "checkpoint"
        state = json.loads((folder / "state.json").read_text())
        ours = dataclasses.asdict(self.config)
        # The same weights may go on for longer, or at other learning rates.
        free = {*_SCHEDULE, "precision"}
        # A setting that is newer than the checkpoint had its default value then.
        theirs = dataclasses.asdict(PretrainConfig()) | state["config"]
        different = sorted(k for k in ours if k not in free and ours[k] != theirs[k])
        if different:
            raise InputError(
                f"the checkpoint was made with other settings ({', '.join(different)})",
                where=folder,
                hint="give the same settings, or another folder",
            )
        if state["corpus"] != self.corpus.fingerprint:
            raise InputError("the checkpoint was made with another corpus", where=folder)
        if state.get("objective", MaskedTokens.identity) != self.objective.identity:
            raise InputError(
                "the checkpoint was made for another objective, or with another teacher",
                where=folder,
            )
        tensors = load_file(folder / "state.safetensors", device=str(self.device))
        self.model.load_state_dict(_under(tensors, "model."))
        self.average = _under(tensors, "average.")
        self.objective.load_state_dict(_under(tensors, "objective."))
        for index, optimizer in enumerate(self.optimizers):
            states: dict[int, dict[str, Tensor]] = {}
            for name, tensor in _under(tensors, f"optimizer.{index}.").items():
                key, slot = name.split(".", 1)
                states.setdefault(int(key), {})[slot] = tensor
            fresh = optimizer.state_dict()
            optimizer.load_state_dict({"state": states, "param_groups": fresh["param_groups"]})
        self.step = int(state["step"])
        logger.info("resumed %s at step %d", self.folder, self.step)


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
