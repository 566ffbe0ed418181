"""The declared world: motifs, decoys, modules and folds that agree with each other."""

import numpy as np
import pytest

from plmsae.proteins.simulate.alphabet import ALPHABET, decode
from plmsae.proteins.simulate.config import SimulateConfig
from plmsae.proteins.simulate.decoys import DECOYS, decoy_segment
from plmsae.proteins.simulate.domains import N_DOMAINS, family_copy, library
from plmsae.proteins.simulate.evolution import drift
from plmsae.proteins.simulate.families import PROTEOME, anchor_of, build_ancestor
from plmsae.proteins.simulate.labels import FEATURE_COLUMNS
from plmsae.proteins.simulate.modules import MODULES, PLACES
from plmsae.proteins.simulate.motifs import MOTIFS
from plmsae.proteins.simulate.segments import planted


@pytest.mark.parametrize("motif", MOTIFS.values(), ids=list(MOTIFS))
def test_a_planted_motif_matches_its_pattern_now_and_after_long_evolution(motif):
    rng = np.random.default_rng(1)
    for _ in range(10):
        segment = planted(motif, rng)
        (where,) = segment.planted
        for state in (segment, drift(segment, 30.0, rng)):
            assert motif.regex.fullmatch(decode(state.residues[where.start : where.end + 1]))


@pytest.mark.parametrize("motif", MOTIFS.values(), ids=list(MOTIFS))
def test_the_marks_of_a_motif_lie_inside_it_under_columns_that_uniprot_has(motif):
    segment = planted(motif, np.random.default_rng(2))
    assert len(segment.labels) == len(motif.marks) > 0
    for label in segment.labels:
        assert 0 <= label.start <= label.end < len(segment)
        assert label.column in FEATURE_COLUMNS


@pytest.mark.parametrize("decoy", DECOYS.values(), ids=list(DECOYS))
def test_a_decoy_never_matches_what_it_imitates_and_carries_no_label(decoy):
    rng = np.random.default_rng(3)
    regex = MOTIFS[decoy.imitates].regex
    for _ in range(50):
        segment = decoy_segment(decoy, rng)
        assert not regex.fullmatch(decode(segment.residues))
        assert segment.labels == []


def test_every_motif_is_used_by_a_module_a_place_or_a_bundle():
    used = {name for module in MODULES.values() for name in module.motifs}
    used |= {place.start for place in PLACES.values()} | {place.end for place in PLACES.values()}
    assert set(MOTIFS) <= used | {"transmembrane", "n_glycosylation"}


def test_modules_name_only_motifs_and_places_that_exist():
    for module in MODULES.values():
        assert set(module.motifs) <= set(MOTIFS)
        assert module.places
        assert set(module.places) <= set(PLACES)


def test_the_fold_library_is_the_same_every_time_and_its_names_do_not_end_in_numbers():
    names = [domain.name for domain in library()]
    assert len(set(names)) == N_DOMAINS
    assert not any(name[-1].isdigit() for name in names)
    library.cache_clear()
    assert [domain.name for domain in library()] == names


def test_two_families_copies_of_a_fold_are_homologous_and_not_equal():
    rng = np.random.default_rng(4)
    for domain in library()[:6]:
        one, two = family_copy(domain, rng), family_copy(domain, rng)
        identity = (one.residues == two.residues).mean()
        assert 0.35 < identity < 0.95  # unrelated sequences share about 6 %


def test_families_take_turns_so_that_each_deck_holds_every_module():
    size = len(MODULES)
    for turn in range(2):
        cards = {anchor_of(PROTEOME, 5, turn * size + card) for card in range(size)}
        assert cards == set(MODULES)


@pytest.mark.parametrize("limits", [(30, 320), (200, 320), (500, 600)])
def test_ancestors_keep_to_the_tightest_bounds(limits):
    config = SimulateConfig(min_length=limits[0], max_length=limits[1])
    for index in range(2 * len(MODULES)):
        rng = np.random.default_rng([7, index])
        ancestor = build_ancestor(config, PROTEOME, index, rng)
        length = ancestor.segment.n_present
        assert limits[0] <= length <= limits[1], (ancestor.anchor, ancestor.place)


def test_helices_follow_the_positive_inside_rule():
    charge = {True: [0, 0], False: [0, 0]}
    config = SimulateConfig()
    for index in range(300):
        if anchor_of(PROTEOME, 0, index) != "membrane":
            continue
        segment = build_ancestor(config, PROTEOME, index, np.random.default_rng(index)).segment
        loops = [x for x in segment.labels if x.column == "Topological domain"]
        for label in loops[:-1]:  # the last one also holds the other parts
            text = decode(segment.residues[label.start : label.end + 1])
            inside = label.qualifiers[0][1] == "Cytoplasmic"
            charge[inside][0] += sum(letter in "KR" for letter in text)
            charge[inside][1] += len(text)
    assert charge[True][0] / charge[True][1] > 3 * charge[False][0] / charge[False][1]


def test_the_alphabet_is_the_twenty_amino_acids():
    assert sorted(ALPHABET) == sorted("ACDEFGHIKLMNPQRSTVWY")
