"""What an SAE is (`SaeConfig`) and how it is trained (`TrainConfig`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from plmsae.core.errors import InputError
from plmsae.sae.architecture import ARCHITECTURES

Arch = str
"""Name of an architecture: that of a module of `plmsae.sae.architectures`."""
InputNorm = Literal["none", "layer_norm", "constant_norm_rescale"]
"""What is done to each row of the input, by SAELens's names (see `plmsae.sae.normalize`)."""
INPUT_NORMS: tuple[str, ...] = get_args(InputNorm)
Target = Literal["input", "layer", "change"]
TARGETS: tuple[str, ...] = get_args(Target)

# One learning rate does not fit all widths: Adam's best one falls with the square root of d_sae
# (Gao et al. 2024, "Scaling and evaluating sparse autoencoders", section A.3). The constant is for
# protein budgets of 10^6 to 10^8 vectors and activations of unit mean square; more lowers the error
# a little and leaves several times as many latents dead. It, and the shares below, were measured:
# docs/benchmarks.md, "What the recipe was chosen by".
_LR_AT_16K = 1.2e-3
# Smaller batches have noisier gradients: at the same rate, 256 means of proteins per step leave
# 45 % of the latents dead; lowered by the square root of the batch it leaves 0.2 %.
_LR_BATCH = 2048


