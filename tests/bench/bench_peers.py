"""What a step costs here, beside DBOS and LangGraph's savers: in SQLite, and in PostgreSQL.

``python -m tests.bench.bench_peers [sqlite] [postgresql]``. Each runs in a process of its own; the peers in the Python
of ``$PEERS`` (else ``/tmp/peers/bin/python``), which keeps their packages from ours:

    python -m venv /tmp/peers
    /tmp/peers/bin/pip install dbos langgraph-checkpoint-sqlite langgraph-checkpoint-postgres 'psycopg[binary]'

A step is one item of a list, whose result is a record. Ours is a loop over ``cp.remaining`` that keeps them in a
mapping, saved in three ways:

- "ours" is saved by ``auto()``. At most a twentieth of theirs.
- "ours, each" by ``every(items=1)``: each item has its save. A server gets some of them by one statement, while the
  loop goes on, so that up to 16 of them may not be acknowledged yet.
- "ours, acked" by ``cp.save()``: each item is acknowledged before the work of the next one, which is what the peers do.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

STEPS = 2000
PEERS = os.environ.get("PEERS", "/tmp/peers/bin/python")
WAYS = ("ours", "ours, each", "ours, acked", "dbos", "langgraph")


def record(number: int) -> dict[str, object]:
    return {"sha": f"{number:040x}", "size": number, "url": f"https://api.github.com/blobs/{number}"}


# -- one way, in a process of its own: microseconds a step -------------------------------------------------------------


def ours(url: str, way: str = "") -> float:
    from resumable import auto, checkpointed, every

    strategy = {"each": every(items=1), "acked": every(hours=1)}.get(way, auto())
    with checkpointed("steps", strategy, store=url) as cp:
        found = cp.mapping("found")
        began = time.perf_counter()
        for number in cp.remaining(range(STEPS)):
            if way == "acked":
                cp.save()
            found[str(number)] = record(number)
        cp.save()
        return (time.perf_counter() - began) / STEPS * 1e6


def dbos(url: str) -> float:
    from dbos import DBOS

    DBOS(config={"name": "steps", "system_database_url": url, "log_level": "ERROR"})

    @DBOS.step()  # type: ignore[misc, unused-ignore]
    def step(number: int) -> dict[str, object]:
        return record(number)

    @DBOS.workflow()  # type: ignore[misc, unused-ignore]
    def workflow() -> float:
        began = time.perf_counter()
        found = {str(number): step(number) for number in range(STEPS)}
        return (time.perf_counter() - began) / len(found) * 1e6

    DBOS.launch()
    took = workflow()
    DBOS.destroy()
    return float(took)


def langgraph(url: str) -> float:
    from langgraph.checkpoint.base import empty_checkpoint  # pyright: ignore

    with contextlib.ExitStack() as stack:
        if url.startswith("sqlite"):
            from langgraph.checkpoint.sqlite import SqliteSaver  # pyright: ignore

            saver = stack.enter_context(SqliteSaver.from_conn_string(url.removeprefix("sqlite:///")))
        else:
            from langgraph.checkpoint.postgres import PostgresSaver  # pyright: ignore

            saver = stack.enter_context(PostgresSaver.from_conn_string(url))
        saver.setup()
        config = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
        began = time.perf_counter()
        for number in range(STEPS):
            checkpoint = empty_checkpoint()
            version = f"{number:032}.1"
            checkpoint["channel_values"] = {"last": record(number)}
            checkpoint["channel_versions"] = {"last": version}
            metadata = {"source": "loop", "step": number}
            config = saver.put(config, checkpoint, metadata, {"last": version})
            saver.put_writes(config, [("last", record(number))], str(number))
        return (time.perf_counter() - began) / STEPS * 1e6


# -- all of them ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def served(name: str) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        if name == "sqlite":
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=".")))
            yield f"sqlite:///{directory.absolute()}/store.db"
        else:
            from tests.support.databases import postgresql

            yield stack.enter_context(postgresql("-c", "fsync=on")).url


def took(way: str, url: str) -> float | None:
    """Microseconds a step; None, and a word, where the way is not installed."""
    python = sys.executable if way.startswith("ours") else PEERS
    if not Path(python).exists():
        print(f"{way} is skipped: there is no {python}, see the head of this file")
        return None
    done = subprocess.run([python, __file__, "run", way, url], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{way} is skipped: {done.stderr.strip().splitlines()[-1]}")
        return None
    return float(done.stdout.split()[-1])


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        (name, _, way), url = sys.argv[2].partition(", "), sys.argv[3]
        runs: dict[str, Callable[[str], float]] = {"ours": partial(ours, way=way), "dbos": dbos, "langgraph": langgraph}
        print(runs[name](url))
        return
    for name in [one for one in ("sqlite", "postgresql") if one in sys.argv] or ["sqlite", "postgresql"]:
        found: dict[str, float] = {}
        for way in WAYS:
            with served(name) as url:
                if (micros := took(way, url)) is not None:
                    found[way] = micros
        for way, micros in found.items():
            parts = ", ".join(f"{micros / found[one]:.1f}" for one in WAYS if one.startswith("ours"))
            ratio = "" if way.startswith("ours") else f"   {parts} times that of ours"
            print(f"{name:<11} {way:<11} {micros:9.1f} µs a step{ratio}", flush=True)


if __name__ == "__main__":
    main()
