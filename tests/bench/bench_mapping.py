"""What a mapping costs beside a dict, and a log beside a list. Run it: python -m tests.bench.bench_mapping"""

from __future__ import annotations

import gc
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import msgspec

from resumable._durable.dict import DurableDict
from resumable._durable.log import DurableLog


def record(n: int) -> dict[str, Any]:
    sha = f"{random.getrandbits(160):040x}"
    return {"sha": sha, "size": n, "url": f"https://api.github.com/repos/prebid/Prebid.js/git/blobs/{sha}"}


def paths(count: int) -> list[str]:
    """Paths as a listing gives them: each a new string whose hash nobody has computed."""
    return [f"modules/{random.choice('abcdef')}dapter{n}BidAdapter.js" for n in range(count)]


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def medians(rounds: int, **works: Callable[[], float]) -> dict[str, float]:
    """The median of each, taken in turns so that a busy machine is busy for all."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            taken[name].append(work())
    return {name: statistics.median(values) for name, values in taken.items()}


def writes(size: int, again: bool) -> tuple[float, float]:
    """Seconds for *size* assignments into a plain and a durable dict; *again* in random order to keys they have."""

    def assign(kind: type[dict[str, Any]]) -> float:
        files, keys, value = kind(), paths(size), record(1)
        if again:
            files.update((key, record(n)) for n, key in enumerate(keys))
            random.shuffle(keys)
            if isinstance(files, DurableDict):
                files.begin()
                files.commit()

        def work() -> None:
            for key in keys:
                files[key] = value

        return seconds(work)

    took = medians(9 if size > 10_000 else 41, plain=lambda: assign(dict), durable=lambda: assign(DurableDict))
    return took["plain"], took["durable"]


def bench_writes() -> None:
    print(f"\n{'assignment':<34}{'plain ns':>10}{'durable ns':>12}{'ratio':>8}")
    for size in (1000, 10_000, 100_000):
        for again in (False, True):
            plain, durable = writes(size, again)
            name = f"{'known keys, random' if again else 'new keys'}, {size:,}"
            print(f"{name:<34}{plain / size * 1e9:>10.0f}{durable / size * 1e9:>12.0f}{durable / plain:>8.2f}")


def bench_records() -> None:
    """What each kind of value costs beyond a dict's assignment and a list's append, in CPU time: the least of many."""
    values: dict[str, Any] = {
        "int": 5,
        "text": "abcdef",
        "record of 3": record(1),
        "record of 8": {"id": 7, "name": "x", "score": 0.5, "ok": True, "note": None, "a": "xx", "b": 2, "c": "hello"},
        "record of records": {"id": 7, "owner": {"name": "a", "id": 2}, "tags": ["x", "y"]},
    }
    keys = paths(2000)
    print(f"\n{'beyond a builtin, ns':<34}{'mapping':>10}{'log':>12}")
    for name, value in values.items():

        def assign(kind: type[dict[str, Any]], value: Any = value) -> float:
            files, started = kind(), time.thread_time()
            for key in keys:
                files[key] = value
            return (time.thread_time() - started) / len(keys) * 1e9

        def append(kind: type[list[Any]], value: Any = value) -> float:
            rows, started = kind(), time.thread_time()
            for _ in keys:
                rows.append(value)
            return (time.thread_time() - started) / len(keys) * 1e9

        least = [min(work() for _ in range(60)) for work in (
            lambda: assign(DurableDict), lambda: assign(dict), lambda: append(DurableLog), lambda: append(list)
        )]  # fmt: skip
        print(f"{name:<34}{least[0] - least[1]:>10.0f}{least[2] - least[3]:>12.0f}")


def bench_reads() -> None:
    plain = {path: record(n) for n, path in enumerate(paths(1000))}
    saved, loaded = DurableDict(), DurableDict(dict(plain))
    saved.update(plain)
    saved.begin()

    def read(files: dict[str, Any]) -> float:
        def work() -> None:
            for key in plain:
                files[key]

        return seconds(work)

    read(loaded)
    took = medians(101, plain=lambda: read(plain), saved=lambda: read(saved), loading=lambda: read(loaded))
    print(f"\nread, ns: plain {took['plain'] * 1e6:.0f}, saved {took['saved'] * 1e6:.0f}, "
          f"loaded and not yet wholly frozen {took['loading'] * 1e6:.0f}")  # fmt: skip


def bench_saves() -> None:
    print(f"\n{'save of 100 changed among':<30}{'begin+commit µs':>16}{'encode alone µs':>17}{'beyond µs':>11}")
    for size in (1000, 100_000, 1_000_000):
        files = DurableDict({f"k{n}": {"n": n} for n in range(size)})
        files.values()

        def save(files: DurableDict = files, size: int = size) -> float:
            for n in random.sample(range(size), 100):
                files[f"k{n}"] = record(n)

            def work() -> None:
                files.begin()
                files.commit()

            return seconds(work)

        fragment = {f"k{n}": record(n) for n in range(100)}
        took = medians(201, save=save, encode=lambda f=fragment: seconds(lambda: msgspec.json.encode({"set": f})))
        save_us, encode_us = took["save"] * 1e6, took["encode"] * 1e6
        print(f"{size:<30,}{save_us:>16.1f}{encode_us:>17.1f}{save_us - encode_us:>11.1f}")


def bench_held() -> None:
    """All values still held by the program: the comparison must follow the changes, not the size."""
    for held in (0, 1000, 100_000):
        files, records = DurableDict(), [record(n) for n in range(held)]
        files.update((f"k{n}", value) for n, value in enumerate(records))
        files.begin()
        files.commit()

        def save(files: DurableDict = files) -> float:
            for n in range(100):
                files[f"new{n}"] = record(n)
            return seconds(lambda: (files.begin(), files.commit()))

        print(f"save of 100 changed while the program holds {held:,} others: {medians(51, s=save)['s'] * 1e6:.0f} µs")


def bench_whole() -> None:
    size = 1_000_000
    blob = msgspec.json.encode({path: record(n) for n, path in enumerate(paths(size))})

    def load(wrap: Callable[[Any], Any]) -> float:
        gc.collect()
        gc.disable()
        try:
            return seconds(lambda: wrap(msgspec.json.decode(blob)))
        finally:
            gc.enable()

    took = medians(5, decode=lambda: load(lambda d: d), durable=lambda: load(DurableDict))
    print(f"\nload 1e6: decode {took['decode']:.3f} s, DurableDict {took['durable']:.3f} s, "
          f"ratio {took['durable'] / took['decode']:.2f}")  # fmt: skip
    files = DurableDict(msgspec.json.decode(blob))
    first = seconds(lambda: next(iter(files)) and files[next(iter(files))])
    print(f"first read after it {first * 1e6:.1f} µs, freezing all the rest {seconds(files.values):.3f} s")
    pauses = [seconds(files.snapshot) for _ in range(5)]
    print(f"snapshot of 1e6: pause {statistics.median(pauses) * 1e3:.1f} ms (longest {max(pauses) * 1e3:.1f})")
    snapshot = files.snapshot()
    pieces: list[float] = []
    started = time.perf_counter()
    for _ in snapshot:
        pieces.append(time.perf_counter() - started)
        started = time.perf_counter()
    print(f"encoding it: {sum(pieces):.3f} s, the median piece {statistics.median(pieces) * 1e3:.2f} ms")


def bench_memory() -> None:
    size = 100_000

    def held(make: Callable[[], Any]) -> tuple[int, int, Any]:
        gc.collect()
        tracemalloc.start()
        files = make()
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return now, peak, files

    def fill(kind: type[dict[str, Any]]) -> Any:
        files = kind()
        for n in range(size):
            files[f"modules/adapter{n}BidAdapter.js"] = record(n)
            if isinstance(files, DurableDict) and n % 1000 == 999:
                files.begin()
                files.commit()
        return files

    plain, _, _ = held(lambda: fill(dict))
    durable, _, files = held(lambda: fill(DurableDict))
    print(f"\nmemory of 1e5 records: plain {plain / 1e6:.1f} MB, durable {durable / 1e6:.1f} MB, "
          f"ratio {durable / plain:.3f}")  # fmt: skip
    _, peak, _ = held(lambda: sum(map(len, files.snapshot())))
    print(f"peak while a snapshot is encoded: {peak / 1e6:.2f} MB ({peak / plain:.1%} of the plain dict)")


def bench_collector() -> None:
    print()
    for kind in (dict, DurableDict):
        files = kind()
        files.update((f"k{n}", record(n)) for n in range(100_000))
        if isinstance(files, DurableDict):
            files.begin()
            files.commit()
        gc.collect()
        took = statistics.median(seconds(gc.collect) for _ in range(9))
        print(f"full collection with 1e5 records in a {kind.__name__}: {took * 1e3:.1f} ms")


if __name__ == "__main__":
    random.seed(7)
    bench_writes()
    bench_records()
    bench_reads()
    bench_saves()
    bench_held()
    bench_whole()
    bench_memory()
    bench_collector()
