"""Run by a Python that has the real sae-lens: what it makes of our folders, and folders it wrote.

Usage: saelens_reader.py ROOT

For each ``ROOT/ours/NAME`` it writes ``ROOT/found/NAME.safetensors`` (activations and
reconstruction of ``ROOT/x.safetensors``); for each of `WRITTEN` it writes a folder
``ROOT/theirs/NAME`` of random weights and the same of it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

D, F = 6, 40
WRITTEN: dict[str, dict[str, Any]] = {
    "standard": {"architecture": "standard"},
    "standard-layer-norm": {"architecture": "standard", "normalize_activations": "layer_norm"},
    "standard-no-b_dec": {"architecture": "standard", "apply_b_dec_to_input": False},
    "topk": {"architecture": "topk", "k": 3},
    "topk-decoder-norm": {"architecture": "topk", "k": 3, "rescale_acts_by_decoder_norm": True},
    "topk-constant": {
        "architecture": "topk",
        "k": 3,
        "normalize_activations": "constant_norm_rescale",
    },
    "jumprelu": {"architecture": "jumprelu"},
    "transcoder": {"architecture": "transcoder", "d_out": 5, "apply_b_dec_to_input": False},
    "jumprelu-transcoder": {
        "architecture": "jumprelu_transcoder",
        "d_out": 5,
        "apply_b_dec_to_input": False,
    },
}


def report(sae: Any, x: torch.Tensor, path: Path) -> None:
    """Store what `sae` finds in x."""
    with torch.no_grad():
        acts = sae.encode(x)
        acts = acts.to_dense() if acts.is_sparse else acts
        found = {"acts": acts.contiguous(), "rebuilt": sae(x).contiguous()}
    path.parent.mkdir(exist_ok=True)
    save_file(found, path, {"class": type(sae).__name__})


def main(root: Path) -> None:
    """Do what the module says."""
    from sae_lens import SAE

    x = load_file(root / "x.safetensors")["x"]
    for folder in sorted((root / "ours").iterdir()):
        sae = SAE.load_from_disk(folder, device="cpu")
        report(sae, x, root / "found" / f"{folder.name}.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, cfg in WRITTEN.items():
        sae = SAE.from_dict({"d_in": D, "d_sae": F, "dtype": "float32", "device": "cpu"} | cfg)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        sae.save_model(root / "theirs" / name)
        report(sae, x, root / "found" / f"theirs-{name}.safetensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
