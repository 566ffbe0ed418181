"""How motifs come together in proteins: modules, and the parts of the cell they live in."""

from __future__ import annotations

from dataclasses import dataclass

from plmsae.proteins.simulate.motif import Mark, span


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """Motifs in order, with folded stretches between them.

    Attributes
    ----------
    name : str
    motifs : tuple of str
        In their order along the chain.
    places : tuple of str
        Names of the `PLACES` whose proteins may carry the module.
    gap : tuple of int
        Folded residues between two motifs and at both ends, least and most.
    copies : tuple of int
        How often the motifs occur in tandem, least and most.
    tandem : str
        PROSITE pattern between two copies; empty leaves `gap` between them.
    domain : str
        Note of a DOMAIN over the whole module; empty for none.
    strands : float
        Share of strands in the folded stretches.
    """

    name: str
    motifs: tuple[str, ...]
    places: tuple[str, ...]
    gap: tuple[int, int] = (14, 30)
    copies: tuple[int, int] = (1, 1)
    tandem: str = ""
    domain: str = ""
    strands: float = 0.5

    @property
    def mark(self) -> Mark | None:
        """The DOMAIN feature over the module, if it has one."""
        if not self.domain:
            return None
        return span("Domain [FT]", "DOMAIN", self.domain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A part of the cell, what takes a protein there, and what it adds.

    Attributes
    ----------
    share : float
        How common it is among families whose anchor may live in several.
    start, end : str
        Motif at the N or C terminus of all its proteins; empty for none.
    outside : bool
        Whether the mature protein lies outside, where sequons are glycosylated.
    bundle : bool
        Whether it carries a bundle of transmembrane helices.
    go : tuple of str
        GO terms of its proteins beyond those of their motifs.
    """

    share: float
    start: str = ""
    end: str = ""
    outside: bool = False
    bundle: bool = False
    go: tuple[str, ...] = ()


PLACES: dict[str, Place] = {
    "cytosol": Place(share=0.34, go=("GO:0005829",)),
    "nucleus": Place(share=0.18, go=("GO:0005634",)),
    "secreted": Place(share=0.14, start="signal_peptide", outside=True),
    "er_lumen": Place(share=0.06, start="signal_peptide", end="er_retention", outside=True),
    "membrane": Place(share=0.24, bundle=True),
    "mitochondrion": Place(share=0.06, start="mitochondrial_transit"),
    "peroxisome": Place(share=0.04, end="microbody_signal"),
    "lipoprotein": Place(share=0.04, start="lipobox"),
}
"""Where proteins live, by name."""

_REGULATORS = ("nucleus", "cytosol")

_ALL = (
    Module(name="p_loop", motifs=("p_loop",), places=("cytosol", "mitochondrion")),
    Module(name="helicase", motifs=("p_loop", "dead_box"), places=("nucleus", "cytosol"),
           gap=(25, 45), domain="Helicase ATP-binding"),
    Module(name="abc_transporter", motifs=("p_loop", "abc_signature"), places=("membrane",),
           gap=(25, 45), domain="ABC transporter"),
    Module(name="kinase", motifs=("kinase_atp", "kinase_active_site"),
           places=(*_REGULATORS, "membrane"), gap=(25, 50), domain="Protein kinase"),
    Module(name="rossmann", motifs=("rossmann_nad",),
           places=("cytosol", "peroxisome", "mitochondrion")),
    Module(name="c2h2_array", motifs=("zinc_finger_c2h2",), places=("nucleus",), copies=(2, 5),
           tandem="[EQKP]-[KR]-[PEK]"),
    Module(name="ring", motifs=("zinc_finger_ring",), places=(*_REGULATORS, "membrane")),
    Module(name="zn2_c6", motifs=("zn2_c6",), places=("nucleus",)),
    Module(name="ef_hands", motifs=("ef_hand",), places=("cytosol",), copies=(2, 4),
           tandem="[DEKTGNS](3,8)"),
    Module(name="zincin", motifs=("zincin",), places=("secreted", "membrane")),
    Module(name="ferredoxin", motifs=("ferredoxin_4fe4s",), places=("cytosol", "mitochondrion"),
           copies=(1, 2)),
    Module(name="carrier", motifs=("phosphopantetheine",), places=("cytosol", "mitochondrion"),
           gap=(25, 32), domain="Carrier", strands=0.0),
    Module(name="thioredoxin", motifs=("thioredoxin",), places=("cytosol", "er_lumen"),
           gap=(20, 50), domain="Thioredoxin"),
    Module(name="peptidase_s1", motifs=("trypsin_his", "trypsin_asp", "trypsin_ser"),
           places=("secreted",), gap=(20, 40), domain="Peptidase S1", strands=0.9),
    Module(name="peptidase_s8", motifs=("subtilase_asp", "subtilase_his", "subtilase_ser"),
           places=("secreted",), gap=(20, 40), domain="Peptidase S8"),
    Module(name="helix_turn_helix", motifs=("helix_turn_helix",), places=("cytosol",),
           strands=0.1),
    Module(name="wd_repeats", motifs=("wd_repeat",), places=_REGULATORS, copies=(3, 7),
           tandem="[EKDNSTR](2,5)"),
    Module(name="bipartite_nls", motifs=("bipartite_nls",), places=("nucleus",), gap=(4, 8)),
    Module(name="coiled_coil", motifs=("coiled_coil",), places=(*_REGULATORS, "membrane"),
           gap=(4, 8)),
    Module(name="poly_gln", motifs=("poly_gln",), places=_REGULATORS, gap=(0, 0)),
    Module(name="ser_rich", motifs=("ser_rich",), places=(*_REGULATORS, "secreted"), gap=(0, 0)),
    Module(name="acidic", motifs=("acidic",), places=_REGULATORS, gap=(0, 0)),
    Module(name="pro_rich", motifs=("pro_rich",), places=_REGULATORS, gap=(0, 0)),
    # Their motif comes with the place they live in.
    Module(name="secreted", motifs=(), places=("secreted",)),
    Module(name="er_lumen", motifs=(), places=("er_lumen",)),
    Module(name="membrane", motifs=(), places=("membrane",)),
    Module(name="mitochondrion", motifs=(), places=("mitochondrion",)),
    Module(name="peroxisome", motifs=(), places=("peroxisome",)),
    Module(name="lipoprotein", motifs=(), places=("lipoprotein",)),
)  # fmt: skip

MODULES: dict[str, Module] = {module.name: module for module in _ALL}
"""Every module by its name. Families take turns to be built around one: see `families`."""
