"""What a whole small block takes beside a SQLite file with one row, and what the import takes over bare Python.

Run it: ``python -m tests.bench.bench_block [directory]``. It prints a table and ends with 1 if a target is missed.

- A block: enter, one item of ``cp.remaining``, exit, which removes the checkpoint. SQLite: connect to a new file, make
  a table, insert one row, commit (with the default journal and ``synchronous=FULL``), close, remove the file.
- The import: a new process with ``import resumable`` less one with ``pass``, with bytecode that was cached before.

All take turns, of which the shortest counts.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from resumable import checkpointed

ROUNDS, STARTS = 200, 20
MOST, MOST_IMPORT_MS = 1.5, 60


def block(directory: Path) -> None:
    with checkpointed("bench", store=directory) as cp:
        for item in cp.remaining((1,)):
            cp.state["last"] = item


def row(directory: Path) -> None:
    path = directory / "bench.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE items (id INTEGER, name TEXT)")
    connection.execute("INSERT INTO items VALUES (1, 'last')")
    connection.commit()
    connection.close()
    path.unlink()


def best_ms(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(ways, 1e9)
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            best[name] = min(best[name], (time.perf_counter() - began) * 1e3)
    return best


def start(program: str, cache: str) -> Callable[[], object]:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    return lambda: subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def main(directories: list[str]) -> int:
    logging.disable()
    with tempfile.TemporaryDirectory(dir=directories[0] if directories else ".") as directory:
        ways = {"block": lambda: block(Path(directory)), "SQLite": lambda: row(Path(directory))}
        blocks = best_ms(ways, ROUNDS)
        ratio = blocks["block"] / blocks["SQLite"]
        print(f"block {blocks['block']:.2f} ms, SQLite {blocks['SQLite']:.2f} ms: {ratio:.2f} times (at most {MOST})")
        programs = {program: start(program, directory) for program in ("import resumable", "pass")}
        starts = best_ms(programs, STARTS)
    import_ms = starts["import resumable"] - starts["pass"]
    print(f"import {import_ms:.1f} ms over bare Python (at most {MOST_IMPORT_MS})")
    return 0 if ratio <= MOST and import_ms <= MOST_IMPORT_MS else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
