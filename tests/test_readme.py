"""Every block of code in the README runs as pasted; its work, which is a sleep, fails once in the middle."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
WORK = (0.01, 0.05)
"""How long the work of a block sleeps; the library sleeps for other times."""
blocks = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: re.search(r'"([a-z_{}]+)"', block)[1])  # type: ignore[index]


class Work:
    """Takes no time, and fails at one of its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails_at: int) -> None:
        self.calls, self._fails_at = 0, fails_at
        sleep, sleep_async = time.sleep, asyncio.sleep

        def plain(seconds: float) -> None:
            return self._done() if seconds in WORK else sleep(seconds)

        async def in_a_task(seconds: float) -> Any:
            return self._done() if seconds in WORK else await sleep_async(seconds)

        monkeypatch.setattr(time, "sleep", plain)
        monkeypatch.setattr(asyncio, "sleep", in_a_task)

    def _done(self) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise ConnectionError(f"call {self.calls}")


def run(block: str) -> None:
    exec(compile(block, "README.md", "exec", dont_inherit=True), {"__name__": "__main__"})


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@blocks
def test_a_block_fails_once_goes_on_and_leaves_no_checkpoint(
    block: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "prove_resumable" in block:
        pytest.importorskip("resumable.testing")
        run(block)
        return
    is_kept = 'when_done="skip"' in block
    whole = Work(monkeypatch, fails_at=0)
    run(block)
    assert bool([path.name for path in here.rglob(".checkpoint_*")]) == is_kept
    for path in here.rglob(".checkpoint_*"):
        path.unlink()

    work = Work(monkeypatch, fails_at=3)
    try:
        run(block)
    except ConnectionError:
        run(block)
    else:
        if "cp.fail(" in block:
            run(block)

    most = 16 if "amap" in block else 8 if "executor" in block else 2  # what was in flight is done again
    assert whole.calls <= work.calls <= whole.calls + most
    assert bool([path.name for path in here.rglob(".checkpoint_*")]) == is_kept


@pytest.mark.slow
@blocks
def test_a_block_is_a_program(block: str, here: Path) -> None:
    (here / "program.py").write_text(block)

    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_the_first_screen_prints_what_it_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Work(monkeypatch, fails_at=12)
    with pytest.raises(ConnectionError):
        run(BLOCKS[0])
    run(BLOCKS[0])

    assert capsys.readouterr().out == "2646700\n"
    assert "\n2646700\nsquares: 200 of 200 in " in README
