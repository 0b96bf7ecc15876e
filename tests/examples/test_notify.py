"""The page on webhooks, Slack and e-mail, against servers that listen on this machine."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from examples.guide.notify import notify
from resumable import checkpointed


class Web(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """A test prints nothing."""


class Mail(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            if line.upper().startswith(b"DATA"):
                self.wfile.write(b"354 go on\r\n")
                self.server.mails.append(b"".join(iter(self.rfile.readline, b".\r\n")).decode())  # type: ignore[attr-defined]
            self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 ok\r\n")


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[list[dict[str, str]], list[str]]]:
    web, mail = HTTPServer(("127.0.0.1", 0), Web), socketserver.TCPServer(("127.0.0.1", 0), Mail)
    web.posted, mail.mails = [], []  # type: ignore[attr-defined]
    for server in (web, mail):
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("WEBHOOK_URL", f"http://127.0.0.1:{web.server_address[1]}/")
    monkeypatch.setenv("SLACK_URL", f"http://127.0.0.1:{web.server_address[1]}/slack")
    monkeypatch.setenv("SMTP_HOST", f"127.0.0.1:{mail.server_address[1]}")
    monkeypatch.setenv("MAIL_TO", "me@example.org")
    yield web.posted, mail.mails  # type: ignore[attr-defined]
    for server in (web, mail):
        server.shutdown()
        server.server_close()


def test_all_three_are_told_of_an_end(
    servers: tuple[list[dict[str, str]], list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    posted, mails = servers

    with checkpointed("notified", on_event=notify) as cp:
        for _ in cp.remaining(range(3)):
            pass

    hook, slack = posted
    assert (hook["name"], hook["operation_id"], hook["processed_items"]) == ("done", "notified", 3)
    assert slack == {"text": "notified: done at 3 "}
    assert mails[0].startswith("Subject: notified: done at 3")


def test_a_server_that_is_not_there_does_no_harm(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:9/")

    with checkpointed("notified", on_event=notify) as cp:
        assert list(cp.remaining(range(3))) == [0, 1, 2]

    assert "on_event notify failed: URLError" in caplog.text
