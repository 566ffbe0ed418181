from __future__ import annotations

import polars as pl
import pytest

from plmsae.core.errors import InputError
from plmsae.reports.plots_of_residues import plot_variance_by_residue

LETTERS = "ACDEFGHIKLMNPQRSTVWYX"
TABLE = pl.DataFrame(
    {
        "residue": list(LETTERS),
        "n_residues": [1000 + 37 * i for i in range(20)] + [1],
        "explained_variance": [0.99 - 0.006 * ((i * 7) % 20) for i in range(20)] + [0.9],
        "explained_variance_within": [0.95 - 0.012 * ((i * 7) % 20) for i in range(20)] + [None],
    }
)


def test_residues_are_drawn_the_same_each_time(tmp_path):
    first = plot_variance_by_residue(TABLE, tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    shuffled = TABLE.sample(fraction=1, shuffle=True, seed=1)
    assert plot_variance_by_residue(shuffled, tmp_path / "b.png").read_bytes() == first


def test_a_table_that_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(InputError, match="lacks a column"):
        plot_variance_by_residue(TABLE.drop("n_residues"), tmp_path / "a.png")
    with pytest.raises(InputError, match="no residues"):
        plot_variance_by_residue(TABLE.clear(), tmp_path / "a.png")
