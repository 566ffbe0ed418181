"""A proteome, a tiny PLM and a small SAE of it, for tests of what comes after training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiny import save_tiny

from plmsae.workflows import simulate, train
from plmsae.workflows.shared.progress import Silent
from plmsae.workflows.shared.requests import SimulateRequest, TrainRequest
from plmsae.workflows.training.outcome import TrainOutcome


def train_tiny(folder: Path, *, plm: str = "tiny", **changes: Any) -> TrainOutcome:
    """Write ``data/``, the PLM and ``train/L2/bundle`` into a folder.

    Parameters
    ----------
    folder : Path
    plm : str
        Where in it the PLM goes.
    changes
        Fields of `TrainRequest`.
    """
    path = save_tiny(folder / plm, max_position_embeddings=516)
    simulate.run(
        SimulateRequest(out=folder / "data", n_families=24, proteins_per_family=4), Silent()
    )
    settings: dict[str, Any] = {
        "proteins": str(folder / "data" / "train.fasta.gz"),
        "plm": str(path),
        "layers": (2,),
        "overrides": {"d_sae": 48, "k": 4, "n_vectors": 16_000, "batch_size": 256},
        "out": folder / "train",
        "register": False,
    }
    (trained,) = train.run(TrainRequest(**settings | changes), Silent())
    return trained
