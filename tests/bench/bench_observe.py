"""What ``observe`` costs. Run it: ``python -m tests.bench.bench_observe``. It ends with 1 if a target is missed.

Three targets: a loop with an ``observe`` in each item costs the same for each, however long it is; ``observe`` of a
known host costs at most three times the three header look-ups beside it; in an httpx loop against a server on this
machine that takes 5 ms, ``remaining``, ``mapping`` and ``observe`` together take at most 1% of an item's time.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from resumable import checkpointed, every, rate_limit_below

LENGTHS = (1_000, 4_000, 16_000, 64_000)
MOST_GROWTH, MOST_LOOK_UPS, MOST_SHARE = 1.2, 3.0, 0.01
FIRST, LIMIT, ROUNDS, REQUESTS, SERVER_SECONDS = 100, 1_000_000, 5, 400, 0.005
NAMES = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
RESET = str(int(time.time()) + 3600)
STRATEGY = every(minutes=5) | rate_limit_below(0.2)


def headers(left: int) -> dict[str, str]:
    """As GitHub sends them, among others."""
    numbers = {"Limit": LIMIT, "Remaining": left, "Reset": RESET, "Used": LIMIT - left, "Resource": "core"}
    others = {f"X-Other-{number}": "some value" for number in range(15)}
    return others | {f"X-RateLimit-{name}": str(value) for name, value in numbers.items()}


def answers(count: int) -> list[httpx.Response]:
    request = httpx.Request("GET", "https://api.github.com/repos/owner/name/issues")
    return [httpx.Response(200, headers=headers(LIMIT - left), request=request, content=b"[]") for left in range(count)]


def us_an_item(length: int, shown: list[httpx.Response]) -> float:
    """Processor time, the loop itself included, from the item on at which the loop has begun and knows the host."""
    items = list(range(length))
    responses = itertools.cycle(shown)
    with tempfile.TemporaryDirectory() as directory, checkpointed("loop", STRATEGY, store=directory) as cp:
        gc.collect()
        for number in cp.remaining(items):
            if number == FIRST:
                began = time.process_time()
            cp.observe(next(responses))
        return (time.process_time() - began) / (length - FIRST) * 1e6


def look_ups(shown: list[httpx.Response]) -> tuple[float, float]:
    """Microseconds of three look-ups, and of an ``observe`` beside them."""
    looking, observing = [], []
    with tempfile.TemporaryDirectory() as directory, checkpointed("looks", STRATEGY, store=directory) as cp:
        for response in cp.remaining(shown):
            began = time.perf_counter()
            for name in NAMES:
                response.headers.get(name)
            between = time.perf_counter()
            cp.observe(response)
            observing.append(time.perf_counter() - between)
            looking.append(between - began)
    return statistics.median(looking) * 1e6, statistics.median(observing) * 1e6


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet: else the client waits 40 ms for the second
    left = itertools.count(LIMIT, -1)

    def do_GET(self) -> None:
        time.sleep(SERVER_SECONDS)
        self.send_response(200)
        for name, value in (headers(next(self.left)) | {"Content-Length": "2"}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"[]")

    def log_message(self, *arguments: Any) -> None:
        pass


def share_of_an_item() -> tuple[float, float]:
    """Milliseconds of an item, and the share of it that is ours: all that is not the request. Both are medians."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/items"
        with tempfile.TemporaryDirectory() as directory, httpx.Client() as client:
            spent = list(_asked(client, url, Path(directory)))
        server.shutdown()
    whole, ours = (statistics.median(column) for column in zip(*spent, strict=True))
    return whole * 1e3, ours / whole


def _asked(client: httpx.Client, url: str, directory: Path) -> Iterator[tuple[float, float]]:
    with checkpointed("asks", STRATEGY, store=directory) as cp:
        done = cp.mapping("done")
        before = time.perf_counter()
        for number in cp.remaining(range(REQUESTS)):
            began = time.perf_counter()
            response = client.get(url)
            request = time.perf_counter() - began
            cp.observe(response)
            done[str(number)] = response.status_code
            now = time.perf_counter()
            yield now - before, now - before - request
            before = now


def main() -> int:
    shown = answers(1_000)
    rounds = [{length: us_an_item(length, shown) for length in LENGTHS} for _ in range(ROUNDS)]
    costs = {length: min(each[length] for each in rounds) for length in LENGTHS}
    for length, cost in costs.items():
        print(f"{length:>7,} items: {cost:6.2f} us an item")
    growth = max(costs.values()) / min(costs.values())
    looks, observe = min(look_ups(answers(4_000)) for _ in range(ROUNDS))
    milliseconds, share = share_of_an_item()
    print(f"longest by shortest: {growth:.2f} (at most {MOST_GROWTH})")
    times = observe / looks
    print(f"observe {observe:.1f} us, three look-ups {looks:.1f} us: {times:.1f} times (at most {MOST_LOOK_UPS})")
    print(f"an item of {milliseconds:.1f} ms over HTTP: {share:.2%} is ours (at most {MOST_SHARE:.0%})")
    return int(growth > MOST_GROWTH or times > MOST_LOOK_UPS or share > MOST_SHARE)


if __name__ == "__main__":
    sys.exit(main())
