"""``report``: a page or a picture, written by the command."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from resumable import (
    CheckpointManager,
    checkpointed,
    every,
)
from resumable.cli._commands import commands
from resumable.testing import ManualClock

HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[31m\"'&"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def crawl(operation_id: str = "crawl") -> None:
    """Three runs: one ended by an error, one by Ctrl-C, one by waits and failed items."""
    clock = ManualClock(datetime(2026, 11, 20, 8, tzinfo=UTC))
    manager = CheckpointManager("ck", every(items=25), auto_cleanup=False, clock=clock)
    for stop, error in ((100, ConnectionError(HOSTILE)), (250, KeyboardInterrupt()), (400, None)):
        try:
            with checkpointed(operation_id, manager=manager, arguments={"repo": HOSTILE}) as cp:
                for number in cp.remaining(range(400)):
                    clock.advance(2)
                    if number == stop and error is not None:
                        raise error
                    if number == 300:
                        fresh = clock.utc().timestamp() + 500
                        cp.observe(remaining=0, limit=5000, reset_at=fresh, host=HOSTILE)
                    if number == 350:
                        cp.fail(number, HOSTILE)
        except (ConnectionError, KeyboardInterrupt):
            clock.advance(36_000)


def resumable(*arguments: str) -> Any:
    return CliRunner().invoke(commands, [*arguments, "--dir", "ck"], catch_exceptions=False)


@pytest.mark.slow
def test_the_command_writes_html_or_a_picture() -> None:
    crawl("a/b")

    assert resumable("report", "a/b").exit_code == 0
    assert "<svg" in Path("a_b.html").read_text()
    assert '"bytes"' in resumable("report", "-o", "x.html", "--json").output
    assert resumable("report", "none").exit_code == 1
    assert "cannot write" in resumable("report", "-o", "no/x.html").output

    pytest.importorskip("matplotlib")
    assert resumable("report", "--png").exit_code == 0
    assert Path("a_b.png").read_bytes().startswith(b"\x89PNG")
