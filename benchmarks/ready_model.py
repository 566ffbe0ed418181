"""Put an evaluated bundle in the place of the model that comes with plmsae.

Only the card is written anew: its commands call the model `ready`.

    python benchmarks/ready_model.py evaluate/bundle
"""

from __future__ import annotations

import sys
from pathlib import Path

from plmsae.bundle.reading import read_bundle
from plmsae.bundle.writing import write_bundle
from plmsae.core.resources import READY

if __name__ == "__main__":
    bundle = read_bundle(Path(sys.argv[1]))
    write_bundle(
        Path(__file__).resolve().parents[1] / "plmsae" / "data" / READY,
        sae_folder=bundle.sae_folder,
        meta=bundle.meta,
        features=bundle.features,
        concepts=bundle.concepts,
        callers=bundle.callers,
        reference=READY,
    )
