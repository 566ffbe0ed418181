from __future__ import annotations

import polars as pl
import pytest

from plmsae.core.errors import InputError
from plmsae.reports.plots_of_methods import plot_methods

TABLE = pl.DataFrame(
    {
        "method": ["sae", "neuron", "pca", "ica", "random_plm_sae", "sae_shuffled_labels",
                   "amino_acid", "window_of_3", "something_new"],
        "n_features": [1234, 46, 31, 40, 122, 0, 3, 24, 5],
        "n_features_low": [1180.0, 40, 27, 33, 100, 0, 3, 20, None],
        "n_features_high": [1290.0, 52, 36, 47, 140, 0, 3, 28, None],
        "n_concepts": [143, 15, 12, 13, 9, 0, 2, 3, 1],
        "n_concepts_low": [130.0, 11, 9, 9, 6, 0, 2, 2, None],
        "n_concepts_high": [150.0, 19, 15, 17, 12, 0, 2, 4, None],
    }
)  # fmt: skip


def test_methods_are_drawn_the_same_each_time(tmp_path):
    first = plot_methods(TABLE, tmp_path / "a.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert plot_methods(TABLE, tmp_path / "b.png").read_bytes() == first


def test_methods_that_find_nothing_can_be_drawn(tmp_path):
    empty = TABLE.with_columns(pl.selectors.starts_with("n_") * 0)
    assert plot_methods(empty, tmp_path / "a.png").stat().st_size > 1000


def test_a_table_that_cannot_be_drawn_is_refused(tmp_path):
    with pytest.raises(InputError, match="lacks a column"):
        plot_methods(TABLE.drop("n_concepts_low"), tmp_path / "a.png")
    with pytest.raises(InputError, match="no methods"):
        plot_methods(TABLE.clear(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
