"""Labels that a table lacks, proposed where a feature of known precision fires."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from plmsae.concepts.calling.callers import can_call, with_caller
from plmsae.concepts.calling.place_matching import right_calls
from plmsae.concepts.labels.missing_labels import MISSING_SHARE, check_missing_share
from plmsae.concepts.labels.names import names_of_ids
from plmsae.core.atomic import atomic_path, write_json
from plmsae.core.folders import start_over
from plmsae.proteins.ontology import Ontology
from plmsae.proteins.stream import source_name
from plmsae.scoring.abstaining import NO_LATENT, UNMEASURED
from plmsae.scoring.backtest import calls_without_label
from plmsae.scoring.encoding import ModelBundle
from plmsae.scoring.engine import OnProgress, identity_of, score
from plmsae.scoring.folder import ScoreFolder
from plmsae.scoring.hierarchy import keep_most_specific
from plmsae.scoring.known import check_feature_columns, check_ontology, known_labels
from plmsae.scoring.manifest import Manifest, RunIdentity
from plmsae.scoring.parquet_files import made_by, write_table
from plmsae.scoring.part_scoring import EncoderSource
from plmsae.scoring.proposal_precision import is_trusted, proposal_precision
from plmsae.scoring.relatives import Relatives, homology_support
from plmsae.scoring.schema import ABSTAINED, ANNOTATIONS, PROPOSALS, empty_frame
from plmsae.scoring.similar import Witnesses
from plmsae.scoring.spool import Spool, spooled_table

_OWN = re.compile(
    r"proposals(\.tsv)?|abstained\.parquet|manifest\.json|truth\.tsv|backtest(_homology)?\.tsv"
)
"""What a fill folder holds beside ``scores/``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillResult:
    """What a fill run found; every call of the model is in exactly one of four counts."""

    path: Path
    """The output folder: ``proposals/``, ``proposals.tsv``, ``abstained.parquet``, ``scores/``."""
    manifest: Manifest
    """Of the score run beneath, in ``scores/``."""
    proteins: pl.DataFrame
    """The proteins of the UniProt table: accession, sequence, cluster."""
    labels: pl.DataFrame
    """The label table of what it has."""
    n_calls: int
    """Calls of the model on the table's proteins."""
    n_known: int
    """Calls where the table has a label of that concept, of its class, or of a member of it."""
    n_withheld: int
    """Other calls of concepts that abstain."""
    n_implied: int
    """Calls of a class that a proposal of a member of it implies."""
    n_proposed: int
    """Rows of ``proposals/``."""
    n_with_homologue: int
    """Proposals that a homologue's label supports too."""
    min_precision: float
    """What the lower end of a proposal's precision had to reach."""

    @property
    def proposals_path(self) -> Path:
        """Folder of the proposals' Parquet."""
        return self.path / "proposals"

    @property
    def abstained_path(self) -> Path:
        """Concepts that propose nothing, each with its reason."""
        return self.path / "abstained.parquet"

    def abstained(self) -> pl.DataFrame:
        """Return the concepts that propose nothing, by name."""
        return pl.read_parquet(self.abstained_path, glob=False)

    def proposals(self) -> pl.DataFrame:
        """Return all proposals, best first."""
        return pl.read_parquet(self.proposals_path / "part-00000.parquet", glob=False)


def score_identity(
    bundle: ModelBundle,
    *,
    model_uri: str,
    part_residues: int,
    settings: Mapping[str, str] | None = None,
) -> RunIdentity:
    """Return what decides, beside the table, what `fill` writes into ``scores/``."""
    return identity_of(
        bundle,
        model_uri=model_uri,
        part_residues=part_residues,
        min_precision=0.0,
        unmeasured=True,
        settings=settings,
    )


def start_fill_over(out: Path) -> None:
    """Remove what an earlier `fill` left in its folder.

    Raises
    ------
    InputError
        If something is there that is not of a fill, or another run is writing it.
    """
    scores = ScoreFolder(out / "scores")
    scores.check()
    if out.is_dir():
        start_over(out, proof=("scores/parts",), own=_OWN)
        with scores.lock():
            scores.clear()


