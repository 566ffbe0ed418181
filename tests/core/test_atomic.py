"""Writing whole or not at all: what is left behind, and who may read it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plmsae.core.atomic import atomic_folder, remove_temporaries


@pytest.fixture
def _group_may_read() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_group_may_read")
def test_a_folder_is_readable_for_whom_the_umask_lets_read(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    child = """
import os, sys
from pathlib import Path
from plmsae.core.atomic import atomic_path
with atomic_path(Path(sys.argv[1]) / "report.html") as path:
    path.write_text("half")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", child, str(tmp_path)], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name == f".report.{left.name.split('.')[2]}.tmp.html"
    kept = (f".report.{os.getpid()}.tmp.html", ".report.tmp.html", "report.1.tmp.html")
    for name in kept:
        (tmp_path / name).write_text("")
    remove_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    remove_temporaries(tmp_path / "nowhere")


def test_a_failed_block_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")

    def fail() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "a").write_text("2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (tmp_path / "out" / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_begun_by_a_killed_process_goes_with_the_next_one_written(tmp_path: Path) -> None:
    child = """
import os, sys
from pathlib import Path
from plmsae.core.atomic import atomic_folder
with atomic_folder(Path(sys.argv[1]) / "bundle") as folder:
    (folder / "a").write_text("half")
    os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", child, str(tmp_path)], check=False)
    assert done.returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".bundle.")
    kept = {f".bundle.{os.getpid()}-0123abcd.tmp", ".bundle.tmp", ".bundles.1-0123abcd.tmp"}
    for name in kept:
        (tmp_path / name).mkdir()
    with atomic_folder(tmp_path / "bundle") as folder:
        (folder / "a").write_text("1")
    assert {path.name for path in tmp_path.iterdir()} == kept | {"bundle"}
