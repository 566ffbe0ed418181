"""What the tests of steering share."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from steering_world import D_SAE, SEQUENCE, make_encoder
from tiny import save_tiny

from plmsae.encode import Encoder


@pytest.fixture(scope="session")
def plm_folder(tmp_path_factory):
    torch.set_num_threads(1)
    return save_tiny(tmp_path_factory.mktemp("plm") / "tiny")


@pytest.fixture(scope="session")
def encoder(plm_folder) -> Encoder:
    return make_encoder(plm_folder)


@pytest.fixture(scope="session")
def features(encoder) -> pl.DataFrame:
    """The latents' statistics on the test sequence, as a bundle has them."""
    (latents,) = encoder.encode([SEQUENCE])
    highest = latents.max(axis=0).toarray().ravel()
    return pl.DataFrame(
        {
            "latent": pl.Series(range(D_SAE), dtype=pl.Int32),
            "density": (latents > 0).mean(axis=0).ravel(),
            "max_activation": highest.astype("float64"),
            "dead": highest <= 0,
        }
    )


@pytest.fixture(scope="session")
def latent(features) -> int:
    """A live latent that is not everywhere active."""
    alive = features.filter(~pl.col("dead") & (pl.col("density") < 0.5))
    return int(alive.sort("density", descending=True)["latent"][0])
