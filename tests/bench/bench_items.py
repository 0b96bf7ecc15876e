"""What ``remaining`` costs an item, against tqdm in the same process.

Run it: ``python -m tests.bench.bench_items``. It prints a table and ends with 1 if a target is missed.
"""

from __future__ import annotations

import gc
import io
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from typing import Any

from tqdm import tqdm

from resumable._loops.loop import Loop
from resumable._loops.remaining import remaining
from resumable._runtime.boundary import Boundary

ITEMS = 1_000_000
ROUNDS = 9
KEYED = 200_000
MOST_BY_KEY, MOST_DONE_NS = 3, 200
TARGETS = {"list": 0.2, "generator": 0.35}


class WakingOwner:
    """Wakes its loops every 100 ms, as a checkpoint with a time limit does."""

    operation_id = "bench"

    def __init__(self) -> None:
        self.live: list[Loop[Any]] = []
        self.boundary = Boundary()
        self.timer = threading.Thread(target=self._wake, daemon=True)
        self.timer.start()

    def _wake(self) -> None:
        while True:
            time.sleep(0.1)
            for loop in self.live[:]:
                loop.wake()

    def check_in(self) -> int:
        return 10**18

    def register(self, loop: Loop[Any]) -> None:
        self.live.append(loop)

    def unregister(self, loop: Loop[Any]) -> None:
        self.live.remove(loop)


def generate(count: int) -> Iterator[int]:
    for number in range(count):  # noqa: UP028  # as users' generators are
        yield number


SOURCES: dict[str, Callable[[int], Iterable[int]]] = {
    "list": lambda count: list(range(count)),
    "range": range,
    "dict": lambda count: dict.fromkeys(range(count)),
    "generator": generate,
    "map": lambda count: map(int, range(count)),
}


def ns_an_item(loop: Iterable[object], count: int) -> float:
    began = time.perf_counter_ns()
    for _ in loop:
        pass
    return (time.perf_counter_ns() - began) / count


def overheads(make: Callable[[int], Iterable[int]], loops: dict[str, Callable[[Any], Any]]) -> dict[str, float]:
    """ns an item over a bare loop: the best of rounds in which all take turns, as others use the machine, too."""
    seen: dict[str, list[float]] = {"bare": [], **{name: [] for name in loops}}
    for _ in range(ROUNDS):
        seen["bare"].append(ns_an_item(make(ITEMS), ITEMS))
        for name, loop in loops.items():
            seen[name].append(ns_an_item(loop(make(ITEMS)), ITEMS))
    return {name: min(seen[name]) - min(seen["bare"]) for name in loops}


def per_item() -> bool:
    owner = WakingOwner()
    loops: dict[str, Callable[[Any], Any]] = {
        "tqdm": lambda items: tqdm(items, file=io.StringIO()),
        "remaining": lambda items: remaining(items, owner, name="bench"),
    }
    print(f"{'source':<10} {'tqdm ns':>8} {'ours ns':>8} {'ratio':>6} {'target':>7}")
    is_good = True
    for source, make in SOURCES.items():
        ns = overheads(make, loops)
        ratio, target = ns["remaining"] / ns["tqdm"], TARGETS.get(source)
        is_good &= target is None or ratio <= target
        print(f"{source:<10} {ns['tqdm']:8.1f} {ns['remaining']:8.1f} {ratio:6.3f} {target or '':>7}")
    return is_good


def seen_by_hand(items: Iterable[Any], key: Callable[[Any], Any]) -> None:
    seen = set()
    for item in items:
        name = key(item)
        if name in seen:
            continue
        seen.add(name)


def by_key() -> bool:
    """With keys, beside a set by hand: a new item, and one that is done."""
    owner = WakingOwner()
    numbers = [{"id": number} for number in range(KEYED)]
    texts = [{"id": f"item {number:06d}"} for number in range(KEYED)]
    kinds: dict[str, tuple[list[Any], Any, Callable[[Any], Any]]] = {
        "key='id', int": (numbers, "id", lambda item: item["id"]),
        "key='id', str": (texts, "id", lambda item: item["id"]),
        "key=lambda": (numbers, lambda item: item["id"], lambda item: item["id"]),
        "key=itemgetter": (numbers, itemgetter("id"), itemgetter("id")),
    }
    print(f"\n{'':<16} {'by hand ns':>10} {'ours ns':>8} {'ratio':>6} {'done ns':>8}")
    is_good = True
    for name, (items, key, by_hand) in kinds.items():
        first = remaining(items, owner, name="bench", key=key)
        deque(first, maxlen=0)
        saved = json.loads(json.dumps(first.to_dict()))
        ns = {"hand": 1e9, "ours": 1e9, "done": 1e9}
        for _ in range(ROUNDS):
            ns["hand"] = min(ns["hand"], ns_of(lambda: seen_by_hand(items, by_hand)))  # noqa: B023
            for case, form in (("ours", None), ("done", saved)):
                loop = remaining(items, owner, name="bench", key=key, saved=form)
                ns[case] = min(ns[case], ns_of(lambda: deque(loop, maxlen=0)))  # noqa: B023
        ratio = ns["ours"] / ns["hand"]
        is_good &= ratio <= MOST_BY_KEY and ns["done"] <= MOST_DONE_NS
        print(f"{name:<16} {ns['hand']:10.0f} {ns['ours']:8.0f} {ratio:6.2f} {ns['done']:8.0f}")
    return is_good


def ns_of(work: Callable[[], object]) -> float:
    gc.collect()
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / KEYED


def resumed() -> None:
    """How long it takes to get to the first item that is left, and how large the saved form is."""
    owner = WakingOwner()
    print(f"\n{'source':<10} {'done':>9} {'to go on, ms':>13} {'saved, bytes':>13}")
    for source, make in SOURCES.items():
        for count in (1_000, 1_000_000):
            first = remaining(make(count + 1), owner, name="bench")
            raw = iter(first)
            deque((next(raw) for _ in range(count + 1)), maxlen=0)
            saved, again = first.to_dict(), make(count + 1)
            began = time.perf_counter()
            next(remaining(again, owner, name="bench", saved=saved))
            ms = (time.perf_counter() - began) * 1e3
            print(f"{source:<10} {count:>9,} {ms:13.3f} {len(str(saved)):>13,}")


def main() -> int:
    gc.collect()
    is_good = per_item()
    is_good &= by_key()
    resumed()
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
