"""A server that speaks S3, in a process of its own, and a bucket on it."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from plmsae.core.object_store import filesystem

BUCKET = "proteomes"


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """Serve S3 with one bucket and the environment set for it; give the bucket's location."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("moto, which serves S3 for tests, is not installed")
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    log = folder / "s3.log"
    with log.open("wb") as handle, pytest.MonkeyPatch.context() as patch:
        server = subprocess.Popen(command, stdout=handle, stderr=handle)
        try:
            for _ in range(600):
                assert server.poll() is None, log.read_text()
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
            filesystem.cache_clear()
            from pyarrow.fs import S3FileSystem

            client = S3FileSystem(
                scheme="http", endpoint_override=f"127.0.0.1:{port}", allow_bucket_creation=True
            )
            client.create_dir(BUCKET)
            yield f"s3://{BUCKET}"
        finally:
            server.kill()
            server.wait()
            filesystem.cache_clear()
