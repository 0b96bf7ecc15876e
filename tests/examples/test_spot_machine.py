"""The page on spot machines: a run in S3 goes on after a kill, and after its machine has said that it will be taken."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from examples.guide import spot_machine
from resumable import read
from tests.examples.test_guide import KILL, ROOT
from tests.support.media import place_in

pytestmark = pytest.mark.slow


class Metadata(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self._answer(200, b"token")

    def do_GET(self) -> None:
        is_ours = self.headers["X-aws-ec2-metadata-token"] == "token"
        self._answer(200 if is_ours and self.server.takes_it else 404, b"{}")  # type: ignore[attr-defined]

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """A test prints nothing."""


@pytest.fixture
def metadata() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Metadata) as server:
        server.takes_it = True  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_the_next_machine_goes_on(metadata: HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHECKPOINT_STORE", place_in("moto", tmp_path))
    address = f"http://127.0.0.1:{metadata.server_address[1]}"
    command = [sys.executable, "-c", KILL, "examples.guide.spot_machine", f"main({address!r}, 60)"]
    metadata.takes_it = False  # type: ignore[attr-defined]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, env=environ, capture_output=True, timeout=300).returncode == 9
    metadata.takes_it = True  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as stopped:
        spot_machine.main(address, 0.01)
    assert stopped.value.code == 143
    metadata.takes_it = False  # type: ignore[attr-defined]
    saved = read("on a spot machine").collections["squares"]
    assert len(saved) < 100

    assert spot_machine.main(address, 60) == sum(number * number for number in range(100))
