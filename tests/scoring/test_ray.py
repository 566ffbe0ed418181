"""The Ray engine writes what the local engine writes, also when a worker dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scoring_fakes import FakeBundle, FakeEncoder, contents, proteome, write_fasta

from plmsae.core.errors import InputError, ResourceError
from plmsae.scoring.engine import score
from plmsae.scoring.executor import open_executor
from plmsae.scoring.executors.ray import make

ray = pytest.importorskip("ray", reason="the Ray engine is an extra: pip install 'plmsae[ray]'")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray with two processors, whose workers find this folder's modules."""
    here = str(Path(__file__).parent)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *([before] if before else [])])
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        yield
    finally:
        ray.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "proteome.fasta", proteome())


def run(source: Path, out: Path, **changed: Any) -> Any:
    arguments: dict[str, Any] = {
        "bundle": FakeBundle(),
        "encoder": FakeEncoder(),
        "model_uri": "fake/1",
        "part_residues": 200,
    }
    return score(source, out=out, **(arguments | changed))


@dataclass(kw_only=True)
class DyingEncoder(FakeEncoder):
    """Kills its process the first `times` times that it is used."""

    notes: Path
    times: int = 1

    def encode(self, sequences: Sequence[str]) -> Any:
        so_far = len(list(self.notes.iterdir()))
        if so_far < self.times:
            (self.notes / str(so_far)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(sequences)


# Before the cluster is started, which all tests below share.
def test_a_cluster_that_is_not_there_is_named(fasta: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Ray cluster can be reached"):
        run(fasta, tmp_path / "ray", executor=make(address="127.0.0.1:1"))


@pytest.mark.usefixtures("cluster")
def test_two_workers_write_what_one_process_writes(fasta: Path, tmp_path: Path) -> None:
    here = run(fasta, tmp_path / "local", write_features=True)
    there = run(fasta, tmp_path / "ray", write_features=True, executor=make(workers=2))
    assert there == here
    assert here.n_parts > 4
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_a_part_whose_worker_is_killed_is_scored_again(fasta: Path, tmp_path: Path) -> None:
    run(fasta, tmp_path / "local")
    (tmp_path / "notes").mkdir()
    dying = DyingEncoder(notes=tmp_path / "notes")
    run(fasta, tmp_path / "ray", encoder=dying, executor=make(workers=2))
    assert len(list((tmp_path / "notes").iterdir())) == 1
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_workers_that_die_again_and_again_stop_the_run_which_resumes(
    fasta: Path, tmp_path: Path
) -> None:
    run(fasta, tmp_path / "local")
    (tmp_path / "notes").mkdir()
    dying = DyingEncoder(notes=tmp_path / "notes", times=10**6)
    with pytest.raises(ResourceError, match="died 4 times"):
        run(fasta, tmp_path / "ray", encoder=dying, executor=make(workers=1))
    run(fasta, tmp_path / "ray")
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


@pytest.mark.usefixtures("cluster")
def test_an_error_of_a_worker_reaches_the_user_as_it_was_raised(
    tmp_path: Path,
) -> None:
    fasta = write_fasta(tmp_path / "in.fasta", [*proteome(9, bad=False), ("Z", "ACZ")])
    with pytest.raises(InputError, match="the vocabulary lacks Z") as raised:
        run(fasta, tmp_path / "local", strict=True)
    with pytest.raises(InputError) as there:
        run(fasta, tmp_path / "ray", strict=True, executor=make(workers=2))
    assert str(there.value) == str(raised.value)


@pytest.mark.usefixtures("cluster")
def test_more_workers_than_processors_are_refused_instead_of_waited_for(
    fasta: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="has 2 processors"):
        run(fasta, tmp_path / "ray", executor=make(workers=9))


def test_an_address_belongs_to_ray_only() -> None:
    with pytest.raises(InputError, match="one process"):
        open_executor("local", address="auto")
    with pytest.raises(InputError, match="one worker or more"):
        open_executor("ray", workers=0)
