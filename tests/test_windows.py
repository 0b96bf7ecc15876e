"""What can be known of Windows without it: nothing that only POSIX has is needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from resumable._text import command_for, resume_command

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it is made of what Linux has")

FIRST = """
import tests.support.like_windows
import sys, time
from concurrent.futures import ThreadPoolExecutor
from resumable import checkpointed, every

with checkpointed("first", every(items=3), progress=True) as cp:
    squares, seen, rows = cp.mapping("squares"), cp.set("seen"), cp.log("rows")
    sink, model = cp.sink("rows.csv", header="number\\n"), cp.artifact("model")
    for number in cp.remaining(range(20)):
        squares[str(number)] = number * number
        seen.add(number)
        rows.append(number)
        sink.write(f"{number}\\n")
        with model.write() as path:
            path.write_bytes(bytes(number))
        if number == 10 and not cp.resumed:
            STOP
    for number, double in cp.map(lambda x: x * 2, range(20), executor=lambda: ThreadPoolExecutor(4)):
        squares[f"double {number}"] = double
    cp.once("mail", lambda: 1)
    model.publish("model.bin")
    assert len(squares) == 40 and len(rows) == 20 and seen == set(range(20))
assert open("rows.csv").read().split() == ["number", *map(str, range(20))]
assert open("model.bin", "rb").read() == bytes(19)
"""
ASYNC = """
import tests.support.like_windows
import asyncio
from resumable import checkpointed

async def main():
    async with checkpointed("async"STORE) as cp:
        async for number, double in cp.amap(lambda x: asyncio.sleep(0.001, x * 2), range(20), max_in_flight=4):
            cp.mapping("doubles")[str(number)] = double
asyncio.run(main())
"""
IMPORTS = """
import tests.support.like_windows
import importlib, pkgutil, resumable
for one in pkgutil.walk_packages(resumable.__path__, "resumable."):
    if not one.name.endswith("__main__"):
        importlib.import_module(one.name)
"""
COMMAND = "import tests.support.like_windows\nfrom resumable.cli import main\nmain()\n"


def run(program: str, folder: Path, *arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
        timeout=120,
    )


@pytest.mark.slow
def test_every_module_is_imported(tmp_path: Path) -> None:
    done = run(IMPORTS, tmp_path)

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "code"),
    [
        ("raise ValueError", 1),
        ("import signal; signal.raise_signal(signal.SIGINT)", -2),
        ("import os; os._exit(9)", 9),
    ],
    ids=["error", "Ctrl-C", "kill"],
)
def test_a_first_loop_is_stopped_and_goes_on(stop: str, code: int, tmp_path: Path) -> None:
    program = FIRST.replace("STOP", stop)

    first, second = run(program, tmp_path), run(program, tmp_path)

    assert first.returncode == code, first.stderr
    assert (second.returncode, "Traceback" in second.stderr) == (0, False), second.stderr
    assert "first: going on at " in second.stderr
    assert "first: 40 of 40 in " in second.stderr
    assert not list(tmp_path.glob(".checkpoint_first.j*"))


@pytest.mark.slow
@pytest.mark.parametrize("store", ["", ', store="sqlite:///checkpoints.db"', ', store="memory://here"'])
def test_async_code_and_other_stores(store: str, tmp_path: Path) -> None:
    done = run(ASYNC.replace("STORE", store), tmp_path)

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_work_in_an_old_code_page(tmp_path: Path) -> None:
    run(FIRST.replace("STOP", "raise ValueError"), tmp_path)

    for line in ("list", "show", "verify", "export first", "report -o run.html", "repair first", "rm -y first"):
        done = run(COMMAND, tmp_path, *line.split(), encoding="cp437")
        assert (done.returncode, "Traceback" in done.stderr) == (0, False), f"{line}: {done.stderr}"
    assert "no checkpoints in" in run(COMMAND, tmp_path, "list", encoding="cp437").stdout


def test_commands_are_quoted_as_its_shells_do(monkeypatch: pytest.MonkeyPatch) -> None:
    command_for("rm", "job")  # where the command is, is found out once, and not with the wrong platform
    monkeypatch.setattr(sys, "platform", "win32")

    assert command_for("rm", "a job", r"C:\my files").endswith(r'rm --dir "C:\my files" "a job"')
    assert command_for("rm", "job", r"C:\files").endswith(r"rm --dir C:\files job")
    assert resume_command(["python", "my job.py"], is_windows=True) == 'python "my job.py"'
