"""The functional motifs that simulated families carry, each in one declaration.

Patterns named PSnnnnn are PROSITE's (Sigrist et al., *Nucleic Acids Research* 2013), in their
long-standing form; the others say in the same syntax what the literature says in words, named
beside them. ``pattern`` is law: no member of a family that keeps the motif ever breaks it.
``consensus`` is taste: what the pattern's places hold most often in known proteins. ``before`` and
``after`` are the usual surroundings, kept softly, and are not part of the label unless a mark
says so.
"""

from __future__ import annotations

from plmsae.proteins.simulate.motif import Motif, active, binding, point, span

_RELAY = "Charge relay system"
_ATP, _DNA, _OXIDOREDUCTASE = "GO:0140657", "GO:0003677", "GO:0016491"
_ON_PROTEIN, _TRANSCRIPTION, _SECRETED = "GO:0140096", "GO:0006355", "GO:0005576"

_ALL = (
    # ---- nucleotides -------------------------------------------------------------------------
    Motif(  # PS00017, Walker A: a hydrophobic strand, the loop, a helix
        name="p_loop",
        pattern="[AG]-x(4)-G-K-[ST]",
        consensus="G-[PSEA]-[PSTN]-[GN]-[ASTVC]-G-K-[ST]",
        before="[KRHED]-[LIVF]-[LIVAF]-[LIVF]-[LIV]-[LIVFTA]",
        after="[TSA]-[LTF]-[LIAV]-x-x-[LIA]",
        marks=(binding("ATP", 1, -1),),
        kind="site",
        go=(_ATP,),
    ),
    Motif(  # PS00039
        name="dead_box",
        pattern="[LIVMF](2)-D-E-A-D-[RKEN]-x-[LIVMFYGSTN]",
        consensus="[LIVM](2)-D-E-A-D-[RE]-[ML]-[LF]",
        before="[LIVF]-x-[LIVY]",
        marks=(span("Motif", "MOTIF", "DEAD box", 3, 6),),
        kind="site",
        go=("GO:0140098",),
        ec="3.6.4.13",
    ),
    Motif(  # PS00211
        name="abc_signature",
        pattern="[LIVMFYC]-[SA]-[SAPGLVFYKQH]-G-[DENQMW]-[KRQASPCLIMFW]-[KRNQSTAVM]-[KRACLVM]-"
        "[LIVMFYPAN]-{PHY}-[LIVMFW]-[SAGCLIVP]-{FYWHP}-{KRHP}-[LIVMFYWSTA]",
        consensus="L-S-[GVY]-G-[QE]-[QRK]-[QRS]-R-[VIL]-[AV]-[LI]-A-[RG]-A-[LI]",
        before="[LYFP]-[PNDE]-x-[EKQN]",
        after="[AVLS]-x(2)-[PA]-x-[LIV]-[LIV]-[LI]-[LFA]-D-E-[PA]",
        marks=(span("Motif", "MOTIF", "ABC signature"),),
        kind="site",
        go=("GO:0055085",),
        ec="7.6.2.-",
    ),
    Motif(  # PS00107
        name="kinase_atp",
        pattern="[LIV]-G-{P}-G-{P}-[FYWMGSTNH]-[SGA]-{PW}-[LIVCAT]-{PD}-x-[GSTACLIVMFY]-x(5,18)-"
        "[LIVMFYWCSTAR]-[AIVP]-[LIVMFAGCKR]-K",
        consensus="[LI]-G-[EKRS]-G-[SATG]-[FY]-[GS]-[KEVS]-V-[YFKRL]-[KLRE]-[AGC]-x(5,18)-"
        "[VYLF]-A-[VIM]-K",
        marks=(binding("ATP", 1, 9), binding("ATP", -1)),
        wild="strand_surface",
        kind="site",
        go=(_ATP,),
    ),
    Motif(  # PS00108
        name="kinase_active_site",
        pattern="[LIVMFYC]-x-[HY]-x-D-[LIVMFY]-K-x(2)-N-[LIVMFYCT](3)",
        consensus="[IVL]-[VIL]-H-[RC]-D-[LI]-K-[PA]-[ESA]-N-[LIV]-[LM]-[LIV]",
        after="[DNST]-x(2)-[GNMQ]-x(2)-[KR]-[LI]-x-D-F-G",
        marks=(active(5, "Proton acceptor"),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="2.7.11.1",
    ),
    Motif(  # The dinucleotide fingerprint: Wierenga et al., J Mol Biol 1986
        name="rossmann_nad",
        pattern="[KRHEDSTQN]-[LIVMA](2)-[LIVMAF]-[LIVMATS]-G-x-G-x(2)-G-x(2)-[LIVMAF]-x(2)-"
        "[LIVMAFC]",
        consensus="[KR]-[VIA](2)-[LIV]-[IVT]-G-[AGS]-G-[GFNRMS]-[IVTML]-G-[RKSLE]-[AHSE]-[LIV]-"
        "[AC]-[RKEL]-[ALV]",
        after="[LAF]-[AL]-x(2)-G-[AHYDE]-x-[LVIT]-x-[LIVA]-[LIVFYW]-[DGS]",
        marks=(binding("NAD", 6, 11),),
        wild="helix_surface",
        kind="site",
        go=(_OXIDOREDUCTASE,),
        ec="1.1.1.-",
    ),
    # ---- metals and cofactors ----------------------------------------------------------------
    Motif(  # PS00028 with the linker of real arrays around it
        name="zinc_finger_c2h2",
        pattern="C-x(2,4)-C-x(3)-[LIVMFYWC]-x(8)-H-x(3,5)-H",
        consensus="C-[PDEKG](2,4)-C-[GKNS]-[KR]-[SARTK]-F-[SRTK]-[QRDKS]-[SKR]-[SGNAE]-[NHSAE]-L-"
        "[RKTNI]-[RKV]-H-[QLMITR](3,5)-H",
        before="[KR]-[PS]-[FYH]-x",
        after="[TS]-[GK]-[EQ]-[KR]",
        marks=(span("Zinc finger", "ZN_FING", "C2H2-type", numbered=True),),
        kind="span",
        go=(_DNA, _TRANSCRIPTION),
    ),
    Motif(  # PS00518 is its middle; C3HC4 spacing after Freemont, Ann N Y Acad Sci 1993
        name="zinc_finger_ring",
        pattern="C-x(2)-C-x(9,14)-C-x-H-x-[LIVMFY]-C-x(2)-C-[LIVMYA]-x(6,14)-C-[PLAIR]-x-C",
        consensus="C-[PAS]-[IVL]-C-x(9,14)-C-[GK]-H-[NSIV]-[FY]-C-x(2)-C-[LIA]-x(6,14)-C-P-[LQVM]-C",
        before="[DE](2)-[LDE]-x",
        after="[RKG]-x(2)-[LIFV]",
        marks=(span("Zinc finger", "ZN_FING", "RING-type"),),
        kind="span",
        go=(_ON_PROTEIN,),
        ec="2.3.2.27",
    ),
    Motif(  # PS00463
        name="zn2_c6",
        pattern="[GASTPV]-C-x(2)-C-[RKHSTACW]-x(2)-[RKHQ]-x(2)-C-x(5,12)-C-x(2)-C-x(6,8)-C",
        consensus="A-C-[DLTE]-[AQRNS]-C-R-[RKSA]-[RK]-K-[IVLK]-[KR]-C-[DPGS](5,12)-C-[STG]-[NRK]-"
        "C-[LIKYREV](6,8)-C",
        before="[RK]-x-[RK]-x-[RKSV]",
        after="x-[YFV]",
        marks=(span("DNA binding", "DNA_BIND", "Zn(2)-C6 fungal-type"),),
        kind="span",
        go=(_DNA, _TRANSCRIPTION),
    ),
    Motif(  # PS00018 with its two helices, which the DOMAIN covers
        name="ef_hand",
        pattern="D-{W}-[DNS]-{ILVFYW}-[DENSTG]-[DNQGHRK]-{GP}-[LIVMC]-[DENQSTAGC]-x(2)-[DE]-"
        "[LIVMFYW]",
        consensus="D-[KRTAV]-[DN]-[GNK]-[DNS]-G-[KTYRE]-[IL]-[DSTN]-[FYAL]-[EKDPR]-E-[FL]",
        before="[EKD]-[LIEF]-[LKRI]-x-[AIEK]-F-x-[LVKM]-[FIY]-[DM]",
        after="x-x-[LMVAI]-[LMI]-x(2)",
        marks=(
            span("Domain [FT]", "DOMAIN", "EF-hand", numbered=True, context=True),
            binding("Ca(2+)", 1),
            binding("Ca(2+)", 3),
            binding("Ca(2+)", 5),
            binding("Ca(2+)", 12),
        ),
        wild="helix_surface",
        kind="span",
    ),
    Motif(  # PS00142
        name="zincin",
        pattern="[GSTALIVN]-{PCHR}-{KND}-H-E-[LIVMFYW]-{DEHRKP}-H-{EKPC}-[LIVMFYWGSPQ]",
        consensus="[VAT]-[LIAFV]-[ATVI]-H-E-[LFI]-[GAT]-H-[ANSTL]-[LFI]",
        before="[DENRS]-x(3)-[LIYFV]",
        after="[GN]-[LMA]",
        marks=(binding("Zn(2+)", 4), active(5), binding("Zn(2+)", 8)),
        wild="helix_surface",
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.24.-",
    ),
    Motif(  # After PS00198
        name="ferredoxin_4fe4s",
        pattern="C-x(2)-C-{C}-x-C-x(3)-C-[PEG]",
        consensus="C-[IVT]-[GAVN]-C-[GKRLM]-[AVTKN]-C-[VAEI]-[KEDNA]-[VAIS]-C-P",
        before="[IVY]-[DVE]-x-[DESTN]-[LKRT]",
        after="[VTEA]-x-[ALVI]-[IFL]",
        marks=tuple(binding("[4Fe-4S] cluster", place) for place in (1, 4, 7, 11)),
        kind="site",
        go=(_OXIDOREDUCTASE,),
    ),
    Motif(  # PS00012
        name="phosphopantetheine",
        pattern="[DEQGSTALMKRH]-[LIVMFYSTAC]-[GNQ]-[LIVMFYAG]-[DNEKHS]-S-[LIVMST]-{PCFY}-"
        "[STAGCPQLIVMF]-[LIVMATN]-[DENQGTAKRHLM]-[LIVMWSTA]-[LIVGSTACR]-{LPIY}-{VY}-[LIVMFA]",
        consensus="[DE]-[LI]-G-[LFMA]-D-S-[LI]-[DTASL]-[ATVL]-[VLMA]-[EQR]-[LM]-[VIALR]-[MANE]-"
        "[AERK]-[LI]",
        before="[DENS]-x-[DFL]-[FLI]-x(2)",
        after="[EN]-x(2)-[FL]-[GND]-[IVL]-x-[ILF]",
        marks=(point("Modified residue", "MOD_RES", 6, "O-(pantetheine 4'-phosphoryl)serine"),),
        wild="helix_surface",
        kind="site",
        go=("GO:0006629",),
    ),
    Motif(  # PS00194
        name="thioredoxin",
        pattern="[LIVMF]-[LIVMSTA]-x-[LIVMFYC]-[FYWSTHE]-x(2)-[FYWGTN]-C-[GATPLVE]-[PHYWSTA]-C-"
        "{I}-x-{A}-x(3)-[LIVMFYWT]",
        consensus="[VLI]-[VM]-[DEY]-F-[WYT]-A-[PETS]-W-C-G-[PH]-C-[KRQ]-x-[LFM]-x(3)-[FYL]",
        before="[DEK]-x(2)-[KRSTVE]",
        after="[ED]-x-[LIVA]-[AS]-x(2)-[LYFV]",
        marks=(span("Disulfide bond", "DISULFID", "Redox-active", 9, 12),),
        wild="helix_surface",
        kind="site",
        go=(_OXIDOREDUCTASE,),
    ),
    # ---- peptidases --------------------------------------------------------------------------
    Motif(  # PS00134
        name="trypsin_his",
        pattern="[LIVM]-[ST]-A-[STAG]-H-C",
        consensus="[VLI]-[ST]-A-A-H-C",
        before="[CGS]-[GA]-[GA]-[STV]-[LI]-[LIV]-[DSNH]-x-[RKQEN]-[WFHY]",
        marks=(active(5, _RELAY),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    Motif(  # The Asp of the S1 triad, the "DIALL" stretch: Rawlings and Barrett, Biochem J 1993
        name="trypsin_asp",
        pattern="[NHDTSEG]-D-[LIVAMF]-[AMSTC]-[LIVM]-[LIVMFAR]-[KREQHTYS]-[LFVATM]",
        consensus="[NH]-D-[IL]-[AM]-L-[LIV]-[KRE]-L",
        before="[YFHNW]-[DNSP]-x(2)-[TSN]",
        marks=(active(2, _RELAY),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    Motif(  # PS00135
        name="trypsin_ser",
        pattern="[DNSTAGC]-[GSTAPIMVQH]-x(2)-G-[DE]-S-G-[GS]-[SAPHV]-[LIVMFYWH]-[LIVMFYSTANQH]",
        consensus="[DS]-[ASG]-C-[QKNRE]-G-D-S-G-G-P-[LF]-[VMTQ]",
        before="[MLI]-[LIFV]-C-[AV]-[GA]",
        after="[CVE]-x(2)-[GN]-x(2)-[LYVF]-[LIVQ]-G-[IV]-[VTS]-[SA]-[WF]-G",
        marks=(active(7, _RELAY),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    Motif(  # PS00136
        name="subtilase_asp",
        pattern="[STAIV]-{ERDL}-[LIVMF]-[LIVM]-D-[DSTA]-G-[LIVMFC]-x(2,3)-[DNH]",
        consensus="[VI]-[KTANV]-[VI]-[LIV]-D-[ST]-G-[IV]-[DNYH](2,3)-[HN]",
        before="[GV]-x-[GN]-[VI]-[KTRV]",
        after="x(2)-[LF]",
        marks=(active(5, _RELAY),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    Motif(  # PS00137
        name="subtilase_his",
        pattern="H-G-[STM]-x-[VIC]-[STAGC]-[GS]-x-[LIVMA]-[STAGCLV]-[SAGM]",
        consensus="H-G-T-[HAS]-[VC]-[AS]-G-[TIV]-[IVA]-[AG]-[AG]",
        before="[DGN]-x(2)-[GS]",
        marks=(active(1, _RELAY),),
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    Motif(  # PS00138
        name="subtilase_ser",
        pattern="G-T-S-x-[SA]-x-P-x(2)-[STAVC]-[AG]",
        consensus="G-T-S-[MF]-[SA]-[TASC]-P-[HV]-[VATI]-[AS]-G",
        before="[YFW]-x(3)-[SN]",
        after="[AVL]-[AVI]-[AL]-[LIVM]-[LKI]",
        marks=(active(3, _RELAY),),
        wild="strand_surface",
        kind="site",
        go=(_ON_PROTEIN,),
        ec="3.4.21.-",
    ),
    # ---- binding to DNA, repeats --------------------------------------------------------------
    Motif(  # PS00356
        name="helix_turn_helix",
        pattern="[LIVM]-x-[DE]-[LIVM]-A-x(2)-[STAGV]-x-V-[GSTP]-x(2)-[STAG]-[LIVMA]-x(2)-"
        "[LIVMFYAN]-[LIVMC]",
        consensus="[LIV]-[KYRA]-D-[VI]-A-[RKEA]-[LAEH]-[AS]-[GNK]-V-S-[KPRTV]-[TAS]-T-[VA]-[SK]-"
        "[RYH]-[VA]-[LI]",
        before="[MTSPR]-[KRSAT]-x-[TPSK]",
        after="[NS]-[NG]-x(2)-[YFHV]-[VI]",
        marks=(span("DNA binding", "DNA_BIND", "H-T-H motif"),),
        wild="helix_surface",
        kind="span",
        go=(_DNA, _TRANSCRIPTION),
    ),
    Motif(  # Ends in PS00678; what is before is after Neer et al., Nature 1994
        name="wd_repeat",
        pattern="[LIVMF]-x(2)-H-x(3)-[LIVM]-x(2)-[LIV]-x-[FWYLI]-[SNH]-x-[DN]-[GSN]-x(2)-[LIVM]-"
        "[AVILM]-[ST]-[GAS]-[SGA]-x-[DN]-x-[TSKNR]-[LIVMWSTA]-{DP}-[LIVMFSTAG]-W-[DEN]-"
        "[LIVMFSTAGCN]",
        consensus="L-[KTER]-[GS]-H-[TSKE]-[GDSE]-[PSWAR]-V-[NYTLWF]-[SCD]-[VL]-[AGSDC]-[FW]-S-"
        "[PSH]-D-G-[KRNTQ]-[TRLY]-[LI]-A-S-G-[SG]-[DEGR]-D-[GKNR]-T-[IV]-[KRV]-[LIV]-W-D-"
        "[LIVTS]",
        after="x(2)-[GKRP]",
        marks=(span("Repeat", "REPEAT", "WD", numbered=True),),
        wild="strand_surface",
        kind="span",
    ),
    # ---- targeting and membranes ---------------------------------------------------------------
    Motif(  # n, h and c region; the (-3, -1) rule: von Heijne, Nucleic Acids Res 1986
        name="signal_peptide",
        pattern="<M-x(0,3)-[KR]-[KRNSTQL](1,2)-[LAVFIWMCGST](8,13)-[STGPNQAL](1,3)-[AVSTILG]-"
        "{DEKRPFWY}-[AGSC]",
        consensus="<M-[KRSNL](0,3)-[KR]-[KRST](1,2)-[LAVFI](8,13)-[STGP](1,3)-[AV]-[QSLHNMA]-A",
        after="[AEDQST]-[EDPTQS]-[DEPTSN]",
        marks=(span("Signal peptide", "SIGNAL"),),
        rate=1.2,
        kind="span",
        go=(_SECRETED,),
    ),
    Motif(  # After PS51257, the lipobox
        name="lipobox",
        pattern="<M-x(0,3)-[KR](1,2)-[LIVFAGTSMW](8,13)-[LVIMF]-[ASTVIG]-[GAS]-C",
        consensus="<M-[KRNSL](0,3)-[KR](1,2)-[LIVFA](8,13)-L-[ASTV]-[GA]-C",
        after="[SGAQ]-[SNGQD]-[SNTGK]-[DSNE]",
        marks=(
            span("Signal peptide", "SIGNAL", last=-2),
            point("Lipidation", "LIPID", -1, "N-palmitoyl cysteine"),
            point("Lipidation", "LIPID", -1, "S-diacylglycerol cysteine"),
        ),
        rate=1.2,
        kind="span",
        go=("GO:0005886",),
    ),
    Motif(  # Basic, hydroxylated, amphipathic, never acidic: von Heijne, EMBO J 1986
        name="mitochondrial_transit",
        pattern="<M-[LASRFVI](2,3)-[RK]-[ASLTQRV](2,4)-R-[ASLTFVQ](2,4)-R-[ASLFTGQ](3,5)-R-"
        "[ASLNHFY]-[YFLSAM]-[AST]",
        consensus="<M-[LAS](2,3)-R-[ASL](2,4)-R-[ASLT](2,4)-R-[ASL](3,5)-R-[ASLNH]-[YF]-[ST]",
        after="[STA]-[DEKTS]-[KATE]",
        marks=(span("Transit peptide", "TRANSIT", "Mitochondrion"),),
        rate=1.2,
        kind="span",
        go=("GO:0005739",),
    ),
    Motif(  # Peroxisomal signal 1: Gould et al., J Cell Biol 1989
        name="microbody_signal",
        pattern="[SAC]-[KRH]-[LM]>",
        consensus="S-K-L>",
        before="[KRAP]-[PRSKQ]-[KARNQ]",
        marks=(span("Motif", "MOTIF", "Microbody targeting signal"),),
        kind="site",
        go=("GO:0005777",),
    ),
    Motif(  # PS00014
        name="er_retention",
        pattern="[KRHQSA]-[DENQ]-E-L>",
        consensus="[KH]-D-E-L>",
        before="[EDKS]-[EDGT]-[EDQ]",
        marks=(span("Motif", "MOTIF", "Prevents secretion from ER"),),
        kind="site",
    ),
    Motif(  # Robbins et al., Cell 1991
        name="bipartite_nls",
        pattern="[KR](2)-x(10,12)-[KR](3)-[KRSPNQ]-[KR]",
        consensus="K-R-[PASTQGEN](10,12)-K-[KR](2)-[KR]-[KR]",
        before="[SPAN]-x",
        after="[LSEPAV]-[DSEP]",
        marks=(span("Motif", "MOTIF", "Bipartite nuclear localization signal"),),
        wild="disordered",
        kind="site",
        go=("GO:0005634",),
    ),
    Motif(  # One helix that spans the membrane; its sides are set by the bundle it stands in
        name="transmembrane",
        pattern="[LIVFAGMWCTSY](19,23)",
        consensus="[LIVFA](19,23)",
        marks=(span("Transmembrane", "TRANSMEM", "Helical"),),
        rate=1.2,
        kind="span",
        go=("GO:0005886",),
    ),
    Motif(  # PS00001; every match outside the cell is glycosylated, none inside
        name="n_glycosylation",
        pattern="N-{P}-[ST]-{P}",
        consensus="N-[GSAVLTIEK]-T-[SVLAGTYE]",
        marks=(point("Glycosylation", "CARBOHYD", 1, "N-linked (GlcNAc...) asparagine"),),
        kind="site",
    ),
    # ---- shapes of whole stretches --------------------------------------------------------------
    Motif(  # Heptads abcdefg with hydrophobic a and d: Lupas et al., Science 1991
        name="coiled_coil",
        pattern="[LIVMATNKR]-{PGCW}(2)-[LIVMA]-{PGCW}(3)",
        consensus="[LIVN]-[EKRQAS]-[EKRDQ]-L-[EKAQ]-[EKRSQA]-[EKRQ]",
        repeat=(4, 9),
        marks=(span("Coiled coil", "COILED"),),
        wild="helix_surface",
        rate=1.2,
        kind="span",
    ),
    Motif(
        name="poly_gln",
        pattern="[QHPL](14,28)",
        consensus="Q(14,28)",
        marks=(span("Compositional bias", "COMPBIAS", "Poly-Gln"),),
        rate=1.2,
        kind="span",
    ),
    Motif(
        name="ser_rich",
        pattern="[STGNPA](18,40)",
        consensus="S(18,40)",
        marks=(span("Compositional bias", "COMPBIAS", "Ser-rich"),),
        rate=1.2,
        kind="span",
    ),
    Motif(
        name="acidic",
        pattern="[DESGNQ](16,32)",
        consensus="[DE](16,32)",
        marks=(span("Compositional bias", "COMPBIAS", "Asp/Glu-rich (acidic)"),),
        rate=1.2,
        kind="span",
    ),
    Motif(
        name="pro_rich",
        pattern="[PASTGQV](18,36)",
        consensus="P(18,36)",
        marks=(span("Compositional bias", "COMPBIAS", "Pro-rich"),),
        rate=1.2,
        kind="span",
    ),
)

MOTIFS: dict[str, Motif] = {motif.name: motif for motif in _ALL}
"""Every motif by its name."""
