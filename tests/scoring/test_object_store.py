"""Inputs and score folders in an object store: a real server, and pyarrow's own client of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from s3_server import s3_server
from scoring_fakes import FakeBundle, FakeEncoder, contents, proteome, table, write_fasta

from plmsae.core.errors import InputError, NotFoundError
from plmsae.core.folders import copy_files
from plmsae.core.object_store import filesystem, split
from plmsae.proteins.reading import read_proteins
from plmsae.scoring.engine import score
from plmsae.scoring.export import export
from plmsae.scoring.feature_files import read_latents
from plmsae.scoring.folder import ScoreFolder


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as location:
        yield location


@pytest.fixture
def fasta(tmp_path: Path) -> Path:
    return write_fasta(tmp_path / "proteome.fasta", proteome())


def run(source: Path | str, out: Path | str, **changed: Any) -> Any:
    arguments: dict[str, Any] = {
        "bundle": FakeBundle(),
        "encoder": FakeEncoder(),
        "model_uri": "fake/1",
        "part_residues": 400,
        "write_features": True,
    }
    return score(source, out=out, **(arguments | changed))


def stored(location: str, target: Path) -> dict[str, bytes]:
    """Every object of a score folder but the times."""
    folder = ScoreFolder(location).files
    copy_files(folder, [name for name, _ in folder.children()], target)
    return contents(target)


def put(location: str, content: bytes) -> None:
    name, path = split(location)
    with filesystem(name).open_output_stream(path) as handle:
        handle.write(content)


def test_an_object_is_read_like_a_file(bucket: str, fasta: Path) -> None:
    put(f"{bucket}/in/proteome.fasta", fasta.read_bytes())
    here, there = (list(read_proteins(s)) for s in (fasta, f"{bucket}/in/proteome.fasta"))
    assert [p.accession for p in there] == [p.accession for p in here]
    with pytest.raises(NotFoundError, match=r"s3://proteomes/in/none.fasta: no such object"):
        list(read_proteins(f"{bucket}/in/none.fasta"))
    with pytest.raises(InputError, match="names no bucket"):
        list(read_proteins("s3://"))


def test_a_run_stores_the_bytes_that_it_writes_to_a_disk(
    bucket: str, fasta: Path, tmp_path: Path
) -> None:
    put(f"{bucket}/run1/proteome.fasta", fasta.read_bytes())
    here = run(fasta, tmp_path / "out")
    there = run(f"{bucket}/run1/proteome.fasta", f"{bucket}/run1/out")
    assert there == here
    assert stored(f"{bucket}/run1/out", tmp_path / "copy") == contents(tmp_path / "out")


def test_what_reads_score_folders_reads_them_there(
    bucket: str, fasta: Path, tmp_path: Path
) -> None:
    run(fasta, tmp_path / "out")
    run(fasta, f"{bucket}/run2")
    for format in ("gff3", "tsv"):
        targets = [tmp_path / f"{place}.{format}" for place in ("here", "there")]
        export(tmp_path / "out", format, targets[0])
        export(f"{bucket}/run2", format, targets[1])
        assert targets[0].read_bytes() == targets[1].read_bytes()
    one, two = (
        read_latents(ScoreFolder(at), [3, 18]) for at in (tmp_path / "out", f"{bucket}/run2")
    )
    assert one.equals(two)
    assert one.num_rows > 0
    with ScoreFolder(f"{bucket}/run2").on_disk() as copy:
        assert table(copy, "annotations").equals(table(tmp_path / "out", "annotations"))
        assert not (copy / "features").exists()


def test_only_missing_parts_are_scored_again(bucket: str, fasta: Path, tmp_path: Path) -> None:
    where = f"{bucket}/run3"
    whole = run(fasta, where)
    before = stored(where, tmp_path / "before")
    folder = ScoreFolder(where).files
    folder.remove("manifest.json")
    folder.remove("proteins/part-00001.parquet")
    folder.remove("parts/00002.json")
    encoder = FakeEncoder()
    assert run(fasta, where, encoder=encoder) == whole
    parts = [before[f"proteins/part-{i:05d}.parquet"] for i in (1, 2)]
    again = sum(pl.read_parquet(part).height for part in parts)
    assert len(encoder.encoded) == again > 0
    assert stored(where, tmp_path / "after") == before
    with pytest.raises(InputError, match=r"another run: its model_uri.*fake/1.*fake/2"):
        run(fasta, where, model_uri="fake/2")
    run(fasta, where, model_uri="fake/2", resume=False, write_features=False)
    assert not any(name.startswith("features") for name in stored(where, tmp_path / "fresh"))


def test_what_is_not_ours_is_refused_and_left_alone(bucket: str, fasta: Path) -> None:
    put(f"{bucket}/run4/thesis.doc", b"mine")
    for resume in (True, False):
        with pytest.raises(InputError, match=r"something else than a score run.*thesis.doc"):
            run(fasta, f"{bucket}/run4", resume=resume)
    with ScoreFolder(f"{bucket}/run4").open("thesis.doc") as handle:
        assert handle.read() == b"mine"
    with pytest.raises(NotFoundError, match="no such score folder"):
        ScoreFolder(f"{bucket}/nothing").manifest()
    with pytest.raises(InputError, match=r"s3://no-such-bucket/run: "):
        run(fasta, "s3://no-such-bucket/run")


KILL = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from plmsae.core import folders
from test_object_store import run
left, stored = int(sys.argv[3]), folders.ObjectFolder._path
def dying(self, name=""):
    global left
    left -= bool(name)
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return stored(self, name)
folders.ObjectFolder._path = dying
run(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("stop", [4, 20, 40])
def test_a_killed_run_leaves_whole_objects_and_goes_on(
    bucket: str, fasta: Path, tmp_path: Path, stop: int
) -> None:
    where, tests = f"{bucket}/killed{stop}", Path(__file__).parent
    command = [sys.executable, "-c", KILL, str(fasta), where, str(stop), str(tests)]
    killed = subprocess.run(command, capture_output=True, timeout=120, cwd=tests.parents[1])
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    left = stored(where, tmp_path / "left")
    assert "manifest.json" not in left
    run(fasta, where)
    run(fasta, tmp_path / "whole")
    found = stored(where, tmp_path / "found")
    assert found == contents(tmp_path / "whole")
    assert {name: found[name] for name in left} == left


def test_ray_s_workers_store_there_too(bucket: str, fasta: Path, tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="the Ray engine is an extra: pip install 'plmsae[ray]'")
    from plmsae.scoring.executors.ray import make

    run(fasta, tmp_path / "local")
    with pytest.MonkeyPatch.context() as patch:
        here = str(Path(__file__).parent)
        paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            run(fasta, f"{bucket}/ray", executor=make(workers=2))
        finally:
            ray.shutdown()
    assert stored(f"{bucket}/ray", tmp_path / "copy") == contents(tmp_path / "local")


@pytest.mark.slow
def test_the_commands_take_locations(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from plmsae.cli.app import run as plmsae

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    fasta = write_fasta(tmp_path / "in.fasta", proteome(6, bad=False))
    put(f"{bucket}/cli/in.fasta", fasta.read_bytes())
    given = ["--features", "--format", "gff3", "--json", "--device", "cpu"]
    assert plmsae(["score", f"{bucket}/cli/in.fasta", "-o", f"{bucket}/cli/out", *given]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["folder"] == f"{bucket}/cli/out"
    assert said["n_scored"] == 6
    assert said["exported"] == "runs/out-annotations.gff3"
    assert said["quality"]["annotations"]
    assert plmsae(["export", f"{bucket}/cli/out", "-o", "again.gff3"]) == 0
    assert Path("again.gff3").read_bytes() == Path(said["exported"]).read_bytes()
    latent = read_some_latent(f"{bucket}/cli/out")
    assert plmsae(["features", f"{bucket}/cli/out", "--latent", str(latent), "--json"]) == 0
    capsys.readouterr()
    assert plmsae(["validate", f"{bucket}/cli/out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "annotations"
    assert plmsae(["validate", f"{bucket}/cli/in.fasta", "--json"]) == 0
    # Nothing was taken for a path here.
    assert not list(tmp_path.glob("s3:*"))


def read_some_latent(location: str) -> int:
    (name, *_) = ScoreFolder(location).names("features")
    with ScoreFolder(location).open(f"features/{name}") as handle:
        return int(pl.read_parquet(handle.read())["latent"][0])
