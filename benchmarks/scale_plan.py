"""What scoring many proteins costs: hours, files, bytes and money, from rates that were measured.

    python benchmarks/scale_plan.py --proteins 1e6 6e7 1e9 --workers 16 256

Parts are handed to workers as the Ray engine does it, so many ahead for each. Workers differ in
speed, parts take a little more or less time than they should, and a worker dies now and then: its
part starts over elsewhere. The plan is simulated part by part; beyond a million parts, a part here
stands for several. Every assumption is an option, and its default is what docs/scale.md uses.
"""

from __future__ import annotations

import argparse
import heapq
import math
from dataclasses import dataclass

import numpy as np

from plmsae.scoring.executors.ray import AHEAD
from plmsae.scoring.parts import PART_RESIDUES

_MOST_PARTS = 200_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What came of one simulation."""

    hours: float
    """From the first part to the last."""
    worker_hours: float
    """Hours times workers: what is paid for."""
    efficiency: float
    """Share of the worker hours without which it could not be done."""
    restarts: int
    """Parts that began again because their worker died."""


def simulate(
    n_parts: int,
    seconds: float,
    workers: int,
    *,
    spread: float,
    deaths_per_hour: float,
    start_seconds: float,
    seed: int = 0,
) -> Plan:
    """Simulate a run.

    Parameters
    ----------
    n_parts : int
    seconds : float
        For a part on a worker of the usual speed.
    workers : int
    spread : float
        Standard deviation of the logarithm of a worker's speed, and half of it of a part's time.
    deaths_per_hour : float
        Of each worker.
    start_seconds : float
        Until a worker has its PLM.
    seed : int, optional
    """
    rng = np.random.default_rng(seed)
    slowness = rng.lognormal(0.0, spread, workers)
    # When each place in the queue of a worker is free; a worker does one part after another.
    free_at = np.full(workers, float(start_seconds))
    places = [(start_seconds, worker) for worker in range(workers) for _ in range(AHEAD)]
    heapq.heapify(places)
    restarts = 0
    for _ in range(n_parts):
        _, worker = heapq.heappop(places)
        takes = seconds * slowness[worker] * rng.lognormal(0.0, spread / 2)
        while rng.random() < -math.expm1(-deaths_per_hour * takes / 3600):
            free_at[worker] += rng.random() * takes + start_seconds
            restarts += 1
        free_at[worker] += takes
        heapq.heappush(places, (free_at[worker], worker))
    hours = float(free_at.max()) / 3600
    # At best all workers end together, each at its own speed.
    best = n_parts * seconds / float((1 / slowness).sum()) / 3600
    return Plan(
        hours=hours, worker_hours=hours * workers, efficiency=best / hours, restarts=restarts
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proteins", type=float, nargs="+", default=[1e6, 6e7, 1e9])
    parser.add_argument("--workers", type=int, nargs="+", default=[16, 256])
    parser.add_argument("--length", type=float, default=300, help="residues of a protein")
    parser.add_argument("--rate", type=float, default=11_000, help="residues/s of a worker")
    parser.add_argument("--price", type=float, default=0.08, help="US dollars a worker hour")
    parser.add_argument("--bytes", type=float, default=0.36, help="bytes a residue of results")
    parser.add_argument("--storage", type=float, default=0.023, help="US dollars a GB and month")
    parser.add_argument("--files", type=int, default=4, help="files of a part")
    parser.add_argument("--requests", type=float, default=5e-6, help="US dollars a stored file")
    parser.add_argument("--spread", type=float, default=0.1)
    parser.add_argument("--deaths-per-hour", type=float, default=0.01)
    parser.add_argument("--start-seconds", type=float, default=60)
    given = parser.parse_args()
    head = "proteins | workers | parts | hours | worker hours | efficiency | restarts | compute, $ "
    head += "| results, GB | stored, $/month | files | requests, $"
    print(f"| {head} |")
    print("|" + " ---: |" * len(head.split("|")))
    for n in given.proteins:
        residues = n * given.length
        n_parts = math.ceil(residues / PART_RESIDUES)
        lump = math.ceil(n_parts / _MOST_PARTS)
        for workers in given.workers:
            plan = simulate(
                math.ceil(n_parts / lump),
                lump * PART_RESIDUES / given.rate,
                workers,
                spread=given.spread,
                deaths_per_hour=given.deaths_per_hour,
                start_seconds=given.start_seconds,
            )
            gigabytes = residues * given.bytes / 1e9
            files = n_parts * given.files
            cells = [
                f"{n:.0e}".replace("e+0", "e"),
                f"{workers}",
                f"{n_parts:,}",
                f"{plan.hours:,.1f}",
                f"{plan.worker_hours:,.0f}",
                f"{plan.efficiency:.2f}",
                f"{plan.restarts:,}",
                f"{plan.worker_hours * given.price:,.0f}",
                f"{gigabytes:,.1f}",
                f"{gigabytes * given.storage:,.2f}",
                f"{files:,}",
                f"{files * given.requests:,.2f}",
            ]
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
