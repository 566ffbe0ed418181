"""How fast `plmsae score` is, beside its floors and the usual loops.

    python benchmarks/score.py MODEL proteins.fasta --n 1000 --threads 2
    python benchmarks/score.py MODEL proteins.fasta --device cuda --lengths 1-200 201-1000

Residues per second of wall and of processor time, on the first proteins of a file, with one table
for each range of lengths:

- **PLM**: the bare forward pass, blocks 1 to the model's layer, in plmsae's batches and precision;
- **SAE**: the encoder on those activations (matrix product and selection). ``--latents`` adds SAEs
  of other sizes, untrained, with the model's architecture and k: their speed is what counts here;
- **floor**: both, one after the other. Nothing that computes the same latents on this machine with
  these kernels can be faster;
- **score**: the whole workflow, FASTA to Parquet, with both quality gates, in a process of its own
  (imports included), and the same without gates;
- **library**: Hugging Face's ESM in float32, all blocks, eight proteins a batch in the order of the
  input (as InterPLM's extraction does) and sorted by length.

**padding** is the share of the tokens that go through the PLM and are no residue seen for the first
time: padding, special tokens, and what windows of long proteins repeat. **of GEMM** is the
arithmetic of the matrix products over residues, attention within proteins included, as a share of
what a square product in the PLM's precision reaches on this device in the same run; for the
library, of one in float32, with the arithmetic of all its blocks. The peak memory is that of the
process that scores. Clocks are read when the device is done.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from plmsae.encode import Encoder
from plmsae.plm.catalogue import find_plm
from plmsae.plm.device import choose_device
from plmsae.plm.windows import batches
from plmsae.proteins.reading import read_proteins
from plmsae.proteins.records import Protein
from plmsae.registry.models import resolve
from plmsae.sae.model import build_sae
from plmsae.scoring.encoding import load_encoder

_BATCH = 8


class Timed(NamedTuple):
    """Seconds of a piece of work, those of its child processes included, and what it returned."""

    wall: float
    processor: float
    result: Any = None


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type != "cpu":
        getattr(torch, device.type).synchronize()


def timed(work: Callable[[], Any], device: torch.device) -> Timed:
    """Do a piece of work and time it, to where the device is done."""

    def spent() -> float:
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, who))

    synchronise(device)
    wall, used = time.perf_counter(), spent()
    result = work()
    synchronise(device)
    return Timed(time.perf_counter() - wall, spent() - used, result)


@cache
def gemm_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the FLOP/s of a square matrix product, the best of five."""
    n = 2048 if device.type == "cpu" else 8192
    a, b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    work = partial(torch.matmul, a, b)
    timed(work, device)
    return 2 * n**3 / min(timed(work, device).wall for _ in range(5))


def plm_flops(model: Any, d_model: int, n_blocks: int, sequences: Sequence[str]) -> float:
    """Return the arithmetic of a model's blocks over the residues of proteins.

    Two for each weight of a matrix, embeddings left out, and attention within each protein.
    """
    looked_up = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    weights = sum(p.numel() for p in model.parameters() if p.ndim == 2 and id(p) not in looked_up)
    lengths = [len(sequence) for sequence in sequences]
    return sum(2.0 * weights * n + 4.0 * n_blocks * d_model * n * n for n in lengths)


def library_batches(sequences: Sequence[str], *, by_length: bool) -> list[list[str]]:
    """Return the batches of the loops that scripts have."""
    order = sorted(sequences, key=len, reverse=True) if by_length else list(sequences)
    return [order[first : first + _BATCH] for first in range(0, len(order), _BATCH)]


def library_loop(
    tokenizer: Any, model: Any, device: torch.device, padded: Sequence[list[str]]
) -> None:
    """Run the library's model over padded batches, all hidden states, as published scripts do."""
    with torch.inference_mode():
        for batch in padded:
            tokens = tokenizer(batch, return_tensors="pt", padding=True).to(device)
            model(**tokens, output_hidden_states=True)


