"""Fingerprints of files and of proteins."""

from __future__ import annotations

from pathlib import Path

import pytest

from plmsae.core.fingerprint import DataFingerprint, fingerprint_file, fingerprint_records
from plmsae.proteins.records import Protein


def test_fingerprints_tell_any_difference(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # The test vector of FIPS 180-2, appendix B.1.
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert fingerprint_file(tmp_path / "a") == expected

    def proteins(*pairs: tuple[str, str]) -> list[Protein]:
        return [Protein(accession=a, sequence=s) for a, s in pairs]

    base = fingerprint_records(proteins(("A", "MK"), ("B", "ML")))
    assert base == fingerprint_records(iter(proteins(("A", "MK"), ("B", "ML"))))
    for other in (
        proteins(("B", "ML"), ("A", "MK")),
        proteins(("A", "MK")),
        proteins(("AM", "K"), ("B", "ML")),
        proteins(("A", "MKB"), ("", "ML")),
    ):
        assert fingerprint_records(other) != base
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        DataFingerprint(source="x", sha256="abc")
