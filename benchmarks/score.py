"""How fast `plmsae score` is, beside its floors and the usual loops.

    python benchmarks/score.py MODEL proteins.fasta --n 1000 --threads 2

Residues per second of wall and of processor time, on the first proteins of a file:

- **PLM**: the bare forward pass, blocks 1 to the model's layer, in plmsae's batches and precision;
- **SAE**: the encoder on those activations (matrix product and selection);
- **floor**: both, one after the other. Nothing that computes the same latents on this machine with
  these kernels can be faster;
- **score**: the whole workflow, FASTA to Parquet, with both quality gates, in a process of its own
  (imports included), and the same without gates;
- **library**: Hugging Face's ESM in float32, all blocks, eight proteins a batch in the order of the
  input (as InterPLM's extraction does) and sorted by length.

The peak memory is that of the process that scores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from plmsae.plm.catalogue import find_plm
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.registry.models import resolve
from plmsae.scoring.encoding import load_encoder

_BATCH = 8


class Timed(NamedTuple):
    """Seconds of a piece of work, those of its child processes included, and what it returned."""

    wall: float
    processor: float
    result: Any = None


def timed(work: Callable[[], Any]) -> Timed:
    """Do a piece of work and time it."""

    def spent() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))

    wall, used = time.perf_counter(), spent()
    result = work()
    return Timed(time.perf_counter() - wall, spent() - used, result)


def library_loop(source: str, sequences: Sequence[str], *, by_length: bool) -> None:
    """Run the library's model over padded batches, all hidden states, as published scripts do."""
    from transformers import AutoTokenizer, EsmModel

    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    model: Any = EsmModel.from_pretrained(source, add_pooling_layer=False)
    model.eval()
    order = sorted(sequences, key=len, reverse=True) if by_length else list(sequences)
    with torch.inference_mode():
        for first in range(0, len(order), _BATCH):
            batch = tokenizer(order[first : first + _BATCH], return_tensors="pt", padding=True)
            model(**batch, output_hidden_states=True)


def score_command(model: str, fasta: Path, out: Path, threads: int, *flags: str) -> float:
    """Run `plmsae score` and return its peak memory in MB."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MLFLOW_TRACKING_URI": f"sqlite:///{out}/mlflow.db",
    }
    code = (
        "import resource, sys; from plmsae.cli.app import run; code = run(sys.argv[1:]); "
        "print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss); sys.exit(code)"
    )
    command = ["score", str(fasta), "--model", model, "--out", str(out / "scores"), *flags]
    done = subprocess.run(
        [sys.executable, "-c", code, *command], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    return int(done.stdout.rsplit("peak", 1)[1]) / 1024


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("proteins", type=Path)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument(
        "--library-n", type=int, default=150, help="proteins for the library's loops"
    )
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    bundle = resolve(asked.model)
    records = [r for r in read_proteins(asked.proteins) if isinstance(r, Protein)][: asked.n]
    sequences = [record.sequence for record in records]
    residues = sum(map(len, sequences))
    encoder = load_encoder(bundle, device="cpu")
    print(
        f"{bundle.name} ({bundle.meta.d_sae} latents), {len(sequences):,} proteins, {residues:,} "
        f"residues, {asked.threads} threads, {encoder.plm.dtype}"
    )

    def line(name: str, n: int, seconds: Timed, extra: str = "") -> None:
        wall, used, _ = seconds
        print(f"{name:<28} {n / wall:>9,.0f} {n / used:>9,.0f} {wall / n / floor:>8.2f}  {extra}")

    layer = encoder.layer
    list(encoder.plm.activations(sequences[:20], [layer]))  # kernels are made once
    states: list[torch.Tensor] = []

    def forward() -> None:
        states.extend(x[layer] for _, x in encoder.plm.activations(sequences, [layer]))

    plm = timed(forward)
    joined = torch.cat(states)
    blocks = [joined[first : first + 8192] for first in range(0, len(joined), 8192)]
    encoder.sae.encode_csr(blocks[0])
    sae = timed(lambda: [encoder.sae.encode_csr(x) for x in blocks])
    both = Timed(plm.wall + sae.wall, plm.processor + sae.processor)
    floor = both.wall / residues
    print(f"{'residues/s':<28} {'wall':>9} {'processor':>9} {'x floor':>8}")
    line("PLM", residues, plm)
    line("SAE", residues, sae)
    line("floor: PLM + SAE", residues, both)
    with tempfile.TemporaryDirectory() as scratch:
        fasta = Path(scratch) / "proteins.fasta"
        fasta.write_text("".join(f">{r.accession}\n{r.sequence}\n" for r in records))
        for name, flags in (("score", ()), ("score, no gates", ("--no-validate",))):
            out = Path(scratch) / name
            out.mkdir()
            # By its folder: the run has a tracking store of its own.
            run = partial(score_command, str(bundle.path), fasta, out, asked.threads, *flags)
            seconds = timed(run)
            size = sum(f.stat().st_size for f in (out / "scores").rglob("*.parquet"))
            line(
                name,
                residues,
                seconds,
                f"{seconds.result:,.0f} MB, {size / residues:.2f} bytes/residue",
            )
    few = sequences[: asked.library_n]
    entry = find_plm(bundle.meta.plm)
    for name, by_length in (("library, input order", False), ("library, by length", True)):
        seconds = timed(partial(library_loop, entry.source, few, by_length=by_length))
        line(name, sum(map(len, few)), seconds)


if __name__ == "__main__":
    main()
