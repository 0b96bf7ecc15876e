"""Tables for terminals of any width: an id is never shortened, and no column is lost but as a whole."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from resumable.cli._screens import filled_lines, table_with_tail

COLUMNS = ("OPERATION", "STATE", ">DONE", ">", ">LEFT", ">LAST SAVE", "PLACE")
PLACE = "postgresql://user@host:5432/database"
ROWS: list[tuple[Text, Text, str, str, str, str]] = [
    (
        Text("crawl of prebid/Prebid.js and all that hangs on it"),
        Text("! incomplete"),
        "9,999/10,000",
        "99%",
        "",
        "2 d",
    ),
    (Text("b"), Text("> running"), "1/10", "10%", "3 d", "just now"),
]


def shown(width: int, tail: str = PLACE) -> list[str]:
    output = io.StringIO()
    console = Console(file=output, width=width, color_system=None)
    console.print(table_with_tail(console, COLUMNS, [(*row, Text(tail)) for row in ROWS]))
    return output.getvalue().splitlines()


@pytest.mark.parametrize("width", [50, 60, 72, 80, 100, 120, 200])
def test_no_id_and_no_tail_is_shortened(width: int) -> None:
    lines = shown(width)

    assert max(map(len, lines)) <= width
    at = lines[0].index("STATE")
    names = "".join(line[:at] for line in lines[1:])
    assert "".join(names.split()) == "".join("".join(row[0].plain for row in ROWS).split())
    assert "…" not in "".join(lines)
    assert ("PLACE" in lines[0]) == (width >= 72)
    if "PLACE" in lines[0]:
        at = lines[0].index("PLACE")
        assert "".join(line[at:].strip() for line in lines[1:]) == PLACE * 2


def test_a_short_table_has_all_its_columns() -> None:
    assert shown(200)[0].split() == ["OPERATION", "STATE", "DONE", "LEFT", "LAST", "SAVE", "PLACE"]


def test_lines_end_between_two_things_that_are_said() -> None:
    parts = ["last item just now", "", "9/s", "process 19215 on vm"]

    assert filled_lines(parts, 30) == "last item just now  9/s\nprocess 19215 on vm"
    assert filled_lines([], 30) == ""
