"""Hostile files: mutations of valid documents and journals. Only ResumableErrors come out, in bounded time.

By hand: ``python -m tests.faults.fuzz_files --count 1000000 [--seed 1]`` (``--atheris`` where that is installed).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from resumable import ResumableError, checkpointed, every
from resumable._restore import restore
from resumable.stores import MemoryStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
V1 = {
    "files_data": [{"path": "a.js", "sha": "1"}],
    "processed_files": ["a.js"],
    "processed_dirs": ["src"],
    "timestamp": "2024-01-15T10:30:00",
    "completed": False,
}
TOKENS = [
    b"null", b"true", b"-1", b"1e999", b"NaN", b"Infinity", b"9" * 400, b'"\\ud800"', b"\xff\xfe", b"\0" * 20, b"\n",
    b"[" * 3000, b'{"a":' * 3000, b"[]", b"{}", b'""', b'"__class__"', b'"$ref"', b'"version":"1.0",', b'"2.0"', b"7",
    b'"generation":-1,', b'"collections":{"files":"set"},', b'"loops":{"a":3},', b'"fold":1,',
]  # fmt: skip


class Files(MemoryStore):
    """A store that holds these bytes."""

    def __init__(self, snapshot: bytes, journal: bytes | None) -> None:
        super().__init__()
        self.put("job", snapshot)
        self.journal = journal

    def read_journal(self, key: str) -> bytes | None:
        return self.journal

    def append_journal(self, key: str, offset: int, data: bytes) -> None:
        raise AssertionError("loading writes nothing")

    def write_journal(self, key: str, chunks: Iterable[bytes]) -> Callable[[bytes], None]:
        raise AssertionError("loading writes nothing")

    def retire_journal(self, key: str) -> None:
        raise AssertionError("loading writes nothing")


def _journaled(directory: str) -> tuple[bytes, bytes]:
    with checkpointed("job", every(hours=1000), store=directory, auto_cleanup=False) as cp:
        cp.mapping("files").update({f"{number}": "x" * 90 for number in range(120)})
        cp.set("seen").update(["a", "b"])
        for number in cp.remaining(range(4), key=str):
            cp.mapping("files")[f"new {number}"] = {"n": number}
            cp.log("log").append(number)
            cp.save()
    files = Path(directory)
    return (files / ".checkpoint_job.json").read_bytes(), (files / ".checkpoint_job.journal").read_bytes()


def seeds() -> list[tuple[bytes, bytes | None]]:
    """Valid pairs of snapshot and journal."""
    with tempfile.TemporaryDirectory() as name:
        journaled, journal = _journaled(name)
    document = json.loads(journaled)
    unsigned = {key: value for key, value in document.items() if key != "resumable"}
    unsigned["state"] = {"done": [1, 2.5, "ß"]}
    return [(journaled, journal), (json.dumps(unsigned).encode(), None), (json.dumps(V1).encode(), None)]


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


def with_a_wrong_type(raw: bytes, chance: random.Random) -> bytes:
    """Well-formed JSON, one value of which is of another kind."""
    document = json.loads(raw)
    document.pop("resumable", None)
    if chance.random() < 0.5:
        document["resumable"] = {"generation": 1}
    where = document
    while isinstance(where, dict) and where:
        key = chance.choice(list(where))
        if not isinstance(where[key], dict) or chance.random() < 0.5:
            where[key] = chance.choice([None, True, -1, 2**70, 0.5, "", "x", [], [[]], {}, {"": 0}, [1, "a", None]])
            break
        where = where[key]
    return json.dumps(document).encode()


def try_one(snapshot: bytes, journal: bytes | None) -> str:
    """``loaded``, or the name of the error. Anything but a ResumableError goes through."""
    try:
        restore(Files(snapshot, journal), "job", now=NOW)
    except ResumableError as error:
        str(error)
        return type(error).__name__
    return "loaded"


def fuzz(count: int, seed: int = 0) -> tuple[Counter[str], float]:
    """How often what came of *count* inputs, and the longest time that one took, in seconds.

    Raises:
        AssertionError: A foreign exception came out; the text holds the input.
    """
    chance, outcomes, longest = random.Random(seed), Counter[str](), 0.0
    valid = seeds()
    for _ in range(count):
        snapshot, journal = chance.choice(valid)
        if journal is not None and chance.random() < 0.5:
            journal = mutated(journal, chance)
        elif chance.random() < 0.3:
            snapshot = with_a_wrong_type(snapshot, chance)
        else:
            snapshot = mutated(snapshot, chance)
        began = time.perf_counter()
        try:
            outcomes[try_one(snapshot, journal)] += 1
        except Exception as error:
            raise AssertionError(f"{error!r} came out of {snapshot!r} with the journal {journal!r}") from error
        longest = max(longest, time.perf_counter() - began)
    return outcomes, longest


def fuzz_guided() -> None:
    """Coverage-guided, until it is stopped or finds something."""
    import atheris  # type: ignore[import-not-found]

    with atheris.instrument_imports():
        import resumable._restore

    def one(data: bytes) -> None:
        cut = data.find(b"\0\0")
        try_one(data if cut < 0 else data[:cut], None if cut < 0 else data[cut + 2 :])

    atheris.Setup([sys.argv[0]], one)
    atheris.Fuzz()
    del resumable


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    arguments = parser.parse_args()
    if arguments.atheris:
        fuzz_guided()
        return
    outcomes, longest = fuzz(arguments.count, arguments.seed)
    for outcome, number in outcomes.most_common():
        print(f"{number:>10,}  {outcome}")
    print(f"{arguments.count:>10,}  inputs, 0 foreign exceptions, longest {longest * 1000:.0f} ms")


if __name__ == "__main__":
    main()