@dataclass(frozen=True, kw_only=True)
class SaeConfig:
    """The function an SAE computes; all that is needed to run a stored one.

    Raises
    ------
    InputError
        If a value is out of range, or `k` is missing where the architecture needs it.
    """

    arch: Arch = "topk"
    """Architecture, which decides which latents are active."""
    d_in: int
    """Width of the activations that go in."""
    d_sae: int
    """Number of latents."""
    k: int | None = 32
    """Active latents per vector: exactly for `topk` and `hierarchical`, on average for the others.
    `relu` and `jumprelu` may go without if their sparsity coefficient is given."""
    apply_b_dec_to_input: bool | None = None
    """Whether the decoder bias is subtracted before the encoder; by default, if it is in the same
    space (`target` is `input`)."""
    target: Target = "input"
    """What is reconstructed: the input itself, or (a transcoder) another layer, or what the blocks
    up to that layer add to the input (the change)."""
    d_out: int | None = None
    """Width of the target; by default that of the input."""
    levels: tuple[int, ...] = ()
    """Where the reconstruction must also be good. `matryoshka`: numbers of first latents, the last
    being d_sae (by default d_sae / 16, / 8, / 4, / 2, / 1). `hierarchical`: numbers of active
    latents, the last being k (by default k / 8, / 4, / 2, / 1). Ascending."""
    input_norm: InputNorm = "none"
    """What is done to each row before anything else (see `plmsae.sae.normalize`)."""

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise InputError(
                "unknown SAE architecture",
                value=str(self.arch),
                hint=f"one of {', '.join(ARCHITECTURES)}",
            )
        if self.input_norm not in INPUT_NORMS:
            raise InputError(
                "unknown input normalisation",
                value=str(self.input_norm),
                hint=f"one of {', '.join(INPUT_NORMS)}",
            )
        _positive("d_in", self.d_in)
        _positive("d_sae", self.d_sae)
        if self.k is not None:
            _positive("k", self.k)
            if self.k > self.d_sae:
                raise InputError(f"k ({self.k}) must not exceed d_sae ({self.d_sae})")
        elif ARCHITECTURES[self.arch].needs_k:
            raise InputError(f"architecture {self.arch} needs k")
        self._settle_target()
        self._settle_levels()

    @property
    def d_target(self) -> int:
        """Width of what is reconstructed."""
        return self.d_out or self.d_in

    @property
    def is_transcoder(self) -> bool:
        """Whether training needs pairs of batches: what goes in, and what comes out."""
        return self.target != "input"

    def _settle_target(self) -> None:
        if self.target not in TARGETS:
            raise InputError("unknown target", value=self.target, hint="/".join(TARGETS))
        if self.d_out is not None:
            _positive("d_out", self.d_out)
        if self.target != "layer" and self.d_target != self.d_in:
            raise InputError(
                f"d_out ({self.d_out}) must equal d_in ({self.d_in}) where target is {self.target}"
            )
        if self.apply_b_dec_to_input is None:
            object.__setattr__(self, "apply_b_dec_to_input", not self.is_transcoder)
        elif self.apply_b_dec_to_input and self.is_transcoder:
            raise InputError("a transcoder cannot apply b_dec to its input")

    def _settle_levels(self) -> None:
        architecture = ARCHITECTURES[self.arch]
        levels, n = tuple(self.levels), architecture.n_levels
        last = getattr(self, architecture.levels_of) or 0
        if not n and levels:
            raise InputError(f"architecture {self.arch} has no levels")
        if n and not levels:
            levels = tuple(sorted({max(1, last >> i) for i in range(n)}))
        for level in levels:
            _positive("each of the levels", level)
        if levels and (levels != tuple(sorted(set(levels))) or levels[-1] != last):
            raise InputError(f"levels must ascend and end with {last}", value=str(levels))
        object.__setattr__(self, "levels", levels)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How an SAE is trained. The defaults suit protein budgets (10^6 to 10^8 vectors).

    Raises
    ------
    InputError
        If a value is out of range, or not exactly one of `steps` and `n_vectors` is given.
    """

    steps: int | None = None
    """Number of optimiser steps; give this or `n_vectors`."""
    n_vectors: int | None = None
    """Number of vectors to train on, counted over all epochs; rounded down to whole batches."""
    batch_size: int = 2048
    """Vectors per step."""
    lr: float | Literal["auto"] = "auto"
    """Peak learning rate; `auto` is 1.2e-3 · sqrt(16384 / d_sae), for batches of fewer than 2048
    times sqrt(batch_size / 2048), at most 1e-2."""
    warmup_share: float = 0.02
    """Share of the run over which the learning rate rises linearly from zero."""
    decay_share: float = 0.2
    """Share of the run, at its end, over which the learning rate falls linearly to zero."""
    sparsity_coefficient: float | None = None
    """Weight of the penalty of `relu` (L1) and `jumprelu` (L0), relative to the squared error of a
    vector; None adjusts it while training, such that k latents are active."""
    per_row_share: float = 0.5
    """Share of the run, at its beginning, in which each row keeps its k largest pre-activations
    also in architectures that later choose within a batch or by learned thresholds (`batchtopk`,
    `matryoshka`, `jumprelu`). These let latents that are already good win over those that have yet
    to learn; begun like TopK they find as much as TopK does."""
    auxk_coefficient: float = 1.0
    """Weight of the loss by which dead latents learn the residual; 0 turns revival off."""
    auxk_k: int | None = None
    """Dead latents per vector that take part in revival; default d_in / 2."""
    dead_window_share: float = 0.02
    """A latent that fired for no vector of this share of the run counts as dead. Shorter windows
    count rarely active latents as dead, and revival then changes what they represent; longer ones
    leave dead what could have been revived."""
    grad_clip: float | None = 1.0
    """Largest global norm of the gradient; None for no limit."""
    scale_batches: int = 16
    """Batches looked at, before the first step, to find the mean and the scale of activations."""
    checkpoint_minutes: float = 10.0
    """Minutes between checkpoints; 0 writes one after every step."""
    log_every: int = 50
    """Steps between two calls of `on_metrics`."""
    seed: int = 0
    """Seed of the initial weights."""
    device: str = "auto"
    """Torch device; `auto` is cuda where there is one, else cpu: the SAE engine was not tried on
    MPS, on which a PLM runs."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.n_vectors is None):
            raise InputError("give exactly one of steps and n_vectors")
        for name in ("steps", "n_vectors", "batch_size", "auxk_k", "scale_batches", "log_every"):
            value = getattr(self, name)
            if value is not None:
                _positive(name, value)
        for name in ("warmup_share", "decay_share", "dead_window_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1", value=str(getattr(self, name)))
        if not 0 <= self.per_row_share < 1:
            raise InputError(
                "per_row_share must be at least 0 and less than 1", value=str(self.per_row_share)
            )
        if self.warmup_share + self.decay_share > 1:
            raise InputError("warmup_share and decay_share must not add up to more than 1")
        if self.lr != "auto" and not (isinstance(self.lr, (int, float)) and 0 < self.lr < 1):
            raise InputError("lr must be 'auto' or between 0 and 1", value=str(self.lr))
        if self.auxk_coefficient < 0:
            raise InputError("auxk_coefficient must not be negative")
        if self.sparsity_coefficient is not None and self.sparsity_coefficient < 0:
            raise InputError("sparsity_coefficient must not be negative")
        if self.checkpoint_minutes < 0:
            raise InputError("checkpoint_minutes must not be negative")
        if self.grad_clip is not None and self.grad_clip <= 0:
            raise InputError("grad_clip must be positive, or None")
        if self.total_steps < 1:
            raise InputError(
                f"n_vectors ({self.n_vectors}) is less than one batch ({self.batch_size})"
            )

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of the whole run."""
        if self.steps is not None:
            return self.steps
        assert self.n_vectors is not None  # noqa: S101 (for the type checker; checked above)
        return self.n_vectors // self.batch_size

    def peak_lr(self, d_sae: int, n_processes: int = 1) -> float:
        """Return the learning rate after warm-up for an SAE of `d_sae` latents.

        `batch_size` is that of one of `n_processes`.
        """
        if self.lr != "auto":
            return float(self.lr)
        of_batch = min(1.0, n_processes * self.batch_size / _LR_BATCH) ** 0.5
        return float(min(1e-2, _LR_AT_16K * (16384 / d_sae) ** 0.5 * of_batch))

    def lr_at(self, step: int, d_sae: int, n_processes: int = 1) -> float:
        """Return the learning rate of 0-based `step`: a rise, a plateau, a fall to nearly zero."""
        total = self.total_steps
        share = 1.0
        warmup = self.warmup_share * total
        decay = self.decay_share * total
        if step < warmup:
            share = (step + 1) / (warmup + 1)
        if total - step <= decay:
            share = min(share, (total - step) / (decay + 1))
        return self.peak_lr(d_sae, n_processes) * share


def differing_fields(ours: SaeConfig | TrainConfig, stored: dict[str, Any]) -> list[str]:
    """Name the fields of `ours` whose values differ from those of a stored configuration."""
    plain = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(ours).items()}
    return [name for name, value in plain.items() if stored.get(name) != value]


def _positive(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} must be a positive whole number", value=str(value))
