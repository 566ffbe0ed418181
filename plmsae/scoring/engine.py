"""Batch scoring: proteins in, a folder of Parquet out, part by part.

Each part of the input is encoded, called and written on its own; its done-marker is written after
its files, the manifest after all parts. Wherever a run is killed, the next one finds whole parts
with markers (kept, after their checksums are compared) and everything else (made again, in place).
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from plmsae.core.atomic import write_json
from plmsae.core.errors import InputError, PlmsaeError
from plmsae.proteins.records import Rejected
from plmsae.scoring.annotate import Annotator
from plmsae.scoring.encoding import ModelBundle, SequenceEncoder, encode_part, load_encoder
from plmsae.scoring.folder import PartRecord, ScoreFolder, file_sha256
from plmsae.scoring.manifest import Manifest, RunIdentity
from plmsae.scoring.parts import InputTally, Part, Survey, cut, survey
from plmsae.scoring.schema import REJECTED, TABLES, empty_frame, write_table

_log = logging.getLogger(__name__)

EncoderSource = SequenceEncoder | Callable[[], SequenceEncoder]
"""An encoder, or a function that makes one: called only if something is left to score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreProgress:
    """How far a run is; handed to the progress callback after every chunk and every part."""

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
    source: str | Path,
    bundle: ModelBundle,
    out: str | Path,
    *,
    model_uri: str,
    encoder: EncoderSource | None = None,
    part_residues: int = 200_000,
    write_features: bool = False,
    strict: bool = False,
    min_precision: float | None = None,
    unmeasured: bool = False,
    progress: OnProgress | None = None,
    resume: bool = True,
    settings: Mapping[str, str] | None = None,
) -> Manifest:
    """Score every protein of an input and write the score folder.

    Memory follows `part_residues`, not the number of proteins. A file is read twice: first to find
    a broken record before hours are spent, and to know the total; standard input is read once.

    Parameters
    ----------
    source : str or Path
        FASTA or UniProt TSV, plain or compressed; ``-`` for standard input.
    bundle : ModelBundle
        The registered model.
    out : str or Path
        Output folder. An unfinished or finished run of the same input and model in it is resumed.
    model_uri : str
        How the model is named in every row; give a version, not an alias, so that it stays true.
    encoder : SequenceEncoder or callable, optional
        The PLM and SAE, or a function that loads them; by default the bundle's own are loaded.
    part_residues : int
        Residues a part.
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
        Called after every chunk.
    resume : bool
        Keep parts that an earlier run finished; otherwise the folder is started over.
    settings : mapping of str to str, optional
        What else the numbers depend on (device, dtype); recorded, and must fit on resume.

    Returns
    -------
    Manifest
        As written to ``manifest.json``.

    Raises
    ------
    InputError
        If the input or an argument is wrong, the folder belongs to another run or input, or another
        run is writing it.
    """
    check_arguments(out, min_precision=min_precision, part_residues=part_residues)

    def parts() -> Iterator[Part]:
        from plmsae.proteins.reading import read_proteins

        return cut(read_proteins(source, strict=strict), part_residues)

    if min_precision is None:
        min_precision = bundle.meta.min_precision
    # Before the folder is made: a bad input leaves nothing behind.
    expected = None if str(source) == "-" else survey(parts())
    identity = identify(
        bundle,
        model_uri=model_uri,
        part_residues=part_residues,
        write_features=write_features,
        min_precision=min_precision,
        unmeasured=unmeasured,
        settings=settings or {},
    )
    annotator = Annotator(
        bundle, model_uri=model_uri, min_precision=min_precision, unmeasured=unmeasured
    )
    folder = ScoreFolder(Path(out))
    with folder.lock():
        folder.begin(identity, resume=resume)
        run = _Run(
            folder=folder,
            annotator=annotator,
            encoder=encoder if encoder is not None else lambda: load_encoder(bundle),
            identity=identity,
            strict=strict,
            expected=expected,
            on_progress=progress,
        )
        for part in parts():
            run.take(part)
        return run.finish(Path(source).name)


def identify(
    bundle: ModelBundle,
    *,
    model_uri: str,
    part_residues: int,
    write_features: bool,
    min_precision: float,
    unmeasured: bool,
    settings: Mapping[str, str],
) -> RunIdentity:
    """Return what decides a run's output beside its input."""
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
        min_precision=min_precision,
        unmeasured=unmeasured,
        settings=dict(settings),
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
    ScoreFolder(Path(out)).check()
    if part_residues < 1:
        raise InputError("part residues must be at least 1", value=str(part_residues))
    if min_precision is not None and not 0.0 <= min_precision <= 1.0:
        raise InputError("min precision must lie between 0 and 1", value=str(min_precision))


