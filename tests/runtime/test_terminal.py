"""What a terminal understands, and how workers write above the lines of their parent."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable

import pytest

from resumable._runtime import terminal


@pytest.mark.skipif(os.name == "nt", reason="Windows has no TERM")
@pytest.mark.parametrize(("name", "understands"), [("xterm-256color", True), ("dumb", False), ("", False)])
def test_a_dumb_terminal_takes_no_escape_sequences(
    name: str, understands: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", name)

    assert terminal.understands_escapes() == understands


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_what_is_no_terminal_has_no_raw_file_to_catch(stream: object) -> None:
    assert terminal.raw_of(stream) is None


@pytest.mark.skipif(os.name == "nt", reason="no pseudo terminals")
def test_each_line_of_a_worker_erases_what_stands_below_but_no_half_line_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    outer, inner = os.openpty()
    with os.fdopen(inner, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        terminal.write_above_lines()
        terminal.write_above_lines()
        for text in ("one ", "line\n", "another\n"):
            print(text, end="", file=stream, flush=True)
        shown = b""
        while shown.count(b"\n") < 2:
            shown += os.read(outer, 1000)
    os.close(outer)

    erase = terminal.ERASE_BELOW
    assert shown.decode() == f"{erase}one line\r\n{erase}another\r\n"


@pytest.mark.parametrize("takes", [lambda data: 1, lambda data: 3, lambda data: len(data)], ids=["1", "3", "all"])
def test_all_is_written_however_little_is_taken_at_a_time(takes: Callable[[bytes], int]) -> None:
    written = bytearray()

    def write(data: bytes) -> int:
        count = min(takes(data), len(data))
        written.extend(data[:count])
        return count

    terminal.write_all(write, b"abcdefg")

    assert written == b"abcdefg"


def test_a_terminal_that_takes_no_more_ends_the_write() -> None:
    terminal.write_all(lambda data: None, b"abc")
