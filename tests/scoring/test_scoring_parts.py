from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from plmsae.proteins.records import Protein, Rejected
from plmsae.scoring.parts import InputTally, Part, cut

records = st.lists(
    st.one_of(
        st.builds(
            lambda length: Protein(accession=f"P{length}", sequence="A" * length),
            st.integers(1, 40),
        ),
        st.builds(lambda i: Rejected(accession=f"R{i}", where="", reason="bad"), st.integers(0, 9)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(records, st.integers(1, 100), st.integers(1, 10))
def test_parts_hold_every_record_in_order_and_are_closed_by_the_one_that_fills_them(
    found: list[Protein | Rejected], part_residues: int, max_records: int
) -> None:
    parts = list(cut(iter(found), part_residues, max_records=max_records))
    assert [part.index for part in parts] == list(range(len(parts)))
    assert [p for part in parts for p in part.proteins] == [
        p for p in found if isinstance(p, Protein)
    ]
    assert [r for part in parts for r in part.rejected] == [
        r for r in found if isinstance(r, Rejected)
    ]
    for part in parts:
        assert 1 <= part.n_read <= max_records
        before = sum(len(protein.sequence) for protein in part.proteins[:-1])
        assert before < part_residues
    for part in parts[:-1]:
        assert part.n_residues >= part_residues or part.n_read == max_records


def test_no_more_than_one_part_is_read_ahead() -> None:
    taken = 0

    def endless() -> Iterator[Protein]:
        nonlocal taken
        while True:
            taken += 1
            yield Protein(accession=f"P{taken}", sequence="A" * 10)

    parts = cut(endless(), 100)
    next(parts)
    assert taken == 10
    next(parts)
    assert taken == 20


def part(*sequences: str, rejected: tuple[Rejected, ...] = (), where: str = "a") -> Part:
    proteins = [
        Protein(accession=f"P{i}", sequence=sequence, where=where)
        for i, sequence in enumerate(sequences)
    ]
    return Part(index=0, proteins=tuple(proteins), rejected=rejected)


def test_the_fingerprint_follows_what_records_say_and_not_where_they_lie() -> None:
    bad = Rejected(accession="X", where="a", reason="empty")
    different = [
        part("AC", "D"),
        part("A", "CD"),
        part("D", "AC"),
        part("AC"),
        part("AC", "D", rejected=(bad,)),
        part("AC", "D", rejected=(Rejected(accession="X", where="a", reason="other"),)),
    ]
    assert len({p.sha256 for p in different}) == len(different)
    assert part("AC", where="b").sha256 == part("AC", where="a").sha256


def test_a_survey_counts_everything_once() -> None:
    bad = Rejected(accession="X", where="a", reason="empty")
    tally = InputTally()
    for one in (part("AC", "D"), part("ACD", rejected=(bad,))):
        tally.add(one, one.sha256)
    found = tally.survey()
    assert (found.n_read, found.n_proteins, found.n_residues) == (4, 3, 6)
