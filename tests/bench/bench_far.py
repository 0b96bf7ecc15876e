"""Stores that are far away: whether the loop waits for them, what a save asks of an object store, and a resume.

``python -m tests.bench.bench_far [gaps] [puts] [resume] [postgresql mariadb redis moto]``. Servers are started for it.

- gaps: a loop that saves 100 changed of 1e5 entries each 100 items, on a store that answers after 40 ms. A gap is the
  time that an item and its tick take; the loop without saves stands beside it. At most 10 ms.
- puts: PUTs of a save on S3. At most 1.5.
- resume: a block opened on 1e5 entries with a journal, beside reading its bytes by one's own client and decoding them.
  At most twice.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from resumable import checkpointed, every, open_store
from tests.bench.bench_saves import record, seconds
from tests.support import databases, media
from tests.support.proxy import Proxy

DELAY = 0.04
ENTRIES, CHANGED, SAVES = 100_000, 100, 60
SERVERS = ("postgresql", "mariadb", "redis", "moto")


@contextlib.contextmanager
def served(name: str) -> Iterator[str]:
    """The URL of a new server."""
    if name in ("postgresql", "mariadb"):
        with getattr(databases, name)() as server:
            yield server.url
        return
    with getattr(media, name)() as medium:
        os.environ.update(medium.environment)
        yield medium.url


def port_in(url: str) -> int:
    found = re.search(r"(?:127\.0\.0\.1|localhost):(\d+)", url)
    assert found is not None, url
    return int(found[1])


@contextlib.contextmanager
def far(url: str, delay: float) -> Iterator[str]:
    """*url* through a process of its own, which passes each answer on after *delay* seconds."""
    command = [sys.executable, "-m", "tests.bench.bench_far", "proxy", str(port_in(url)), str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield url.replace(f":{port_in(url)}", f":{int(process.stdout.readline())}")
    process.communicate("")


def proxy(to: str, delay: str) -> None:
    with Proxy(int(to)) as one:
        one.delay = float(delay)
        print(one.port, flush=True)
        sys.stdin.read()


# -- gaps -------------------------------------------------------------------------------------------------------------


def gaps_of(url: str, is_saved: bool) -> tuple[list[float], float]:
    """Milliseconds that each item and its tick take, sorted, and the longest that the loop itself was busy.

    Where other work is on the machine, the loop waits for its turn: then the second says what is ours.
    """
    strategy = every(items=CHANGED) if is_saved else every(hours=9)
    with checkpointed("gaps", strategy, store=url, auto_cleanup=False) as cp:
        files = cp.mapping("files")
        if not files:
            files.update({str(number): record(number) for number in range(ENTRIES)})
            cp.save()
        gaps, busy = [], 0.0
        for number in range(CHANGED * SAVES):
            time.sleep(0.002)
            woke, began = time.perf_counter(), time.thread_time()
            files[str(number % ENTRIES)] = record(number + 1)
            cp.tick()
            gaps.append((time.perf_counter() - woke) * 1e3)
            busy = max(busy, (time.thread_time() - began) * 1e3)
        cp.keep()
    return sorted(gaps), busy


def gaps(name: str) -> None:
    with served(name) as url, far(url, DELAY) as slow:
        gaps_of(slow, is_saved=False)  # the first snapshot
        for is_saved in (False, True):
            found, busy = gaps_of(slow, is_saved=is_saved)
            told = f"{'saved each 100 items' if is_saved else 'not saved':<22} longest {found[-1]:6.2f} ms"
            high = found[int(len(found) * 0.999)]
            print(f"gaps    {name:<11} {told}, busy {busy:5.2f} ms   of 99.9% {high:6.2f} ms", flush=True)


# -- PUTs -------------------------------------------------------------------------------------------------------------


def puts(name: str = "moto") -> None:
    counted = 0
    lock = threading.Lock()

    def count(data: bytes) -> bytes:
        nonlocal counted
        with lock:
            counted += data.count(b"PUT /") + data.count(b"POST /")
        return data

    with served(name) as url, Proxy(port_in(url)) as one:
        one.rewrite = count
        with checkpointed("puts", every(hours=1), store=one.url(url), auto_cleanup=False) as cp:
            files = cp.mapping("files")
            files.update({str(number): record(number) for number in range(ENTRIES)})
            cp.save()
            before = counted
            for turn in range(SAVES):
                for number in range(CHANGED):
                    files[str((turn * CHANGED + number) % ENTRIES)] = record(turn)
                cp.save()
            print(f"puts    {name:<11} {(counted - before) / SAVES:.2f} PUTs a save, of {SAVES}", flush=True)
            cp.keep()


# -- resume -----------------------------------------------------------------------------------------------------------


def bytes_by_hand(url: str) -> Any:
    """A function that reads all that is stored with one's own client, and decodes it."""
    stored = open_store(url).read("resume")
    assert stored is not None
    blob = stored.snapshot + stored.journal
    scheme = url.partition(":")[0]
    fetch = {"redis": _redis_fetch, "s3": _s3_fetch}.get(scheme, _sql_fetch)(url, blob)

    def read() -> None:
        raw = fetch()
        msgspec.json.decode(memoryview(raw)[: len(stored.snapshot)])
        for line in raw[len(stored.snapshot) :].splitlines():
            msgspec.json.decode(line.split(b" ", 2)[2])

    return read


