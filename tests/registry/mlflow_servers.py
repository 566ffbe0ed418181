"""Real servers for tests: `mlflow server`, PostgreSQL; and a model that can be scored.

Names of their processes are never searched for: each is stopped by its own process group.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import torch
from safetensors.torch import save_file
from tiny_bundle import tiny_concepts, tiny_features, tiny_meta

from plmsae.bundle.reading import Bundle
from plmsae.bundle.writing import write_bundle
from plmsae.core.atomic import write_json


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


class Server:
    """`mlflow server` on a port of its own, with artifacts over HTTP; may be killed."""

    def __init__(self, folder: Path, backend: str, *extra: str) -> None:
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"),
            *("--port", str(self.port), "--workers", "1", "--backend-store-uri", backend),
            *("--artifacts-destination", str(folder / "artifacts"), *extra),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        environment.pop("MLFLOW_TRACKING_URI", None)
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )
        for _ in range(240):
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.5)
        pytest.fail(f"no mlflow server: {(self._folder / 'server.log').read_text()[-2000:]}")

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):  # It ended by itself.
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def serving(folder: Path, backend: str, *extra: str) -> Iterator[Server]:
    folder.mkdir(parents=True, exist_ok=True)
    server = Server(folder, backend, *extra)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def losing_answers(server: Server) -> Iterator[tuple[str, list[str]]]:
    """Put a proxy before a server that passes on everything, and loses one answer: of the first
    version that is created. Yield its address and the paths whose answer was lost."""
    lost: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {k: v for k, v in self.headers.items() if k.lower() != "host"}
            answer = requests.request(
                self.command, server.uri + self.path, headers=headers, data=body, timeout=60
            )
            if self.path.endswith("/model-versions/create") and not lost:
                lost.append(self.path)
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers.get("Content-Type", ""))
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}", lost
    finally:
        proxy.shutdown()
        proxy.server_close()


def _postgres_program(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(places[-1]) if places else None
    return str(Path(found).resolve())


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL of its own; yield the URI of an empty database. Skip where there is none."""
    initdb, server = (_postgres_program(name) for name in ("initdb", "postgres"))
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed")
    psycopg = pytest.importorskip("psycopg", reason="psycopg, a driver for PostgreSQL, is missing")
    # Not in the folder of the test: another user cannot enter that.
    with tempfile.TemporaryDirectory(prefix="plmsae-postgres-") as name:
        folder, user = Path(name), None
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root.
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
            user = owner.pw_name
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        with _postgres_process(initdb, server, folder, user) as port:
            for _ in range(120):
                try:
                    psycopg.connect(
                        host="127.0.0.1", port=port, user="plmsae", dbname="postgres"
                    ).close()
                    break
                except psycopg.OperationalError:
                    time.sleep(0.5)
            yield f"postgresql://plmsae@127.0.0.1:{port}/postgres"


@contextmanager
def _postgres_process(initdb: str, server: str, folder: Path, user: str | None) -> Iterator[int]:
    data, port = folder / "data", free_port()
    subprocess.run(
        [initdb, "-D", str(data), "-U", "plmsae", "--auth=trust", "--no-sync"],
        user=user, cwd=folder, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    process = subprocess.Popen(
        [server, "-D", str(data), "-p", str(port), "-k", str(folder), "-h", "127.0.0.1", "-F"],
        user=user, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield port
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def scorable_bundle(folder: Path, **changes: object) -> Bundle:
    """Write a bundle that calls something: random directions of plmsae-mini, all active."""
    from plmsae.plm.model import load_plm

    plm = load_plm("plmsae-mini", device="cpu", max_layer=1)
    n, generator = 6, torch.Generator().manual_seed(0)
    decoder_FD = torch.randn(n, plm.d_model, generator=generator)
    tensors = {
        "W_enc": decoder_FD.T.contiguous(),
        "W_dec": decoder_FD,
        "b_enc": torch.full((n,), 1000.0),  # above 0 for every residue
        "b_dec": torch.zeros(plm.d_model),
    }
    sae = folder / "sae"
    sae.mkdir(parents=True)
    save_file(tensors, sae / "sae_weights.safetensors")
    shape = {"d_in": plm.d_model, "d_sae": n, "k": n}
    write_json(sae / "cfg.json", {"architecture": "topk", **shape})
    meta = {"layer": 1, "plm_revision": plm.revision, "plm_vocabulary": plm.vocabulary.fingerprint}
    return write_bundle(
        folder / "bundle",
        sae_folder=sae,
        meta=tiny_meta(**meta, **shape, **changes),
        features=tiny_features(),
        concepts=tiny_concepts(),
    )