def fill(
    table_path: str | Path,
    bundle: ModelBundle,
    out: str | Path,
    *,
    model_uri: str,
    encoder: EncoderSource | None = None,
    min_precision: float | None = None,
    missing_share: float = MISSING_SHARE,
    missing_shares: Mapping[str, float] | None = None,
    ontology: Ontology | None = None,
    part_residues: int = 200_000,
    strict: bool = False,
    progress: OnProgress | None = None,
    resume: bool = True,
    settings: Mapping[str, str] | None = None,
    parsed: tuple[Spool, pl.DataFrame] | None = None,
) -> FillResult:
    """Propose labels that a UniProt table lacks.

    A call is proposed if its concept's precision was measured (and is high enough), and the table
    has no label there of the same concept, of its class (``Domain`` for ``Domain: SH3``) or of a
    member of it. As every label also stands for its class, ``Domain: SH3`` is not proposed where
    the table has ``Domain: PH``: that would be a doubt and not a gap. What is proposed as
    ``Domain: SH3`` is not proposed as ``Domain`` too, which is in its column ``implied``. Ranked by
    precision, then by score.

    The precision of a proposal is that of its concept's calls *where the table has no label*
    (`labels.missing_labels`): less than that of calls in general, most of which confirm what the
    table has, and a lower bound, because the false calls were counted on a table that lacks labels
    too.

    Parameters
    ----------
    table_path : str or Path
        A UniProt TSV export; it is read once.
    bundle : ModelBundle
        The registered model.
    out : str or Path
        Output folder. The score run in ``scores/`` resumes; proposals are always made again.
    model_uri, encoder, part_residues, strict, progress, resume, settings
        As for `plmsae.scoring.engine.score`.
    min_precision : float, optional
        Concepts whose proposals' ``precision_low`` is less abstain; by default the bundle's own.
    missing_share : float
        Share of the true labels that the table is taken to lack, in (0, 1].
    missing_shares : mapping of str to float, optional
        The same for concepts, or whole classes, of which it is known, in [0, 1].
    parsed : tuple of Spool and polars.DataFrame, optional
        The records and the rows of the table if they were read already (`spool.spooled_table`).
    ontology : Ontology, optional
        For a protein-level model, the one it was evaluated with: what the table's GO terms imply is
        no gap either.

    Raises
    ------
    InputError
        If the table or an argument is wrong, or the table has no feature column for a model of
        residues.
    """
    check_missing_share(missing_share)
    check_ontology(bundle, ontology)
    if min_precision is None:
        min_precision = bundle.meta.min_precision
    out = Path(out)
    with ExitStack() as stack:
        if parsed is None:
            parsed = stack.enter_context(spooled_table(table_path, part_residues, strict=strict))
        spool, table = parsed
        check_feature_columns(table, bundle, where=source_name(table_path))
        labels = known_labels(table, bundle.meta.unit, ontology)
        manifest = score(
            spool,
            bundle,
            out / "scores",
            model_uri=model_uri,
            encoder=encoder,
            min_precision=0.0,  # so that what is withheld can be counted
            unmeasured=True,
            progress=progress,
            resume=resume,
            settings=settings,
        )
    sequences = dict(table.select("accession", "sequence").iter_rows())
    witnesses = Witnesses(sequences)
    folder = ScoreFolder(out / "scores")
    lacking = [
        _calls_the_table_lacks(folder.read("annotations", index), labels, witnesses)
        for index in range(manifest.n_parts)
    ]
    shares = (missing_share, missing_shares)
    new = proposal_precision(
        pl.concat([empty_frame(ANNOTATIONS), *lacking]), bundle.concepts, *shares
    )
    trusted = is_trusted(min_precision)
    specific, withheld = keep_most_specific(new.filter(trusted)), new.filter(~trusted)
    proposals = _proposals(specific, sequences, witnesses, names_of_ids(bundle.concepts))
    relatives = Relatives(table, of=proposals["accession"].unique().sort().to_list())
    support = homology_support(proposals, relatives, labels, whole=bundle.meta.unit == "protein")
    proposals = pl.concat([proposals, support], how="horizontal").select(PROPOSALS.names)
    without_table = proposal_precision(_measured(bundle.concepts), bundle.concepts, *shares)
    abstained = _abstained(without_table, withheld, min_precision)
    asked_for = {
        "model_uri": model_uri,
        "min_precision": min_precision,
        "missing_share": missing_share,
        "missing_shares": dict(missing_shares or {}),
        "n_proposed": proposals.height,
    }
    _write(out, made_by(model_uri, bundle.digest), proposals, abstained, asked_for)
    return FillResult(
        path=out,
        manifest=manifest,
        proteins=table.select("accession", "sequence", "cluster"),
        labels=labels,
        n_calls=manifest.n_annotations,
        n_known=manifest.n_annotations - new.height,
        n_withheld=withheld.height,
        n_implied=new.height - withheld.height - specific.height,
        n_proposed=proposals.height,
        n_with_homologue=proposals["homologue"].count(),
        min_precision=min_precision,
    )


def _write(
    out: Path,
    facts: Mapping[str, str],
    proposals: pl.DataFrame,
    abstained: pl.DataFrame,
    asked_for: Mapping[str, object],
) -> None:
    """Write the tables, then the manifest."""
    # What an earlier run was asked for says nothing of the proposals of this one.
    (out / "manifest.json").unlink(missing_ok=True)
    write_table(out / "proposals" / "part-00000.parquet", proposals, PROPOSALS, facts)
    _write_tsv(out / "proposals.tsv", proposals)
    write_table(out / "abstained.parquet", abstained, ABSTAINED, facts)
    write_json(out / "manifest.json", asked_for)


