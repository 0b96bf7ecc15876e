"""Hostile files: mutations of valid documents and journals. Only ResumableErrors come out, in bounded time.

By hand: ``python -m tests.faults.fuzz_files --count 1000000 [--seed 1]``; ``fuzz_guided`` is led by coverage.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from tests.faults.hostile import Guard, framed, load, load_modules, records_of, seeds, signed, use
from tests.faults.injection import scratch

TOKENS = [
    b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b"9" * 400, b'"\\ud800"', b"\xff\xfe", b"\0" * 20, b"\n",
    b"[" * 3000, b'{"a":' * 3000, b"[]", b"{}", b'""', b'"__class__"', b'"$ref"', b'"version":"1.0",', b'"2.0"', b"7",
    b'"generation":-1,', b'"collections":{"files":"set"},', b'"loops":{"a":3},', b'"fold":1,',
]  # fmt: skip
VALUES: list[Any] = [
    None, True, -1, 0, 7, 2**53, 2**70, 10**400, 0.5, -0.0, 1e308, "", "x", "1", "\0", "job", "../../x", "2026-01-01",
    "9999-12-31T23:59:59+00:00", [], [[]], [[0, 5]], [1, "a", None], {}, {"": 0}, {"n": {}}, {"by": "key", "keys": [1]},
]  # fmt: skip
USED = 0.2
"""So many of the inputs that load are gone on from, too."""


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """One to three things done to it."""
    image = bytearray(raw)
    for _ in range(chance.randint(1, 3)):
        at, to = sorted(chance.choices(range(len(image) + 1), k=2))
        to = min(to, at + chance.choice([1, 4, 30, 1000]))
        match chance.randrange(7):
            case 0 if image:
                image[min(at, len(image) - 1)] ^= 1 << chance.randrange(8)
            case 1:
                del image[at:]
            case 2:
                del image[at:to]
            case 3:
                image[at:at] = image[at:to]
            case 4:
                image[at:to] = chance.choice(TOKENS)
            case 5:
                image[at:at] = chance.choice(TOKENS)
            case _:
                image[at:to] = bytes(chance.randrange(256) for _ in range(min(to - at, 8)))
    return bytes(image)


def wrong(value: Any, chance: random.Random) -> Any:
    """The JSON with one value changed, removed, or under another name."""
    where, inside = value, [value]
    while isinstance(where, dict | list) and where:
        inside.append(where)
        key: Any = chance.choice(list(where)) if isinstance(where, dict) else chance.randrange(len(where))
        if not isinstance(where[key], dict | list) or not where[key] or chance.random() < 0.25:
            _spoil(where, key, chance)
            break
        where = where[key]
    return value


def _spoil(where: Any, key: Any, chance: random.Random) -> None:
    match chance.randrange(4):
        case 0:
            del where[key]
        case 1 if isinstance(where, dict):
            where[chance.choice(["", "new", "set", "del", "by", "keys", "ranges", "clear"])] = where.pop(key)
        case _:
            where[key] = copy.deepcopy(chance.choice(VALUES))


def hostile(snapshot: bytes, journal: bytes | None, chance: random.Random) -> tuple[bytes, bytes | None]:
    """Something wrong with one of the two: with its bytes, or, under a right checksum, with what it says."""
    lies = chance.random() < 0.6
    if journal is not None and chance.random() < 0.5:
        if not lies:
            return snapshot, mutated(journal, chance)
        records = records_of(journal)
        for _ in range(chance.randint(1, 2)):
            at = chance.randrange(len(records))
            records[at] = json.dumps(wrong(json.loads(records[at]), chance)).encode()
        return snapshot, framed(records)
    if not lies:
        return mutated(snapshot, chance), journal
    document = json.loads(snapshot)
    for _ in range(chance.randint(1, 2)):
        document = wrong(document, chance)
    return signed(document), journal


def fuzz(count: int, seed: int = 0) -> tuple[Counter[str], float]:
    """How often what came of *count* inputs, and the longest time that one took, in seconds of this thread's work.

    Raises:
        AssertionError: A foreign exception came out, or something was done to the world; the text holds the input.
    """
    with (
        scratch() as directory,
        mock.patch.dict(os.environ, CHECKPOINT_DIR=str(directory)),
    ):
        return _fuzz(count, random.Random(seed), Guard(directory))


def _fuzz(count: int, chance: random.Random, guard: Guard) -> tuple[Counter[str], float]:
    outcomes, longest = Counter[str](), 0.0
    valid, directory = seeds(), Path(guard.directory)
    load_modules()
    for snapshot, journal in valid:  # what is loaded later, is loaded now
        load(snapshot, journal)
        use(snapshot, journal, directory)
    for _ in range(count):
        snapshot, journal = hostile(*chance.choice(valid), chance)
        began = time.thread_time()
        try:
            outcome = guard.watch(partial(load, snapshot, journal))
            outcomes[outcome] += 1
            if outcome == "loaded" and chance.random() < USED:
                outcomes["used"] += 1
                guard.watch(partial(use, snapshot, journal, directory))
        except Exception as error:
            raise AssertionError(f"{error!r} came out of {snapshot!r} with the journal {journal!r}") from error
        longest = max(longest, time.thread_time() - began)
    return outcomes, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    outcomes, longest = fuzz(arguments.count, arguments.seed)
    for outcome, number in outcomes.most_common():
        print(f"{number:>10,}  {outcome}")
    print(f"{arguments.count:>10,}  inputs, 0 foreign exceptions, longest {longest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
