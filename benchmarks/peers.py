"""Sparse autoencoders of other packages, as far as they are installed, behind one small interface.

Each is trained as its own trainer trains it, at its defaults. dictionary-learning, eai-sparsify,
overcomplete and sae-lens take part if they can be imported; best in an environment of their own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from plmsae.sae.data import BatchSource

Dense = Callable[[Tensor], Tensor]
"""From dense rows to dense rows."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a contestant is asked to train."""

    d_in: int
    d_sae: int
    k: int
    batch_size: int
    steps: int
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Peer:
    """A trainer of another package.

    Attributes
    ----------
    step : callable
        Takes one training step on a batch (B, D).
    encode : callable
        Returns the dense latents (B, F) of a batch, zero where inactive.
    decode : callable
        Returns the reconstruction (B, D) of dense latents.
    """

    step: Callable[[Tensor], object]
    encode: Dense
    decode: Dense


class Meter:
    """FVU about the mean, L0 and dead share over chunks of held-out rows."""

    def __init__(self, held_out_ND: Tensor, d_sae: int) -> None:
        self.x_ND, self.d_sae = held_out_ND, d_sae

    def measure(self, encode: Dense, decode: Dense) -> tuple[float, float, float]:
        """Return FVU, L0 and dead share of functions on dense latents."""
        error, active = 0.0, 0
        fired = torch.zeros(self.d_sae, dtype=torch.bool)
        with torch.no_grad():
            for x in self.x_ND.split(4096):
                latents = encode(x)
                error += float((decode(latents) - x).double().square().sum())
                active += int((latents != 0).sum())
                fired |= (latents != 0).any(0)
        total = float((self.x_ND - self.x_ND.mean(0)).double().square().sum())
        return error / total, active / len(self.x_ND), float((~fired).float().mean())


def dictionary_learning(shape: Shape, arch: str = "topk") -> Peer:
    """Return TopK or BatchTopK of dictionary-learning."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKSAE, BatchTopKTrainer
    from dictionary_learning.trainers.top_k import AutoEncoderTopK, TopKTrainer

    if arch == "topk":
        trainer_class, dict_class = TopKTrainer, AutoEncoderTopK
    else:
        trainer_class, dict_class = BatchTopKTrainer, BatchTopKSAE
    trainer = trainer_class(
        steps=max(shape.steps, 1100),
        activation_dim=shape.d_in,
        dict_size=shape.d_sae,
        k=shape.k,
        layer=0,
        lm_name="none",
        dict_class=dict_class,
        # Its warm-up of 1,000 steps is for long runs.
        warmup_steps=min(1000, shape.steps // 10),
        threshold_start_step=min(1000, shape.steps // 2),
        device=shape.device,
        seed=shape.seed,
    )
    count = iter(range(1_000_000))  # Its decoder bias is set at step 0.

    def encode(x: Tensor) -> Tensor:
        found: Tensor = trainer.ae.encode(x, use_threshold=arch != "topk")
        return found

    return Peer(lambda x: trainer.update(next(count), x), encode, trainer.ae.decode)


def sparsify(shape: Shape) -> Peer:
    """Return TopK of eai-sparsify with Adam, its decoder kept at unit norm."""
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(shape.seed)
    config = SparseCoderConfig(num_latents=shape.d_sae, k=shape.k)
    sae = SparseCoder(shape.d_in, config, device=shape.device)
    # Its trainer's rule: 2e-4, smaller for more latents than 2^14.
    rate = 2e-4 / (shape.d_sae / 2**14) ** 0.5
    optimizer = torch.optim.Adam(sae.parameters(), lr=rate)
    first = True

    def step(x: Tensor) -> None:
        nonlocal first
        if first:
            sae.b_dec.data = x.mean(0)
            first = False
        sae(x, x).fvu.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        sae.set_decoder_norm_to_unit_norm()

    def encode(x: Tensor) -> Tensor:
        values, indices, _ = sae.encode(x)
        return values.new_zeros(len(x), shape.d_sae).scatter(1, indices, values)

    return Peer(step, encode, lambda latents: latents @ sae.W_dec + sae.b_dec)


def overcomplete(shape: Shape) -> Peer:
    """Return TopK of overcomplete with Adam."""
    from overcomplete.sae import TopKSAE

    torch.manual_seed(shape.seed)
    sae = TopKSAE(shape.d_in, nb_concepts=shape.d_sae, top_k=shape.k, device=shape.device)
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4)

    def step(x: Tensor) -> None:
        optimizer.zero_grad()
        _, _, x_hat = sae(x)
        (x - x_hat).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()

    return Peer(step, lambda x: sae.encode(x)[1], sae.decode)


def saelens(shape: Shape, arch: str = "topk") -> Peer:
    """Return TopK or BatchTopK of SAELens; its sparse path has no backward on CPUs."""
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(shape.seed)
    common = {"d_in": shape.d_in, "d_sae": shape.d_sae, "device": shape.device}
    if arch == "topk":
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(k=shape.k, **common))
    else:
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(k=shape.k, **common))
    trainer = SAETrainer(
        SAETrainerConfig(
            total_training_samples=shape.steps * shape.batch_size,
            train_batch_size_samples=shape.batch_size,
            lr_end=3e-5,
            logger=LoggingConfig(log_to_wandb=False),
        ),
        sae,
        _never(),
    )

    def step(x: Tensor) -> None:
        trainer.step(x)
        trainer.n_training_steps += 1

    def encode(x: Tensor) -> Tensor:
        if arch != "topk":
            # As it stores such an SAE: a JumpReLU at the running threshold.
            pre: Tensor = sae.encode_with_hidden_pre(x)[1]
            return pre * (pre > sae.topk_threshold)
        latents: Tensor = sae.encode(x)
        return latents

    return Peer(step, encode, sae.decode)


def _never() -> Iterator[Tensor]:
    yield from ()


#: What each peer is called in a table, and how it is made, TopK first.
TOPK: dict[str, Callable[[Shape], Peer]] = {
    "dictionary_learning TopK": dictionary_learning,
    "sparsify TopK, Adam": sparsify,
    "overcomplete TopK": overcomplete,
    "SAELens TopK": saelens,
}
BATCHTOPK: dict[str, Callable[[Shape], Peer]] = {
    "dictionary_learning BatchTopK": lambda shape: dictionary_learning(shape, "batchtopk"),
    "SAELens BatchTopK": lambda shape: saelens(shape, "batchtopk"),
}


def available(makers: dict[str, Callable[[Shape], Peer]], shape: Shape) -> dict[str, Peer]:
    """Return the peers that can be made here; a line says why one does not take part."""
    found = {}
    for name, make in makers.items():
        try:
            found[name] = make(shape)
        except (ImportError, TypeError, AttributeError) as error:
            print(f"- {name} does not take part: {type(error).__name__}: {error}")
    return found


def trained(
    makers: dict[str, Callable[[Shape], Peer]], shape: Shape, batches: BatchSource, meter: Meter
) -> Iterator[tuple[str, Peer, tuple[float, float, float], float]]:
    """Train those that can be made here; yield name, peer, FVU, L0 and dead share, and seconds."""
    for name, peer in available(makers, shape).items():
        stream = batches.iter_from(0)
        start = time.perf_counter()
        for _ in range(shape.steps):
            peer.step(next(stream))
        seconds = time.perf_counter() - start
        yield name, peer, meter.measure(peer.encode, peer.decode), seconds
