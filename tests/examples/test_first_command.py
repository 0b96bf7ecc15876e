"""The README's first command: without a network, killed, and run again by the same line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from resumable._report.stored.summary import summaries
from resumable.stores import FileStore

ROOT = Path(__file__).parents[2]


def started(root: Path, place: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-B", str(root / "examples" / "fetch_loop.py")],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(ROOT), "no_proxy": "127.0.0.1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_it_goes_on_where_it_was_killed(number: int, tmp_path: Path) -> None:
    first = started(ROOT, tmp_path)
    for _ in range(600):  # until 20 items are saved
        time.sleep(0.1)
        if sum(one.processed_items or 0 for one in summaries(FileStore(tmp_path))) >= 20:
            break
    first.send_signal(number)
    first.communicate(timeout=200)

    out, err = started(ROOT, tmp_path).communicate(timeout=200)

    assert f"kill -9 {first.pid}" not in out
    found = re.search(r"going on at (\d+) of (\d+)\. Run 2;", err)
    assert found is not None, err
    assert int(found[1]) > 20
    assert out.endswith(f"\n{found[2]} files in files.json\n")
    files = json.loads((tmp_path / "files.json").read_text())
    assert "resumable/__init__.py" in files
    assert len(files) == int(found[2])
    assert [path.name for path in tmp_path.iterdir()] == ["files.json"]


@pytest.mark.slow
def test_a_clone_without_its_history_will_do(tmp_path: Path) -> None:
    root = tmp_path / "unpacked"
    for name in ("examples", "resumable/ratelimit", "tests/cli"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))

    out, err = started(root, tmp_path).communicate(timeout=200)

    assert "files in files.json" in out, err


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="these files came without their history")
def test_it_leaves_nothing_untracked_in_the_clone() -> None:
    for name in ("files.json", ".checkpoint_fetch_this_clone-0.json", ".checkpoint_x.json.prev", ".checkpoint_x.lock"):
        assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0, name