def _redis_fetch(url: str, blob: bytes) -> Any:
    import redis

    client = redis.Redis.from_url(url)
    client.set("by hand", blob)
    return lambda: client.get("by hand")


def _s3_fetch(url: str, blob: bytes) -> Any:
    import obstore
    from obstore.store import S3Store

    endpoint = url.partition("endpoint=")[2].partition("&")[0]
    store = S3Store("bucket", endpoint=endpoint, region="us-east-1", client_options={"allow_http": True})
    obstore.put(store, "by-hand", blob)
    return lambda: bytes(obstore.get(store, "by-hand").bytes())


def _sql_fetch(url: str, blob: bytes) -> Any:
    from tests.bench.bench_stores import BareSQL

    bare = BareSQL(url)
    for start in range(0, len(blob), 1 << 20):
        bare.insert(blob[start : start + (1 << 20)])
    return lambda: b"".join(bare.rows())


def resume(name: str) -> None:
    with served(name) as url:
        with checkpointed("resume", every(hours=1), store=url, auto_cleanup=False) as cp:
            files = cp.mapping("files")
            files.update({str(number): record(number) for number in range(ENTRIES)})
            cp.save()
            for turn in range(20):
                for number in range(CHANGED):
                    files[str(turn * CHANGED + number)] = record(turn)
                cp.save()
            cp.keep()
        by_hand, took = bytes_by_hand(url), dict[str, list[float]](hand=[], read=[], resume=[])
        for _ in range(7):
            took["hand"].append(seconds(by_hand))
            took["read"].append(seconds(lambda: open_store(url).read("resume")))
            with contextlib.ExitStack() as stack:
                block = checkpointed("resume", every(hours=1), store=url, auto_cleanup=False)
                took["resume"].append(seconds(lambda: len(stack.enter_context(block).mapping("files"))))  # noqa: B023
        hand, read, all_of_it = (statistics.median(times) * 1e3 for times in took.values())
        print(
            f"resume  {name:<11} {all_of_it:6.0f} ms beside {hand:6.0f} ms by hand ({all_of_it / hand:4.2f}); "
            f"its bytes alone {read:6.0f} ms",
            flush=True,
        )


def main() -> None:
    asked = sys.argv[1:]
    if asked[:1] == ["proxy"]:
        proxy(*asked[1:])
        return
    names = [name for name in SERVERS if name in asked] or [*SERVERS]
    kinds = [kind for kind in ("gaps", "puts", "resume") if kind in asked] or ["gaps", "puts", "resume"]
    for name in names:
        try:
            if "gaps" in kinds:
                gaps(name)
            if "puts" in kinds and name == "moto":
                puts(name)
            if "resume" in kinds:
                resume(name)
        except media.MissingServer as error:
            print(f"{name}: skipped, for {error}")


if __name__ == "__main__":
    main()
