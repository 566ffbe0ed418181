"""Batch scoring: proteins in, a folder of Parquet out, part by part.

Each part of the input is encoded, called and written on its own; its done-marker is written after
its files, the manifest after all parts. Wherever a run is killed, the next one finds whole parts
with markers (kept, after their checksums are compared) and everything else (made again, in place).
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from plmsae.core.errors import InputError, PlmsaeError, printable
from plmsae.core.stopping import kept_if_stopped
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Rejected
from plmsae.proteins.stream import is_stream, source_name
from plmsae.scoring.abstaining import abstentions
from plmsae.scoring.annotate import Annotator
from plmsae.scoring.encoding import ModelBundle, load_encoder
from plmsae.scoring.executor import Executor
from plmsae.scoring.executors import local
from plmsae.scoring.folder import PartRecord, ScoreFolder
from plmsae.scoring.manifest import Manifest, RunIdentity
from plmsae.scoring.part_scoring import EncoderSource, PartScorer
from plmsae.scoring.parts import PART_RESIDUES, InputTally, Part, Survey, cut
from plmsae.scoring.spool import Spool, spooled


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreProgress:
    """How far a run is; handed to the progress callback after every protein and every part."""

    proteins: int
    """Proteins done, including those of parts that an earlier run finished."""
    residues: int
    """Their residues."""
    reused_residues: int
    """Of these, residues of parts that an earlier run finished: leave them out of a rate."""
    annotations: int
    """Annotations written so far."""
    total_proteins: int | None
    """Proteins in the input; None where it is a stream."""
    total_residues: int | None
    """Residues in the input; None where it is a stream."""


class OnProgress(Protocol):
    """A function that draws progress."""

    def __call__(self, progress: ScoreProgress, /) -> None:
        """Take the state of the run."""
        ...


def score(
    source: str | Path | Spool,
    bundle: ModelBundle,
    out: str | Path,
    *,
    model_uri: str,
    encoder: EncoderSource | None = None,
    part_residues: int = PART_RESIDUES,
    write_features: bool = False,
    strict: bool = False,
    min_precision: float | None = None,
    unmeasured: bool = False,
    progress: OnProgress | None = None,
    resume: bool = True,
    settings: Mapping[str, str] | None = None,
    executor: Executor = local.run,
) -> Manifest:
    """Score every protein of an input and write the score folder.

    Memory follows `part_residues`, not the number of proteins. A file is parsed before anything is
    scored, to find a broken record before hours are spent, and to know the total; what was read is
    kept in a temporary folder. A pipe is scored as it comes.

    Parameters
    ----------
    source : str, Path or Spool
        FASTA or UniProt TSV, plain or compressed; a pipe, or ``-``. Or such an input as it
        was parsed already; `part_residues` and `strict` are then those it was parsed with.
    out : str or Path
        Output folder, here or at ``s3://BUCKET/PREFIX``. An unfinished or finished run of the
        same input and model in it is resumed.
    model_uri : str
        How the model is named in every row; give a version, not an alias, so that it stays true.
    encoder : SequenceEncoder or callable, optional
        The PLM and SAE, or a function that loads them; by default the bundle's own are loaded.
    write_features : bool
        Write ``features/``: every latent that fired, at every residue.
    strict : bool
        Raise at the first record that cannot be scored instead of listing it in ``rejected/``.
    min_precision : float, optional
        Write only annotations whose measured ``precision_low`` is at least this, and none of
        concepts for which the annotator found nothing that is, at this precision or a lower one
        (`calibration.highest_bar`); 0 writes all that were measured. By default the
        bundle's own.
    unmeasured : bool
        Write all annotations, also of concepts that abstain or whose precision was never measured:
        for those who count what is withheld, as `plmsae.scoring.fill` does; the quality gate on
        annotations refuses the unmeasured.
    progress : OnProgress, optional
        Called after every protein.
    resume : bool
        Keep parts that an earlier run finished; otherwise the folder is started over.
    settings : mapping of str to str, optional
        What else the numbers depend on (device, dtype); recorded, and must fit on resume.
    executor : callable, optional
        Where parts are scored; by default one after another in this process.

    Returns
    -------
    Manifest
        As written to ``manifest.json``.

    Raises
    ------
    InputError
        If the input or an argument is wrong, no record can be used, the folder belongs to
        another run or input, or another run is writing it.
    """
    if isinstance(source, Spool):
        part_residues, strict = source.part_residues, source.strict
    check_arguments(out, min_precision=min_precision, part_residues=part_residues)
    if min_precision is None:
        min_precision = bundle.meta.min_precision
    with ExitStack() as stack:
        # Before the folder is made: a bad input leaves nothing behind.
        spool = source if isinstance(source, Spool) else None
        if spool is None and not is_stream(str(source)):
            spool = stack.enter_context(spooled(str(source), part_residues, strict=strict))
        if spool is not None and not spool.survey.n_proteins:
            raise _none_usable(spool.survey.n_read, spool.name, next(spool.parts()).rejected[0])
        identity = identity_of(
            bundle,
            model_uri=model_uri,
            part_residues=part_residues,
            write_features=write_features,
            min_precision=min_precision,
            unmeasured=unmeasured,
            settings=settings,
        )
        annotator = Annotator(
            bundle, model_uri=model_uri, min_precision=min_precision, unmeasured=unmeasured
        )
        folder = ScoreFolder(out)
        stack.enter_context(folder.lock())
        folder.begin(identity, resume=resume)
        scorer = PartScorer(
            annotator=annotator,
            source=encoder if encoder is not None else lambda: load_encoder(bundle),
            folder=folder,
            write_features=write_features,
            strict=strict,
        )
        run = _Run(
            folder=folder,
            identity=identity,
            strict=strict,
            expected=None if spool is None else spool.survey,
            on_progress=progress,
            concepts=annotator.concepts["concept"].unique().to_list(),
            abstained={} if unmeasured else abstentions(bundle.concepts, min_precision),
        )
        stream = "-" if spool else str(source)
        parts = spool.parts() if spool else cut(read_proteins(stream, strict=strict), part_residues)
        stack.enter_context(kept_if_stopped(folder.kept))
        for part, record in executor(run.left(parts), scorer, run.tell):
            run.take(part, record)
        return run.finish(printable(Path(stream).name) if spool is None else spool.name)


def identity_of(
    bundle: ModelBundle,
    *,
    model_uri: str,
    part_residues: int = PART_RESIDUES,
    write_features: bool = False,
    min_precision: float | None = None,
    unmeasured: bool = False,
    settings: Mapping[str, str] | None = None,
) -> RunIdentity:
    """Return what decides, beside the input, what `score` writes; it takes the same arguments."""
    meta = bundle.meta
    return RunIdentity(
        model_uri=model_uri,
        model_sha256=bundle.digest,
        plm=meta.plm,
        plm_revision=meta.plm_revision,
        layer=meta.layer,
        unit=meta.unit,
        part_residues=part_residues,
        write_features=write_features,
        min_precision=meta.min_precision if min_precision is None else min_precision,
        unmeasured=unmeasured,
        settings=dict(settings or {}),
    )


def check_arguments(
    out: str | Path, *, min_precision: float | None = None, part_residues: int = 1
) -> None:
    """Refuse what can be refused before the input is read.

    Raises
    ------
    InputError
        If a number is out of range, or `out` is a file or a folder of something else.
    """
    ScoreFolder(out).check()
    if part_residues < 1:
        raise InputError("part residues must be at least 1", value=str(part_residues))
    if min_precision is not None and not 0.0 <= min_precision <= 1.0:
        raise InputError("min precision must lie between 0 and 1", value=str(min_precision))


class _Run:
    """One run over one folder: keeps what is done, counts what is scored, then finishes."""

    def __init__(
        self,
        *,
        folder: ScoreFolder,
        identity: RunIdentity,
        strict: bool,
        expected: Survey | None,
        on_progress: OnProgress | None,
        concepts: list[str],
        abstained: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._identity = identity
        self._strict = strict
        self._expected = expected
        self._on_progress = on_progress
        self._concepts = [name for name in concepts if name not in abstained]
        self._abstained = abstained
        self._tally = InputTally()
        self._records: dict[int, PartRecord] = {}
        self._reused_parts = self._reused_residues = 0
        self._done_proteins = self._done_residues = self._n_annotations = 0
        self._started = time.time()
        self._clock = time.perf_counter()

    def left(self, parts: Iterable[Part]) -> Iterator[Part]:
        """Yield the parts to score; keep those that an earlier run finished."""
        for part in parts:
            sha256 = part.sha256
            self._tally.add(part, sha256)
            record = self._folder.done(part.index, sha256)
            if record is None:
                yield part
            else:
                self._keep(part, record)
                self.take(part, record)

    def take(self, part: Part, record: PartRecord) -> None:
        """Count a finished part."""
        if record.n_read != part.n_read or record.n_scored + record.n_rejected != part.n_read:
            raise PlmsaeError(
                f"part {part.index}: {part.n_read} records read, {record.n_scored} scored, "
                f"{record.n_rejected} rejected"
            )
        self._records[part.index] = record
        self._n_annotations += record.n_annotations
        self.tell(0, 0)

    def finish(self, name: str) -> Manifest:
        """Check that everything is accounted for and write timing and manifest."""
        self._folder.refuse_parts_after(len(self._records))
        found = self._tally.survey()
        records = [self._records[index] for index in sorted(self._records)]
        if found.n_read and not any(record.n_scored for record in records):
            first = Rejected(**self._folder.read("rejected", 0).row(0, named=True))
            self._folder.clear()
            raise _none_usable(found.n_read, name, first)
        manifest = Manifest(
            identity=self._identity.to_dict(),
            input=name,
            input_sha256=found.sha256,
            n_read=found.n_read,
            n_scored=sum(record.n_scored for record in records),
            n_rejected=sum(record.n_rejected for record in records),
            n_residues=sum(record.n_residues for record in records),
            n_annotations=sum(record.n_annotations for record in records),
            n_implied=sum(record.n_implied for record in records),
            n_features=sum(record.n_features or 0 for record in records)
            if self._identity.write_features
            else None,
            n_parts=len(records),
            outputs_sha256=_outputs_sha256(records),
            n_by_concept=self._n_by_concept(),
            abstained=self._abstained,
        )
        if manifest.n_scored + manifest.n_rejected != manifest.n_read:
            raise PlmsaeError("the sums of the parts do not account for every record")
        self._folder.finish(manifest, self._timing(found.n_residues))
        return manifest

    def _n_by_concept(self) -> dict[str, int]:
        counts = Counter(dict.fromkeys(self._concepts, 0))
        for index in self._records:
            counts.update(self._folder.read("annotations", index)["concept"].to_list())
        return dict(sorted(counts.items()))

    def _keep(self, part: Part, record: PartRecord) -> None:
        if self._strict and record.n_rejected:
            first = self._folder.read("rejected", part.index).row(0, named=True)
            raise InputError(first["reason"], where=first["where"], record=first["accession"])
        self._reused_parts += 1
        self._reused_residues += part.n_residues
        self._done_proteins += len(part.proteins)
        self._done_residues += part.n_residues

    def tell(self, proteins: int, residues: int) -> None:
        """Report that so many more proteins and residues are done."""
        self._done_proteins += proteins
        self._done_residues += residues
        if self._on_progress is not None:
            expected = self._expected
            self._on_progress(
                ScoreProgress(
                    proteins=self._done_proteins,
                    residues=self._done_residues,
                    reused_residues=self._reused_residues,
                    annotations=self._n_annotations,
                    total_proteins=expected.n_proteins if expected else None,
                    total_residues=expected.n_residues if expected else None,
                )
            )

    def _timing(self, residues: int) -> dict[str, object]:
        seconds = time.perf_counter() - self._clock
        scored = residues - self._reused_residues
        return {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(seconds, 3),
            "parts_scored": len(self._records) - self._reused_parts,
            "parts_reused": self._reused_parts,
            "residues_scored": scored,
            "residues_per_second": round(scored / seconds, 1) if seconds else None,
        }


def _outputs_sha256(records: list[PartRecord]) -> str:
    digest = hashlib.sha256()
    for record in records:
        for name in sorted(record.files):
            digest.update(f"{name} {record.files[name]}\n".encode())
    return digest.hexdigest()


def _none_usable(n_read: int, name: str, first: Rejected) -> InputError:
    """Return the error for an input of which every record was rejected."""
    return InputError(
        f"no record can be used, of {n_read:,}; the first: {first.reason} ({first.where})",
        where=source_name(name),
    )
