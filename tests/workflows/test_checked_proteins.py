"""Which commands check the proteins they read, and what the check of a sample goes by."""

from __future__ import annotations

from pathlib import Path

import pytest

from plmsae.core.errors import QualityError
from plmsae.proteins.records import Protein, Rejected
from plmsae.workflows.shared.inputs import ProteinSet, check_proteins


def proteins(n: int, n_rejected: int, n_read: int | None = None) -> ProteinSet:
    kept = [
        Protein(accession=f"P{i}", sequence=f"M{'AKTIVE' * (10 + i)}", description="", where="f")
        for i in range(n)
    ]
    rejected = [
        Rejected(accession=f"R{i}", where="f", reason="letter '*' inside")
        for i in range(n_rejected)
    ]
    return ProteinSet(
        source="f", proteins=tuple(kept), rejected=tuple(rejected), n_read=n_read or n + n_rejected
    )


def test_a_file_with_many_bad_records_stops_and_a_sample_of_a_good_one_does_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(QualityError, match="share_rejected"):
        check_proteins(proteins(40, 10), tmp_path / "bad", None)
    # Forty of 1,000 usable proteins, and ten records that were not: 1 % of the file.
    sample = proteins(40, 10, n_read=1010)
    report = check_proteins(sample, tmp_path / "sample", None)
    (share,) = [r for r in report.results if r.name == "few_rejected"]
    assert share.success is True
    # Forty of 60, and 30 records that were not: a third of the file, sample or not.
    with pytest.raises(QualityError, match="share_rejected"):
        check_proteins(proteins(40, 30, n_read=90), tmp_path / "worse", None)
