"""The state of one SAE in training and its update; where batches come from is not its business."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from plmsae.sae import distributed
from plmsae.sae.base import Sae
from plmsae.sae.config import SaeConfig, TrainConfig
from plmsae.sae.model import build_sae
from plmsae.sae.scaling import Scaling
from plmsae.sae.step import Revival, StepResult, set_gradients

_ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")


class Trainer:
    """One SAE, its optimiser, schedule, dead-latent counters and scaling.

    Parameters
    ----------
    config, train_config
        What is trained and how.
    scaling : Scaling
        Centring and scaling of the raw activations.
    device : torch.device
        Where to train.
    target_scaling : Scaling, optional
        Centring and scaling of a transcoder's target.

    Attributes
    ----------
    sae : Sae
        The SAE of *scaled* activations; `finished_sae` gives that of raw ones.
    step_count : int
        Steps done.
    """

    def __init__(
        self,
        config: SaeConfig,
        train_config: TrainConfig,
        scaling: Scaling,
        device: torch.device,
        target_scaling: Scaling | None = None,
    ) -> None:
        if config.is_transcoder != (target_scaling is not None):
            raise ValueError("a transcoder, and nothing else, has a scaling of its target")
        self.config = config
        self.train_config = train_config
        self.scaling = scaling.to(device)
        self.target_scaling = None if target_scaling is None else target_scaling.to(device)
        self.sae: Sae = build_sae(config, seed=train_config.seed).to(device)
        self.sae.take_settings(train_config)
        self.step_count = 0
        self._optimizer = torch.optim.Adam(self.sae.parameters(), fused=True)
        self._since_fired_F = torch.zeros(config.d_sae, dtype=torch.int64, device=device)
        self._n_per_row = 0
        if self.sae.begins_per_row and config.k is not None:
            self._n_per_row = int(train_config.per_row_share * train_config.total_steps)
        self._dead_after = max(1, round(train_config.dead_window_share * train_config.total_steps))

    @property
    def lr(self) -> float:
        """Learning rate of the next step."""
        return self.train_config.lr_at(
            self.step_count, self.config.d_sae, n_processes=distributed.world()
        )

    @property
    def dead_share(self) -> float:
        """Share of latents that fired for no vector of the dead window."""
        return float((self._since_fired_F >= self._dead_after).float().mean())

    def step(
        self, raw_BD: Tensor, raw_target_BD: Tensor | None = None
    ) -> tuple[StepResult, Tensor]:
        """Take one optimiser step on raw activations; return its result and the scaled target.

        Parameters
        ----------
        raw_BD : Tensor, float32, shape (B, d_in)
            What goes in.
        raw_target_BD : Tensor, float32, shape (B, d_target), optional
            What a transcoder reconstructs.
        """
        x_BD = self.scaling.apply(raw_BD)
        target_BD = None
        if raw_target_BD is not None and self.target_scaling is not None:
            target_BD = self.target_scaling.apply(raw_target_BD)
        self.sae.per_row = self.step_count < self._n_per_row
        if self.step_count in (0, self._n_per_row):
            begin = self.sae.begin if self.step_count == 0 else self.sae.begin_free
            begin(self.sae.centre(x_BD))
            distributed.combine_start(self.sae)
        result = set_gradients(self.sae, x_BD, self._revival(), target_BD)
        result = distributed.combine_step(self.sae, result)
        if self.train_config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self.sae.parameters(), self.train_config.grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self.lr
        self._optimizer.step()
        # Their memory is for the next step, or for the copy that `finished_sae` makes.
        self._optimizer.zero_grad()
        with torch.no_grad():
            decoder = self.sae.W_dec_FD
            decoder.div_(torch.linalg.vector_norm(decoder, dim=1, keepdim=True))
        self._since_fired_F.add_(1).masked_fill_(result.fired, 0)
        self.step_count += 1
        return result, x_BD if target_BD is None else target_BD

    def finished_sae(self) -> Sae:
        """Return a copy of the SAE, for raw activations, on the CPU.

        The scaling is folded in; what `input_norm` does to a row comes before it and stays.
        """
        sae = copy.deepcopy(self.sae)
        of_target = self.target_scaling or self.scaling
        sae.fold_scaling(self.scaling.mean, self.scaling.factor, of_target.mean, of_target.factor)
        return sae.cpu().eval()

    def state_tensors(self) -> dict[str, Tensor]:
        """Return every tensor that the next step depends on, by name, on the CPU."""
        tensors = {f"sae.{name}": t for name, t in self.sae.state_dict().items()}
        for name, parameter in self.sae.named_parameters():
            for key in _ADAM_STATE:
                if parameter in self._optimizer.state:
                    tensors[f"adam.{name}.{key}"] = self._optimizer.state[parameter][key]
        tensors["since_fired"] = self._since_fired_F
        tensors["mean"] = self.scaling.mean
        if self.target_scaling is not None:
            tensors["target_mean"] = self.target_scaling.mean
        return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}

    def state_scalars(self) -> dict[str, Any]:
        """Return every number that the next step depends on (JSON-ready)."""
        scalars = {
            "step": self.step_count,
            "factor": self.scaling.factor,
            "gamma": self.scaling.gamma,
        }
        if self.target_scaling is not None:
            scalars["target_factor"] = self.target_scaling.factor
            scalars["target_gamma"] = self.target_scaling.gamma
        return scalars

    def take_state(self, tensors: dict[str, Tensor], scalars: dict[str, Any]) -> None:
        """Continue from what `state_tensors` and `state_scalars` returned.

        Raises
        ------
        KeyError, RuntimeError
            If a tensor is missing or has the wrong shape.
        """
        device = self.sae.device
        self.sae.load_state_dict({n: tensors[f"sae.{n}"] for n in self.sae.state_dict()})
        for name, parameter in self.sae.named_parameters():
            state = {key: tensors[f"adam.{name}.{key}"] for key in _ADAM_STATE}
            if any(state[key].shape != parameter.shape for key in _ADAM_STATE[1:]):
                raise RuntimeError(f"adam.{name} has the wrong shape")
            self._optimizer.state[parameter] = {k: t.to(device) for k, t in state.items()}
        if tensors["since_fired"].shape != self._since_fired_F.shape:
            raise RuntimeError("since_fired has the wrong shape")
        self._since_fired_F.copy_(tensors["since_fired"])
        self.step_count = int(scalars["step"])

    def _revival(self) -> Revival | None:
        if self.train_config.auxk_coefficient == 0:
            return None
        dead_M = (self._since_fired_F >= self._dead_after).nonzero().squeeze(1)
        self.sae.revive(dead_M)
        k = self.train_config.auxk_k or max(1, self.config.d_in // 2)
        return Revival(dead_M, self.train_config.auxk_coefficient, k)
