"""Scoring parts on the workers of a Ray cluster, or of a Ray started on this machine.

Each worker is an actor that holds one PLM and SAE and scores the parts it is given with the same
`score_part` as the local engine, into the same folder, which all machines must share. A worker that
dies is started again and its part scored again: a part's files count only when its marker is there.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from plmsae.core.errors import InputError, PlmsaeError, ResourceError
from plmsae.scoring.folder import PartRecord
from plmsae.scoring.part_scoring import OnDone, PartScorer
from plmsae.scoring.parts import Part

RETRIES = 3
"""How often a part is tried again whose worker died."""
AHEAD = 2
"""Parts handed out for each worker, so that none waits for the next; it bounds the memory."""
_CPUS_PER_WORKER = 4


@dataclass(frozen=True, kw_only=True)
class RayExecutor:
    """Scores parts on Ray; see `plmsae.scoring.engine.Executor`."""

    address: str | None = None
    """Of a running cluster (``auto``, ``HOST:6379``, ``ray://HOST:10001``); None starts one here,
    which ends with the run."""
    workers: int | None = None
    """How many; by default one for each GPU, or, without GPUs, one for every four processors."""

    def __call__(
        self, parts: Iterable[Part], scorer: PartScorer, on_done: OnDone
    ) -> Iterator[tuple[Part, PartRecord]]:
        """Yield each part with its record as workers finish them.

        Raises
        ------
        InputError
            If Ray is not installed, the cluster cannot be reached or is too small, or a machine
            does not see the folder.
        ResourceError
            If a part's worker died again and again.
        """
        ray = _import_ray()
        started = _connect(ray, self.address)
        actors: list[Any] = []
        try:
            actors = self._start(ray, scorer)
            yield from _drive(ray, actors, parts, on_done)
        finally:
            for actor in actors:
                ray.kill(actor)
            if started:
                ray.shutdown()

    def _start(self, ray: Any, scorer: PartScorer) -> list[Any]:
        total = ray.cluster_resources()
        cpus, gpus = int(total.get("CPU", 0)), int(total.get("GPU", 0))
        workers = self.workers or gpus or max(1, cpus // _CPUS_PER_WORKER)
        if workers > max(cpus, gpus):
            # Ray would wait for ever for processors that never come.
            raise InputError(
                f"the Ray cluster has {cpus} processors and {gpus} GPUs",
                where="--workers",
                value=str(workers),
            )
        threads = max(1, cpus // workers)
        worker = ray.remote(_Worker).options(
            num_cpus=threads,
            num_gpus=1 if gpus >= workers else 0,
            max_restarts=-1,
            max_task_retries=RETRIES,
        )
        shared = ray.put(replace(scorer, folder=scorer.folder.absolute()))
        actors = [worker.remote(shared, str(Path.cwd()), threads) for _ in range(workers)]
        for reply in ray.get([actor.missing.remote() for actor in actors]):
            if reply is not None:
                raise InputError(
                    "a machine of the cluster does not see this folder; all must share it",
                    where=scorer.folder.where,
                    value=reply,
                )
        return actors


def make(*, address: str | None = None, workers: int | None = None) -> RayExecutor:
    """Return the executor.

    Raises
    ------
    InputError
        If Ray is not installed, or `workers` is not positive.
    """
    _import_ray()
    if workers is not None and workers < 1:
        raise InputError("needs one worker or more", where="--workers", value=str(workers))
    return RayExecutor(address=address, workers=workers)


class _Worker:
    """An actor: one PLM and SAE, loaded when the first part comes."""

    def __init__(self, scorer: PartScorer, cwd: str, threads: int) -> None:
        # Models and PLMs may have been named by relative paths.
        if Path(cwd).is_dir():
            os.chdir(cwd)
        self._scorer = scorer
        self._threads = threads

    def missing(self) -> str | None:
        """Return this machine's name if it does not see the run's folder."""
        return None if self._scorer.folder.is_seen() else os.uname().nodename

    def score(self, part: Part) -> PartRecord:
        """Score one part."""
        import torch

        torch.set_num_threads(self._threads)
        return self._scorer(part, lambda proteins, residues: None)


def _drive(
    ray: Any, actors: list[Any], parts: Iterable[Part], on_done: OnDone
) -> Iterator[tuple[Part, PartRecord]]:
    """Keep every worker busy, and no more than `AHEAD` parts waiting at each."""
    waiting = iter(parts)
    running: dict[Any, tuple[Part, Any]] = {}
    free = [actor for _ in range(AHEAD) for actor in actors]
    while True:
        while free and (part := next(waiting, None)) is not None:
            actor = free.pop(0)
            running[actor.score.remote(part)] = (part, actor)
        if not running:
            return
        for reply in ray.wait(list(running), num_returns=1)[0]:
            part, actor = running.pop(reply)
            free.append(actor)
            record = _result(ray, reply, part)
            on_done(record.n_scored, part.n_residues)
            yield part, record


def _result(ray: Any, reply: Any, part: Part) -> PartRecord:
    try:
        record: PartRecord = ray.get(reply)
    except ray.exceptions.RayTaskError as error:
        # What the worker raised, not Ray's wrapping of it.
        if isinstance(error.cause, PlmsaeError):
            raise error.cause from error
        raise
    except ray.exceptions.RayActorError as error:
        raise ResourceError(
            f"the worker of part {part.index} died {RETRIES + 1} times, perhaps for lack of memory",
            hint="the parts that are done are kept; try fewer workers",
        ) from error
    return record


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed", where="--engine ray", hint="pip install 'plmsae[ray]'"
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> bool:
    """Connect, or start Ray here; tell whether this call did."""
    if ray.is_initialized():
        return False
    try:
        if address is not None and ":" in address:
            # Ray itself would try for many minutes.
            host, port = address.removeprefix("ray://").rsplit(":", 1)
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level="error",
            configure_logging=False,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"no Ray cluster can be reached: {str(error).splitlines()[0]}",
            where="--address",
            value=address,
        ) from error
    return True
