"""``report``: a page or a picture, written by the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from resumable.cli._commands import commands
from tests.support.crawled import crawl


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
