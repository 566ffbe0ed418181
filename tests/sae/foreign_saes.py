"""Foreign checkpoints in the layouts their authors publish, of random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

D, F, K = 6, 20, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def raw_rows(n: int = 40) -> Tensor:
    return 2 + 3 * random(n, D, seed=5)


def topk(pre: Tensor, k: int = K) -> Tensor:
    best = pre.topk(k, dim=1)
    return torch.zeros_like(pre).scatter(1, best.indices, best.values.relu())


def row_norm(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean = x.mean(dim=1, keepdim=True)
    std = (x - mean).std(dim=1, keepdim=True)
    return (x - mean) / (std + 1e-5), std, mean


def store(path: Path, tensors: dict[str, Tensor], beside: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)
    for name, value in (beside or {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        (path.parent / name).write_text(text)
    return path


def interplm(folder: Path, *, scale: str = "folded", name: str = "ae_normalized.pt") -> Path:
    """`scale`: "folded" into the weights (older), in the "buffer" (newer), or "none"."""
    decoder = torch.nn.functional.normalize(random(D, F, seed=1), dim=0)
    encoder, bias = random(F, D), random(F)
    largest = torch.linspace(0.5, 8, F)
    tensors = {"bias": random(D), "encoder.weight": encoder, "encoder.bias": bias}
    if scale == "folded":
        tensors |= {
            "encoder.weight": encoder / largest[:, None],
            "encoder.bias": bias / largest,
        }
        decoder = decoder * largest
    elif scale == "buffer":
        tensors["activation_rescale_factor"] = largest
    tensors["decoder.weight"] = decoder
    return store(folder / "layer_4" / name, tensors, {"config.yaml": "layer: 4\nlr: 1.0e-4\n"})


def interprot(folder: Path) -> Path:
    tensors = {
        "w_enc": random(D, F),
        "w_dec": random(F, D),
        "b_enc": random(F),
        "b_pre": random(D),
        "stats_last_nonzero": torch.zeros(F, dtype=torch.int64),
    }
    return store(folder / f"esm2_plm{D}_l24_sae{F}.safetensors", tensors)


def four_tensors() -> dict[str, Tensor]:
    return {
        "W_enc": random(D, F),
        "W_dec": random(F, D),
        "b_enc": random(F),
        "b_dec": random(D),
    }


def hubmixin(folder: Path) -> Path:
    return store(folder / "model.safetensors", four_tensors(), {"config.json": {"d_model": D}})


def esmc(folder: Path, **changes: Any) -> Path:
    tensors = four_tensors() | {"idf": random(F).abs(), "max": random(F, seed=3).abs()}
    del tensors["b_enc"]
    config = {"d_model": D, "codebook_dim": F, "k": K, "available_layers": [7, 12]}
    for layer in (7, 12):
        path = store(folder / f"layer_{layer}.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config | changes))
    return path


def reticular(folder: Path, **changes: Tensor) -> Path:
    tensors = four_tensors() | {
        "k": torch.tensor(K),
        "threshold": torch.tensor(0.7),
        "group_sizes": torch.tensor([4, 6, 10]),
    }
    return store(folder / "matryoshka.ckpt", tensors | changes)


def saelens(folder: Path, cfg: dict[str, Any], **extra: Tensor) -> Path:
    cfg = {"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu"} | cfg
    return store(folder / "sae_weights.safetensors", four_tensors() | extra, {"cfg.json": cfg})


def sparsify(folder: Path, **changes: Any) -> Path:
    tensors = {
        "encoder.weight": random(F, D),
        "encoder.bias": random(F),
        "W_dec": random(F, D, seed=2),
        "b_dec": random(D),
    }
    config = {
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": 0,
        "k": K,
        "multi_topk": False,
        "skip_connection": False,
        "d_in": D,
    }
    return store(folder / "sae.safetensors", tensors, {"cfg.json": config | changes})
