"""Tables for terminals of any width: an id is never shortened, and no column is lost but as a whole."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from resumable._report.stored.wording import size
from resumable.cli._screens import filled_lines, table_with_tail
from tests.support.command import document, resumable, run

pytestmark = pytest.mark.usefixtures("place")
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


def test_a_row_tells_how_far_it_is_and_when_it_was_saved() -> None:
    run("stars", OSError(), items=3412, of=10000)
    run("stars", OSError(), items=3500, of=10000)

    cells = resumable("list").stdout.splitlines()[1].split()

    assert cells[:5] == ["stars", "✗", "failed", "3,500/10,000", "35%"]
    assert cells[-1] == "2"
    assert "just now" in " ".join(cells) or "s ago" in " ".join(cells)


def test_the_last_saved_comes_first_and_damaged_ones_at_the_end() -> None:
    Path(".checkpoint_a.json").write_text("no")
    for name in ("b", "c"):
        run(name, OSError())

    assert [row["operation_id"] for row in document("list")["checkpoints"]] == ["c", "b", "a"]


def test_an_id_cannot_steer_the_terminal_nor_the_layout() -> None:
    run("\x1b[31mred [bold]\n\u202eevil", OSError())

    output = resumable("list").stdout

    assert "\\x1b[31mred [bold]\\n\\u202eevil" in output
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_a_narrow_terminal_folds_ids_and_leaves_columns_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "44")
    name = "abcdefghij" * 5
    run(name, OSError())

    lines = resumable("list").stdout.splitlines()

    assert max(map(len, lines)) <= 44
    assert "LEFT" not in lines[0]
    assert "".join(line.split(" ")[0] for line in lines[1:]) == name


@pytest.mark.parametrize("command", [["list"], ["show", "stars"]])
def test_no_escape_codes_but_on_a_terminal_that_wants_them(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run("stars", OSError())
    assert "\x1b" not in resumable(*command).stdout

    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[" in resumable(*command).stdout

    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in resumable(*command).stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1200, "1.2 KB"), (999_700, "1.0 MB"), (35e6, "35 MB"), (2e15, "2,000 TB")],
)
def test_a_size_is_short(count: float, text: str) -> None:
    assert size(int(count)) == text
