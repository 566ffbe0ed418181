"""Stretches that look like motifs and are not: they are never annotated.

Each breaks what makes its model work and keeps the rest, as inactive paralogues do. The broken
place is under selection too, so that no decoy drifts into a motif.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from plmsae.proteins.simulate.segments import Planted, Segment, pattern_segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoy:
    """One kind of decoy.

    Attributes
    ----------
    name : str
    imitates : str
        The motif it looks like (`motifs.MOTIFS`).
    pattern, consensus : str
        PROSITE patterns of one shape; nothing they accept is accepted by the motif's pattern.
    """

    name: str
    imitates: str
    pattern: str
    consensus: str = ""


_ALL = (
    Decoy(
        name="shuffled_p_loop", imitates="p_loop",
        pattern="[ST]-G-x(2)-K-[AG]-{K}-G", consensus="T-G-[PSE]-[GNV]-K-G-[STPA]-G",
    ),
    Decoy(
        name="p_loop_without_lysine", imitates="p_loop",
        pattern="[AG]-x(4)-G-[ADENQ]-[ST]", consensus="G-[PSEA]-[PSTN]-[GN]-[ASTVC]-G-[AENQ]-[ST]",
    ),
    Decoy(
        name="cysteine_pairs", imitates="zinc_finger_c2h2",
        pattern="C-{HC}(2,4)-C-{HC}(8,14)-C-{HC}(2,4)-C",
    ),
    Decoy(
        name="c2h2_without_histidines", imitates="zinc_finger_c2h2",
        pattern="C-{H}(2)-C-{H}(3)-[LIVMFYWC]-{H}(8)-[DENQY]-{H}(3)-[DENQY]",
        consensus="C-[PDEKG](2)-C-[GKNS]-[KR]-[SARTK]-F-[SRTK]-[QRDKS]-[SKR]-[SGNAE]-[NSAE]-L-"
        "[RKTNI]-[RKV]-[NQ]-[QLMITR](3)-[NQ]",
    ),
    Decoy(
        name="ef_hand_without_acids", imitates="ef_hand",
        pattern="[NSGK]-{W}-[DNS]-{ILVFYW}-[DENSTG]-[DNQGHRK]-{GP}-[LIVMC]-[DENQSTAGC]-x(2)-"
        "[QKN]-[LIVMFYW]",
        consensus="[NSK]-[KRTAV]-[DN]-[GNK]-[DNS]-G-[KTYRE]-[IL]-[DSTN]-[FYAL]-[EKDPR]-[QK]-[FL]",
    ),
    Decoy(
        name="short_hydrophobic", imitates="transmembrane",
        pattern="[DEKRNQ](2)-[LIVFAGMWCTSY](8,12)-[DEKRNQ](2)",
        consensus="[DEKR](2)-[LIVFA](8,12)-[DEKR](2)",
    ),
    Decoy(name="sequon_with_proline", imitates="n_glycosylation", pattern="N-P-[ST]"),
    Decoy(
        name="trypsin_without_serine", imitates="trypsin_ser",
        pattern="[DNSTAGC]-[GSTAPIMVQH]-x(2)-G-[DE]-A-G-[GS]-[SAPHV]-[LIVMFYWH]",
        consensus="[DS]-[ASG]-C-[QKNRE]-G-D-A-G-G-P-[LF]",
    ),
    Decoy(
        name="zincin_without_glutamate", imitates="zincin",
        pattern="[GSTALIVN]-{PCHR}-{KND}-H-[QNKS]-[LIVMFYW]-{DEHRKP}-H-{EKPC}-[LIVMFYWGSPQ]",
        consensus="[VAT]-[LIAFV]-[ATVI]-H-Q-[LFI]-[GAT]-H-[ANSTL]-[LFI]",
    ),
    Decoy(
        name="leucines_off_register", imitates="coiled_coil",
        pattern="L-{LIVMA}(5)-L-{LIVMA}(4)-L-{LIVMA}(5)-L-{LIVMA}(4)-L",
        consensus="L-[EKRQDST](5)-L-[EKRQDST](4)-L-[EKRQDST](5)-L-[EKRQDST](4)-L",
    ),
    Decoy(
        name="single_cysteine", imitates="thioredoxin",
        pattern="[FYWGTN]-C-[GATPLVE]-[PHYWSTA]-[STA]-{IC}", consensus="W-C-G-[PH]-S-[KRQ]",
    ),
    Decoy(
        name="internal_retention_signal", imitates="er_retention",
        pattern="[KRHQSA]-[DENQ]-E-L-{L}(4)", consensus="K-D-E-L-[SPEKDT](4)",
    ),
    Decoy(
        name="short_glutamines", imitates="poly_gln",
        pattern="{QHPL}(2)-Q(4,5)-{QHPL}(2)",
    ),
    Decoy(
        name="scattered_basic", imitates="bipartite_nls",
        pattern="[KR](2)-{KR}(3)-[KR]-{KR}(4)-[KR]-{KR}(3)-[KR](2)",
    ),
)  # fmt: skip

DECOYS: dict[str, Decoy] = {decoy.name: decoy for decoy in _ALL}


def decoy_segment(decoy: Decoy, rng: np.random.Generator) -> Segment:
    """Return a decoy; it carries no label."""
    segment = pattern_segment(decoy.pattern, decoy.consensus, "loop", rng)
    segment.planted = [Planted(decoy.name, 0, len(segment) - 1, decoy.imitates)]
    return segment
