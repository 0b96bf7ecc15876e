"""The header of an output file: written once, over all runs and operations."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from resumable import InputChangedError, StateEncodeError, checkpointed, every

ROOT = Path(__file__).parents[2]
KILLED_AT_A_LINE = """
import os, signal, sys
from resumable import checkpointed, every

calls, at = 0, int(sys.argv[1])

def kill(event, arguments):
    global calls
    if event in ("open", "os.rename", "os.truncate"):
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)

import resumable._engine.opening, filelock, resumable._engine.operation
with checkpointed("job", every(items=1), store="ck") as cp:
    sys.addaudithook(kill)
    rows = cp.sink("rows.csv", header="a,b\\n", existing="refuse")
    for x in cp.remaining(range(3)):
        rows.write(f"{x},{x}\\n")
"""
HEADER = "a,b\n"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def add(row: str, job: str = "job", **options: Any) -> str:
    """A run that adds *row*; what the file holds then."""
    with checkpointed(job, store="ck") as cp:
        options.setdefault("header", HEADER)
        cp.sink("rows.csv", **options).write(row)
    return Path("rows.csv").read_text()


def test_it_is_written_once_over_runs_and_operations(here: Path) -> None:
    assert add("1,2\n") == "a,b\n1,2\n"
    assert add("3,4\n") == "a,b\n1,2\n3,4\n"
    assert add("5,6\n", job="another") == "a,b\n1,2\n3,4\n5,6\n"
    assert add("7,8\n", existing="replace") == "a,b\n7,8\n"


def test_a_file_without_rows_has_it(here: Path) -> None:
    with checkpointed("job") as cp:
        cp.sink("rows.csv", header=HEADER)
        cp.sink("rows.csv")  # whoever does not say it wants no other

    assert Path("rows.csv").read_text() == HEADER


def test_it_is_no_part_of_an_unfinished_item(here: Path) -> None:
    with pytest.raises(ZeroDivisionError), checkpointed("job") as cp:  # noqa: PT012
        for _ in cp.remaining(range(3)):
            cp.sink("rows.csv", header=HEADER).write("1,2\n")
            raise ZeroDivisionError

    assert Path("rows.csv").read_text() == HEADER


@pytest.mark.parametrize("at", range(1, 14, 3))
@pytest.mark.slow
def test_a_run_that_is_killed_before_anything_was_saved_leaves_one(at: int, here: Path) -> None:
    def run(at: int) -> int:
        command = [sys.executable, "-B", "-c", KILLED_AT_A_LINE, str(at)]
        return subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False).returncode

    assert run(at) == -signal.SIGKILL
    assert run(at) in (0, -signal.SIGKILL)
    assert run(-1) == 0
    assert Path("rows.csv").read_text() == "a,b\n0,0\n1,1\n2,2\n"


@pytest.mark.parametrize("existing", ["append", "refuse"])
@pytest.mark.parametrize("torn", [b"", b"a", b"a,b", b"a,b\n"])
def test_a_torn_one_is_written_anew(torn: bytes, existing: str, here: Path) -> None:
    Path("rows.csv").write_bytes(torn)

    assert add("1,2\n", existing=existing) == "a,b\n1,2\n"


@pytest.mark.parametrize("there", ["x,y\n1,2\n", "a,b\r\n1,2\n", "a,bc\n", "\ufeffa,b\n1,2\n", "a\n"])
def test_a_file_with_another_first_line_is_refused_naming_both(there: str, here: Path) -> None:
    Path("rows.csv").write_bytes(there.encode())

    with pytest.raises(InputChangedError) as refused:
        add("1,2\n")

    assert repr(there[: there.index("\n") + 1]) in str(refused.value)
    assert repr(HEADER) in str(refused.value)
    assert Path("rows.csv").read_bytes() == there.encode()


def test_a_header_that_changed_between_two_runs_is_refused(here: Path) -> None:
    def run(header: str) -> None:
        with checkpointed("job", every(items=1), store="ck") as cp:
            rows = cp.sink("rows.csv", header=header)
            for x in cp.remaining(range(2)):
                rows.write(f"{1 // x}\n")

    with pytest.raises(ZeroDivisionError):
        run("a\n")
    with pytest.raises(InputChangedError, match=r"begins with 'a\\n'; the header is 'b\\n'"):
        run("b\n")


def test_a_header_of_bytes_may_be_anything(here: Path) -> None:
    for _ in range(2):
        with checkpointed("job") as cp:
            cp.sink("rows.bin", "b", header=b"\x93NUMPY").write(b"\xff")

    assert Path("rows.bin").read_bytes() == b"\x93NUMPY\xff\xff"


def test_one_longer_than_what_is_looked_at_of_a_file_is_compared_wholly(here: Path) -> None:
    header = "x" * 100_000 + "\n"
    add("1\n", header=header)

    assert add("2\n", header=header) == f"{header}1\n2\n"
    with pytest.raises(InputChangedError, match="does not begin with its header"):
        add("3\n", header="x" * 100_001 + "\n")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        pytest.param({"header": b"a\n"}, TypeError, id="bytes for text"),
        pytest.param({"header": "a\n", "mode": "b"}, TypeError, id="text for bytes"),
        pytest.param({"header": ["a"]}, TypeError, id="a list"),
        pytest.param({"header": "a,b"}, ValueError, id="no newline"),
        pytest.param({"header": "\ud800\n"}, StateEncodeError, id="no Unicode"),
    ],
)
def test_a_mistyped_one_is_refused(options: dict[str, Any], error: type[Exception], here: Path) -> None:
    with checkpointed("job") as cp, pytest.raises(error, match=r"header|row"):
        cp.sink("rows.csv", **options)

    assert not Path("rows.csv").exists()


def test_an_open_file_has_one(here: Path) -> None:
    with checkpointed("job") as cp:
        cp.sink("rows.csv", header=HEADER)
        with pytest.raises(ValueError, match="open already"):
            cp.sink("rows.csv", header="c,d\n")


async def test_async_code_has_it_too(here: Path) -> None:
    async with checkpointed("job") as cp:
        rows = await cp.sink("rows.csv", header=HEADER)
        rows.write("1,2\n")

    assert Path("rows.csv").read_text() == "a,b\n1,2\n"