class _Run:
    """One run over one folder: takes parts in order, then finishes."""

    def __init__(
        self,
        *,
        folder: ScoreFolder,
        annotator: Annotator,
        encoder: EncoderSource,
        identity: RunIdentity,
        strict: bool,
        expected: Survey | None,
        on_progress: OnProgress | None,
    ) -> None:
        self._folder = folder
        self._annotator = annotator
        self._source = encoder
        self._encoder: SequenceEncoder | None = None
        self._identity = identity
        self._strict = strict
        self._expected = expected
        self._on_progress = on_progress
        self._tally = InputTally()
        self._records: list[PartRecord] = []
        self._reused_parts = self._reused_residues = 0
        self._done_proteins = self._done_residues = 0
        self._started = time.time()
        self._clock = time.perf_counter()

    def take(self, part: Part) -> None:
        """Score one part, or keep what an earlier run made of it."""
        sha256 = part.sha256
        self._tally.add(part, sha256)
        record = self._folder.done(part.index, sha256)
        if record is None:
            record = self._score(part, sha256)
        else:
            self._keep(part, record)
        if record.n_read != part.n_read or record.n_scored + record.n_rejected != part.n_read:
            raise PlmsaeError(
                f"part {part.index}: {part.n_read} records read, {record.n_scored} scored, "
                f"{record.n_rejected} rejected"
            )
        self._records.append(record)
        self._tell(0, 0)

    def finish(self, name: str) -> Manifest:
        """Check that everything is accounted for and write timing and manifest."""
        self._folder.refuse_parts_after(len(self._records))
        found = self._tally.survey()
        if self._expected is not None and found != self._expected:
            raise InputError("the input changed while it was being scored", where=name)
        records = self._records
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
        )
        if manifest.n_scored + manifest.n_rejected != manifest.n_read:
            raise PlmsaeError("the sums of the parts do not account for every record")
        self._write_timing(found.n_residues)
        manifest.write(self._folder.manifest_path)
        return manifest

    def _keep(self, part: Part, record: PartRecord) -> None:
        if self._strict and record.n_rejected:
            first = self._folder.read("rejected", part.index).row(0, named=True)
            raise InputError(first["reason"], where=first["where"], record=first["accession"])
        self._reused_parts += 1
        self._reused_residues += part.n_residues
        self._done_proteins += len(part.proteins)
        self._done_residues += part.n_residues

    def _score(self, part: Part, sha256: str) -> PartRecord:
        # A manifest from an earlier, complete run must not stand while a part is being remade.
        self._folder.manifest_path.unlink(missing_ok=True)
        encoder = self._load()
        encoded = encode_part(
            encoder,
            part.proteins,
            unit=self._annotator.unit,
            d_sae=self._annotator.d_sae,
            chunk_residues=max(1, self._identity.part_residues // 8),
            strict=self._strict,
            on_chunk=self._tell,
        )
        annotations = self._annotator.annotations(encoded)
        rejected = (*part.rejected, *encoded.rejected)
        tables = {
            "annotations": annotations,
            "proteins": self._annotator.proteins(encoded, annotations, window=_window(encoder)),
            "rejected": _rejected_frame(rejected),
        }
        if self._identity.write_features:
            tables["features"] = self._annotator.features(encoded)
        files = {}
        for name in TABLES:
            if name in tables:
                path = self._folder.table(name, part.index)
                write_table(path, tables[name], TABLES[name])
                files[path.relative_to(self._folder.root).as_posix()] = file_sha256(path)
        record = PartRecord(
            index=part.index,
            input_sha256=sha256,
            n_read=part.n_read,
            n_scored=len(tables["proteins"]),
            n_rejected=len(rejected),
            n_residues=sum(len(protein.sequence) for protein in encoded.proteins),
            n_annotations=len(annotations),
            n_implied=int(annotations["implied"].list.len().sum()),
            n_features=len(tables["features"]) if "features" in tables else None,
            files=files,
        )
        self._folder.finish_part(record)
        return record

    def _load(self) -> SequenceEncoder:
        if self._encoder is None:
            source = self._source
            self._encoder = source() if callable(source) else source
        return self._encoder

    def _tell(self, proteins: int, residues: int) -> None:
        self._done_proteins += proteins
        self._done_residues += residues
        if self._on_progress is not None:
            expected = self._expected
            self._on_progress(
                ScoreProgress(
                    proteins=self._done_proteins,
                    residues=self._done_residues,
                    reused_residues=self._reused_residues,
                    annotations=sum(record.n_annotations for record in self._records),
                    total_proteins=expected.n_proteins if expected else None,
                    total_residues=expected.n_residues if expected else None,
                )
            )

    def _write_timing(self, residues: int) -> None:
        seconds = time.perf_counter() - self._clock
        scored = residues - self._reused_residues
        write_json(
            self._folder.timing_path,
            {
                "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
                "seconds": round(seconds, 3),
                "parts_scored": len(self._records) - self._reused_parts,
                "parts_reused": self._reused_parts,
                "residues_scored": scored,
                "residues_per_second": round(scored / seconds, 1) if seconds else None,
            },
        )


def _window(encoder: SequenceEncoder) -> int | None:
    """Return the longest sequence the PLM reads at once, where the encoder has one to ask."""
    limit = getattr(getattr(encoder, "plm", None), "max_residues", None)
    return None if limit is None else int(limit)


def _rejected_frame(rejected: tuple[Rejected, ...]) -> pl.DataFrame:
    rows = [(record.accession, record.where, record.reason) for record in rejected]
    return pl.DataFrame(rows, schema=empty_frame(REJECTED).schema, orient="row")


def _outputs_sha256(records: list[PartRecord]) -> str:
    digest = hashlib.sha256()
    for record in records:
        for name in sorted(record.files):
            digest.update(f"{name} {record.files[name]}\n".encode())
    return digest.hexdigest()
