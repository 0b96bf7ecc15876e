"""Draws lines below the program's own text and removes them again, with escape sequences or without.

The cursor stays at the end of the program's text, above the lines. Prompts, input and the output of other programs
appear there. Redrawn lines begin below the cursor, wherever it has moved. One row in between stays free: after a kill,
the shell prints "Killed" and its prompt there.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple, Protocol

from ..._runtime.terminal import ERASE_BELOW
from .bar import cells

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([@-~])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[^\[\]]|[\r\n]")
_MOST_ROWS = 200
_DOWN_OR_SCROLL, _BACK_UP, _KEEP, _RETURN = "\x1bD", "\x1bM", "\x1b7", "\x1b8"
"""A simple terminal ignores all four. Other moves bring the cursor to its place there, too."""
_KNOWS_INDEX = os.name != "nt"  # Windows 10 supports all but the first
_ERASE_RIGHT = "\x1b[K"


class Shown(NamedTuple):
    """One line: its text with colours, and its width."""

    text: str
    cells: int


class Cursor:
    """The position of the program's own text: its column, and how many of its rows are below."""

    def __init__(self) -> None:
        self.column = self.below = 0
        self.is_known = False  # earlier output may not have ended its line
        self._end = 0  # end of the text in the lowest row

    @property
    def is_at_start(self) -> bool:
        """Whether it is in an empty row, the lowest one."""
        return not self.column and not self.below and not self._end

    def is_at_end(self, width: int) -> bool:
        """Whether no text of the program is to the right or below, and a character fits into its row."""
        return not self.below and self._end <= self.column < width

    def follow(self, text: str, width: int) -> None:
        """Follow *text*, which was written."""
        if "\x1b" not in text and not self.below:
            line = text.rpartition("\n")
            if line[1]:
                self.column = self._end = 0
                self.is_known = True
            self._to_the_right(line[2], width)
            return
        end = 0
        for token in _TOKEN.finditer(text):
            self._to_the_right(text[end : token.start()], width)
            end = token.end()
            self._move(token)
        self._to_the_right(text[end:], width)

    def _move(self, token: re.Match[str]) -> None:
        number = int(token[1]) if token[1] and token[1].isdigit() else 1
        match token[2] or token[0]:
            case "\n":
                self._end = self._end if self.below else 0
                self.column, self.below = 0, max(0, self.below - 1)
            case "B":
                self.below = max(0, self.below - number)
            case "\r":
                self.column = 0
            case "A":
                self.below = min(self.below + number, _MOST_ROWS)
            case "G":
                self.column = number - 1
            case "H" | "f":
                self.column = self.below = self._end = 0
            case "J" | "K" if not self.below:
                self._end = 0 if token[1] == "2" else min(self._end, self.column)

    def _to_the_right(self, text: str, width: int) -> None:
        for number, part in enumerate(text.split("\r")):
            column = (0 if number else self.column) + cells(part)
            if column > width:
                column = self._end = (column - 1) % width + 1
            self.column = column
            if not self.below:
                self._end = max(self._end, column)


class Drawing(Protocol):
    """Draws lines, and removes them."""

    def draw(self, lines: list[Shown], text: Cursor, width: int) -> str:
        """The output that shows *lines* instead of the present ones, with *text* unchanged. At least one line."""
        ...

    def erase(self, text: Cursor, width: int) -> str:
        """The output that removes the lines; the cursor is then at the end of the program's text."""
        ...

    def new_line(self, text: Cursor, width: int) -> str:
        """The output that begins a line, after :meth:`erase`; nothing is overwritten."""
        ...


class Below:
    """Draws by escape sequences."""

    def __init__(self) -> None:
        self._stands = False

    def draw(self, lines: list[Shown], text: Cursor, width: int) -> str:
        room = self._room(text, text.below + 1 + len(lines), width)
        self._stands = True
        # When another program has moved the cursor into a line, the rest of that line is no text.
        rest = _ERASE_RIGHT if text.is_at_end(width) else ""
        below = f"{_ERASE_RIGHT}\r\n".join(["", *(line.text for line in lines)])
        return f"{rest}{room}" + _aside(text, f"{below}{_ERASE_RIGHT}{ERASE_BELOW}", len(lines))

    def _room(self, text: Cursor, rows: int, width: int) -> str:
        """The output that makes *rows* free below the text, even at the end of the screen."""
        if not self._stands and (not _KNOWS_INDEX or (text.is_known and text.column < width)):
            return "\n" * rows + _up(rows) + _to_column(text.column)
        # Other programs may have moved the cursor, or a row is full: only the terminal knows its position.
        return _DOWN_OR_SCROLL * rows + _BACK_UP * rows if _KNOWS_INDEX else ""

    def erase(self, text: Cursor, width: int) -> str:
        if not self._stands:
            return ""
        self._stands = False
        return ERASE_BELOW if text.is_at_end(width) else _aside(text, ERASE_BELOW, 0)

    def new_line(self, text: Cursor, width: int) -> str:
        if not text.is_at_start:
            return "\n"
        # If the cursor is in the first column, these spaces fill its row; otherwise they run over into the next one.
        return f"{' ' * width}\r{ERASE_BELOW}"


class InOneRow:
    """Draws without escape sequences: one line, in an empty row, overwritten by the next."""

    def __init__(self) -> None:
        self._cells = 0

    def draw(self, lines: list[Shown], text: Cursor, width: int) -> str:
        line = lines[-1]
        before, self._cells = self._cells, line.cells
        return f"\r{line.text}{' ' * (before - line.cells)}"

    def erase(self, text: Cursor, width: int) -> str:
        before, self._cells = self._cells, 0
        return f"\r{' ' * before}\r" if before else ""

    def new_line(self, text: Cursor, width: int) -> str:
        return "" if text.is_at_start else "\n"


def _aside(text: Cursor, what: str, rows: int) -> str:
    """The output that writes *what* below *text*, and returns the cursor; writing moves it down by *rows* rows.

    It moves back first, then restores the saved position: not every terminal can save one.
    """
    down = text.below + 1
    return f"{_KEEP}{_down(down)}\r{what}{_up(down + rows)}{_to_column(text.column)}{_RETURN}"


def _to_column(column: int) -> str:
    return f"\x1b[{column + 1}G"


def _up(rows: int) -> str:
    return f"\x1b[{rows}A" if rows > 0 else ""


def _down(rows: int) -> str:
    return f"\x1b[{rows}B" if rows > 0 else ""
