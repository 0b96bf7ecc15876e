"""What stands below the program's lines, on one terminal looked at closely."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import struct
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resumable._report.terminal.drawing import Shown
from resumable._report.terminal.screen import screen_of
from tests.support.terminal import ROWS, Finished


class Tty(io.TextIOWrapper):
    """A stream on a pseudo-terminal's end."""


@pytest.fixture
def tty(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Tty, int]]:
    monkeypatch.setenv("TERM", "xterm")
    outer, inner = os.openpty()
    stream = Tty(os.fdopen(inner, "wb", buffering=0), encoding="utf-8", write_through=True)
    yield stream, outer
    stream.close()
    os.close(outer)


def line(text: str) -> Callable[[int], list[Shown]]:
    return lambda width: [Shown(text, len(text))]


def shown_on(outer: int, width: int = 80) -> list[str]:
    return Finished(read_all(outer), 0, width).screen


def read_all(outer: int) -> str:
    written = b""
    while select.select([outer], [], [], 0.1)[0]:
        written += os.read(outer, 1 << 16)
    return written.decode()


def test_owners_stand_below_each_other_and_the_text_above(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    screen = screen_of(stream)
    assert screen_of(stream) is screen

    screen.put("one", line("first"))
    screen.put("two", line("second"))
    stream.write("text\n")
    screen.drop("two", "the end of two")
    stream.write("more\n")

    assert shown_on(outer) == ["text", "the end of two", "more", "", "", "first"]


def test_an_unfinished_line_goes_on_where_it_was(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    screen = screen_of(stream)
    screen.put("one", line("bar"))

    for piece in ("10", "%", " done", "\r99%"):
        stream.write(piece)
        screen.put("one", line("bar"))
    stream.write("\n")
    screen.drop("one")

    assert shown_on(outer) == ["99% done"]


def test_the_echo_of_ctrl_c_has_a_line_of_its_own(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 50, 0, 0))
    screen = screen_of(stream)

    screen.put("one", lambda width: [Shown("=" * width, width)])
    os.write(stream.fileno(), b"^C")  # as the terminal itself does
    screen.write_now(b"stopping\n")
    screen.drop("one")

    assert shown_on(outer, 50) == ["^C", "stopping"]


def test_what_was_written_before_stays(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    stream.write("before, ")
    screen = screen_of(stream)

    screen.put("one", line("bar"))
    stream.write("after\n")
    screen.put("one", line("bar"))
    screen.drop("one")

    assert shown_on(outer) == ["before, after"]


@pytest.mark.parametrize("rows_above", [0, 20, ROWS])
def test_what_others_write_begins_above_and_stays(rows_above: int, tty: tuple[Tty, int]) -> None:
    """Another program, a prompt, and what a person types: none of it passes through this process."""
    stream, outer = tty
    screen = screen_of(stream)
    stream.write("above\n" * rows_above)
    bar: Callable[[int], list[Shown]] = lambda width: [Shown("=" * width, width), Shown("below", 5)]  # noqa: E731

    screen.put("one", bar)
    os.write(stream.fileno(), b"from another program\r\n")
    screen.put("one", bar)
    os.write(stream.fileno(), b"your name? ")
    screen.put("one", bar)
    os.write(stream.fileno(), b"Ann\r\n")
    stream.write("hello\n")
    screen.put("one", bar)
    screen.drop("one", "the end")

    told = ["from another program", "your name? Ann", "hello", "the end"]
    assert shown_on(outer) == ["above"] * rows_above + told


def test_a_terminal_that_keeps_no_place_shows_all_in_its_row(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    screen = screen_of(stream)
    bar: Callable[[int], list[Shown]] = lambda width: [Shown("=" * 20, 20), Shown("below", 5)]  # noqa: E731

    screen.put("one", bar)
    for number in range(40):
        stream.write(f"line {number}\n" if number % 3 else f"line {number},")
        screen.put("one", bar)
        screen.put("one", bar)
    known = re.sub(r"\x1b[^\[]", "", read_all(outer))
    screen.drop("one")

    lines = "".join(f"line {number}\n" if number % 3 else f"line {number}," for number in range(40)).splitlines()
    shown = Finished(known, 0, 80).screen
    assert [line for line in shown if line] == [*lines, "=" * 20, "below"]


def test_a_row_that_the_program_writes_over_stays(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    screen = screen_of(stream)
    screen.put("one", line("bar"))

    for percent in (98, 99, 100):
        stream.write(f"at {percent}%\r")
        screen.put("one", line("bar"))
    screen.drop("one", "the end")

    assert shown_on(outer) == ["at 100%", "the end"]


def test_what_a_signal_handler_says_begins_a_line(tty: tuple[Tty, int]) -> None:
    stream, outer = tty
    screen = screen_of(stream)
    screen.put("one", line("bar"))
    stream.write("half a li")

    screen.write_now(b"stopping\n")
    screen.drop("one")

    assert shown_on(outer) == ["half a li", "stopping"]


def test_streams_are_as_before_once_nothing_stands(tty: tuple[Tty, int]) -> None:
    stream, _ = tty
    screen = screen_of(stream)

    screen.put("one", line("bar"))
    assert "write" in vars(stream.buffer)
    screen.drop("one")

    assert "write" not in vars(stream.buffer)


def test_a_file_that_takes_the_place_of_the_terminal_gets_no_bar(tty: tuple[Tty, int], tmp_path: Path) -> None:
    stream, _ = tty
    screen = screen_of(stream)
    screen.put("one", line("bar"))

    with open(tmp_path / "log", "wb") as log:
        os.dup2(log.fileno(), stream.fileno())
    stream.write("text\n")

    screen.put("one", line("bar 2"))
    screen.drop("one")

    assert (tmp_path / "log").read_text() == "text\n"


def test_a_terminal_without_escapes_shows_one_line_and_gets_none(
    tty: tuple[Tty, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    stream, outer = tty
    screen = screen_of(stream)

    screen.put("one", line("a long first line"))
    screen.put("two", line("second"))
    stream.write("text\n")
    stream.write("half")
    screen.put("two", line("third"))
    stream.write(" a line\n")
    screen.drop("two")
    screen.drop("one", "end")

    written = read_all(outer)
    assert "\x1b" not in written
    assert Finished(written, 0, 80).screen == ["text", "half a line", "end"]


def test_a_write_from_within_a_write_follows_it(tty: tuple[Tty, int]) -> None:
    """A signal handler prints while the screen writes."""
    stream, outer = tty
    screen = screen_of(stream)

    def render(width: int) -> list[Shown]:
        if not is_within:
            is_within.append(True)
            screen.write_now(b"from the handler\n")
        return [Shown("bar", 3)]

    is_within: list[bool] = []
    screen.put("one", render)
    screen.drop("one", "end")

    assert shown_on(outer) == ["from the handler", "end"]
