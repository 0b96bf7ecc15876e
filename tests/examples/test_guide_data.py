"""The guide's pages on data: each is killed several times, and its results are those of a run that was not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from examples.guide import mcmc, sql_cursor, sweep

ROOT = Path(__file__).parents[2]
KILL = """
import builtins, os, signal, sys, time
from importlib import import_module
call, kind, left = sys.argv[2], sys.argv[3], int(sys.argv[4])
place = time if kind == "sleep" else builtins
goes_on, parent = getattr(place, kind), os.getpid()
def dies(*args, **options):
    global left
    left -= 1
    if not left and os.getpid() == parent:
        os.kill(parent, signal.SIGKILL)
    return goes_on(*args, **options)
setattr(place, kind, dies)
eval(call, vars(import_module("examples.guide." + sys.argv[1])))
"""


def killed(page: str, call: str, *, at: int, of: str = "sleep") -> None:
    """A process makes *call* in *page*, and is killed when it calls *of* for that time."""
    command = [sys.executable, "-c", KILL, page, call, of, str(at)]
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environ, capture_output=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def through(path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[], Any]) -> Any:
    """What *work* returns in the new directory *path*."""
    path.mkdir(exist_ok=True)
    monkeypatch.chdir(path)
    return work()


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    rows = "".join(f"{n},{n % 7}.25,{n % 5}\n" for n in range(950))
    path.write_text("id,price,count\n" + rows)
    return path


def killed_thrice(page: str, call: str) -> None:
    for at in (3, 2, 4):
        killed(page, call, at=at)


@pytest.mark.slow
def test_chunks_to_parquet(sales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    from examples.guide import chunks_to_parquet

    whole = through(tmp_path / "whole", monkeypatch, lambda: chunks_to_parquet.main(str(sales)))
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    killed_thrice("chunks_to_parquet", f"main({str(sales)!r})")

    assert chunks_to_parquet.main(str(sales)) == whole
    parts = [sorted((tmp_path / run / "parts").iterdir()) for run in ("whole", "killed")]
    assert [part.name for part in parts[0]] == [part.name for part in parts[1]]
    assert all(pd.read_parquet(one).equals(pd.read_parquet(other)) for one, other in zip(*parts, strict=True))
    assert sum(len(pd.read_parquet(part)) for part in parts[1]) == 950


@pytest.mark.slow
def test_chunks_to_one_csv(sales: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pandas")
    from examples.guide import chunks_to_csv

    through(tmp_path / "whole", monkeypatch, lambda: chunks_to_csv.main(str(sales)))
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    killed_thrice("chunks_to_csv", f"main({str(sales)!r})")
    chunks_to_csv.main(str(sales))

    made, whole = ((tmp_path / run / "amounts.csv").read_text() for run in ("killed", "whole"))
    assert made == whole
    assert len(made.splitlines()) == 951


@pytest.mark.slow
def test_a_chain_goes_on_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = through(tmp_path / "whole", monkeypatch, lambda: mcmc.main(40))
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    for at in (9, 3, 12):
        killed("mcmc", "main(40)", at=at)

    assert mcmc.main(40) == whole
    assert len(set(whole)) > 10


@pytest.mark.slow
def test_a_table_by_keyset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "documents.db")
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, body TEXT)")
        db.executemany("INSERT INTO documents VALUES (?, ?)", [(3 * n + 1, "word " * (n % 9)) for n in range(230)])
    db.close()
    (tmp_path / "killed").mkdir()
    monkeypatch.chdir(tmp_path / "killed")
    for at in (70, 60, 90):
        killed("sql_cursor", f"main({path!r})", at=at)
    sql_cursor.main(path)

    rows = (tmp_path / "killed" / "words.csv").read_text().splitlines()
    assert rows == ["id,words", *(f"{3 * n + 1},{n % 9}" for n in range(230))]


@pytest.mark.slow
def test_a_sweep_on_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = [(rate, size, seed) for rate in sweep.RATES for size in sweep.SIZES for seed in sweep.SEEDS]
    monkeypatch.chdir(tmp_path)
    for at in (2, 3):
        killed("sweep", "main()", at=at, of="print")

    losses = sweep.main()

    assert losses == {str(setting): sweep.train(setting) for setting in grid}
    assert not list(tmp_path.glob(".checkpoint_*.json"))