def score_command(
    model: str, fasta: Path, out: Path, device: str, threads: int, *flags: str
) -> str:
    """Run `plmsae score` and return its peak memory, here and on the device, in words."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MLFLOW_TRACKING_URI": f"sqlite:///{out}/mlflow.db",
    }
    code = (
        "import re, sys, torch; from plmsae.cli.app import run; code = run(sys.argv[1:]); "
        "used = torch.cuda.max_memory_allocated() if torch.cuda.is_initialized() else 0; "
        # Not ru_maxrss, in which Linux counts what the parent held when it forked.
        "here = re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]; "
        "print('peak', int(here) / 1024, used / 2**20); "
        "sys.exit(code)"
    )
    command = ["score", str(fasta), "--model", model, "--out", str(out / "scores")]
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--device", device, *flags],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stderr)
    here, there = map(float, done.stdout.rsplit("peak", 1)[1].split())
    return f"{here:,.0f} MB" + (f" and {there:,.0f} MB of the device" if there else "")


def measure(asked: argparse.Namespace, encoder: Encoder, records: Sequence[Protein]) -> None:
    """Print the table of some proteins."""
    bundle, plm, layer = resolve(asked.model), encoder.plm, encoder.layer
    device = plm.device
    sequences = [record.sequence for record in records]
    residues = sum(map(len, sequences))
    print(f"\n{len(sequences):,} proteins, {residues:,} residues")
    columns = f"{'wall':>9} {'processor':>9} {'x floor':>8} {'of GEMM':>8} {'padding':>8}"
    print(f"{'residues/s':<28} {columns}")

    def line(
        name: str,
        n: int,
        spent: Timed,
        *,
        flops: float | None = None,
        dtype: torch.dtype = plm.dtype,
        tokens: int | None = None,
        extra: str = "",
    ) -> None:
        share = "" if flops is None else f"{flops / spent.wall / gemm_peak(device, dtype):.1%}"
        padding = "" if tokens is None else f"{1 - n / tokens:.1%}"
        print(
            f"{name:<28} {n / spent.wall:>9,.0f} {n / spent.processor:>9,.0f} "
            f"{spent.wall / n / floor:>8.2f} {share:>8} {padding:>8}  {extra}",
            flush=True,
        )

    budget = 4096 if device.type == "cpu" else 65536
    states: list[torch.Tensor] = []

    def forward(chosen: Sequence[str]) -> None:
        states.clear()
        states.extend(x[layer] for _, x in plm.activations(chosen, [layer], token_budget=budget))

    forward(sequences[:20])  # kernels are made once
    forwarded = timed(partial(forward, sequences), device)
    joined = torch.cat(states)
    states.clear()
    saes = [encoder.sae]
    for d_sae in asked.latents:
        config = dataclasses.replace(encoder.sae.config, d_sae=d_sae)
        saes.append(build_sae(config).to(device))
    encoded = []
    for sae in saes:
        sae.encode_csr(joined[:8192])
        work = partial(lambda s: [s.encode_csr(x) for x in joined.split(8192)], sae)
        encoded.append(timed(work, device)._replace(result=None))
    both = Timed(forwarded.wall + encoded[0].wall, forwarded.processor + encoded[0].processor)
    floor = both.wall / residues
    cut = batches([len(s) for s in sequences], plm.max_residues, budget)
    tokens = sum(w.end - w.start + plm.vocabulary.n_special for batch in cut for w in batch)
    in_plm = plm_flops(plm.model, plm.d_model, layer, sequences)
    in_sae = [2.0 * s.config.d_in * s.config.d_sae * residues for s in saes]
    line("PLM", residues, forwarded, flops=in_plm, tokens=tokens)
    for sae, spent, flops in zip(saes, encoded, in_sae, strict=True):
        line(f"SAE, {sae.config.d_sae} latents", residues, spent, flops=flops)
    line("floor: PLM + SAE", residues, both, flops=in_plm + in_sae[0], tokens=tokens)
    with tempfile.TemporaryDirectory() as scratch:
        fasta = Path(scratch) / "proteins.fasta"
        fasta.write_text("".join(f">{r.accession}\n{r.sequence}\n" for r in records))
        for name, flags in (("score", ()), ("score, no gates", ("--no-validate",))):
            out = Path(scratch) / name
            out.mkdir()
            # By its folder: the run has a tracking store of its own.
            run = partial(
                score_command, str(bundle.path), fasta, out, str(device), asked.threads, *flags
            )
            spent = timed(run, device)
            size = sum(f.stat().st_size for f in (out / "scores").rglob("*.parquet"))
            line(
                name,
                residues,
                spent,
                flops=in_plm + in_sae[0],
                extra=f"{spent.result}, {size / residues:.2f} bytes/residue",
            )
    from transformers import AutoTokenizer, EsmModel

    source = find_plm(bundle.meta.plm).source
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    model: Any = EsmModel.from_pretrained(source, add_pooling_layer=False)
    model.eval().to(device)
    few = sequences[: asked.library_n]
    flops = plm_flops(model, plm.d_model, plm.n_layers, few)
    for name, by_length in (("library, input order", False), ("library, by length", True)):
        padded = library_batches(few, by_length=by_length)
        library_loop(tokenizer, model, device, padded[:2])
        line(
            name,
            sum(map(len, few)),
            timed(partial(library_loop, tokenizer, model, device, padded), device),
            flops=flops,
            dtype=torch.float32,
            tokens=sum(len(batch) * (max(map(len, batch)) + 2) for batch in padded),
        )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("proteins", type=Path)
    parser.add_argument("--n", type=int, default=1000, help="proteins of each range of lengths")
    parser.add_argument(
        "--library-n", type=int, default=150, help="proteins for the library's loops"
    )
    parser.add_argument(
        "--lengths", nargs="+", default=["1-100000"], help="ranges, such as 1-200 201-1000"
    )
    parser.add_argument(
        "--latents", type=int, nargs="*", default=[], help="sizes of other SAEs to time"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="auto, cpu, cuda, cuda:1 or mps")
    asked = parser.parse_args()

    torch.set_num_threads(asked.threads)
    device: Any = asked.device
    bundle, chosen = resolve(asked.model), choose_device(device)
    encoder = load_encoder(bundle, device=device)
    print(
        f"{bundle.name} ({bundle.meta.d_sae} latents), {chosen}, {asked.threads} threads, "
        f"{encoder.plm.dtype}: {gemm_peak(chosen, encoder.plm.dtype) / 1e9:,.0f} GFLOP/s in a "
        "square product"
    )
    records = [r for r in read_proteins(asked.proteins) if isinstance(r, Protein)]
    for span in asked.lengths:
        shortest, longest = map(int, span.split("-"))
        within = [r for r in records if shortest <= len(r.sequence) <= longest][: asked.n]
        if within:
            measure(asked, encoder, within)
        else:
            print(f"\nno protein of {span} residues")


if __name__ == "__main__":
    main()