def _calls_the_table_lacks(
    calls: pl.DataFrame, labels: pl.DataFrame, witnesses: Witnesses
) -> pl.DataFrame:
    """Return the calls of one part that repeat no label; those that confirm one are witnesses."""
    here = labels.join(calls.select("accession").unique(), on="accession", how="semi")
    confirmed = calls.filter(right_calls(calls, here))
    columns = ("concept", "latents", "accession", "score")
    for concept, latents, accession, value in confirmed.select(columns).iter_rows():
        witnesses.add(concept, latents, accession, value)
    return calls_without_label(calls, here)


def _proposals(
    calls: pl.DataFrame,
    sequences: Mapping[str, str],
    witnesses: Witnesses,
    names: pl.DataFrame,
) -> pl.DataFrame:
    ranked = calls.sort(
        ["precision", "precision_low", "score", "accession", "start", "end", "concept"],
        descending=[True, True, True, False, False, False, False],
    )
    places = ranked.select("accession", "start", "end").iter_rows()
    stretches = [sequences[accession][start - 1 : end] for accession, start, end in places]
    ranked = ranked.join(names, on="concept", how="left", maintain_order="left")
    return ranked.with_columns(
        sequence_stretch=pl.Series(stretches, dtype=pl.String),
        evidence=pl.Series(_evidence(ranked, witnesses), dtype=pl.List(pl.String)),
    )


def _evidence(ranked: pl.DataFrame, witnesses: Witnesses) -> list[list[str]]:
    """Return the witnesses of each row; rows of one concept and latent are looked up together."""
    claims = defaultdict(list)
    columns = ranked.select("concept", "latents", "accession").iter_rows()
    for row, (concept, latents, accession) in enumerate(columns):
        claims[concept, tuple(latents)].append((row, accession))
    evidence: list[list[str]] = [[] for _ in range(ranked.height)]
    for (concept, latents), askers in claims.items():
        accessions = sorted({accession for _, accession in askers})
        found = witnesses.closest(concept, latents, accessions)
        by_accession = dict(zip(accessions, found, strict=True))
        for row, accession in askers:
            evidence[row] = by_accession[accession]
    return evidence


def _measured(concepts: pl.DataFrame) -> pl.DataFrame:
    """Return every pair of the bundle, as if each had made one call."""
    return with_caller(concepts).select(
        "concept",
        fires=can_call(),
        precision=pl.col("call_precision").fill_nan(None),
        precision_low=pl.col("call_precision_low").fill_nan(None),
        **{
            name: pl.col(name) if name in concepts.columns else pl.lit(None, dtype)
            for name, dtype in (("abstains_at", pl.Float64), ("abstains", pl.String))
        },
    )


def _abstained(
    measured: pl.DataFrame, withheld: pl.DataFrame, min_precision: float
) -> pl.DataFrame:
    """Return the concepts of which no pair is trusted, with the reason and what it cost."""
    best = measured.group_by("concept").agg(
        pl.col("fires").any(),
        (pl.col("fires") & is_trusted(min_precision)).any().alias("trusted"),
        pl.col("bar").filter(pl.col("fires") & pl.col("precision").is_not_null()).max(),
        pl.col("precision_low").max().alias("measured"),
        pl.col("abstains_at").max(),
        pl.col("abstains").first(),
    )
    counts = withheld.group_by("concept").agg(n_withheld=pl.len().cast(pl.Int64))
    too_low = pl.format(
        "where the table has no label, the interval of the precision begins at {}, {} is asked for",
        pl.col("bar").round(3),
        pl.lit(min_precision),
    )
    unsure = pl.format(
        "no latent or probe was found whose calls are shown to reach a precision of {}",
        pl.col("abstains_at"),
    )
    return (
        best.filter(~pl.col("trusted"))
        .with_columns(
            reason=pl.when(~pl.col("fires"))
            .then(pl.coalesce("abstains", pl.lit(NO_LATENT)))
            .when(pl.col("bar").is_null())
            .then(pl.lit(UNMEASURED))
            .when(pl.col("measured") >= min_precision)  # only the annotator's word is against it
            .then(unsure)
            .otherwise(too_low),
            precision_low="bar",
        )
        .join(counts, on="concept", how="left")
        .with_columns(pl.col("n_withheld").fill_null(0))
        .select(ABSTAINED.names)
        .sort("concept")
    )


def _write_tsv(target: Path, proposals: pl.DataFrame) -> None:
    lists = [
        pl.col("implied").list.join(";"),
        pl.col("latents").cast(pl.List(pl.String)).list.join(";"),
        pl.col("evidence").list.join(";"),
    ]
    with atomic_path(target) as temporary:
        proposals.with_columns(lists).write_csv(temporary, separator="\t", float_precision=4)
