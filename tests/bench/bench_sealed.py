"""What encryption costs: a save of 10 changed among 1e5 entries, encrypted beside plain; then the first save, a resume.

``python -m tests.bench.bench_sealed [URL]``: in a directory, or in the store that the URL names. In turns; medians.
"Everything" is the first save, and what each one would cost without a journal.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from contextlib import ExitStack
from typing import Any

from resumable import checkpointed, every, open_store
from resumable.stores import CheckpointStore, EncryptedStore, Holder
from tests.bench.bench_saves import record, seconds

ROUNDS = 200
ENTRIES, CHANGED = 100_000, 10


def size_of(store: CheckpointStore, operation_id: str) -> tuple[int, int]:
    """Bytes of the snapshot and of the journal, as they are stored."""
    stored = store.read(operation_id)
    assert stored is not None
    return len(stored.snapshot), len(stored.journal)


def measure(place: str) -> None:
    key = EncryptedStore.new_key()
    stores: dict[str, CheckpointStore] = {
        "plain": open_store(place),
        "encrypted": EncryptedStore(place, key),
        "zstd, encrypted": EncryptedStore(place, key, compress="zstd"),
    }
    first: dict[str, float] = {}
    took: dict[str, list[float]] = {way: [] for way in stores}
    with ExitStack() as stack:
        mappings: dict[str, tuple[Any, Any]] = {}
        for way, store in stores.items():
            cp = stack.enter_context(checkpointed(way, every(hours=1), store=store, auto_cleanup=False))
            files = cp.mapping("files")
            files.update({str(number): record(number) for number in range(ENTRIES)})
            first[way] = seconds(cp.save)
            mappings[way] = cp, files
        for turn in range(ROUNDS):
            for way, (cp, files) in mappings.items():
                for number in range(CHANGED):
                    files[str((turn * CHANGED + number) % ENTRIES)] = {"sha": f"{turn:040}", "size": number}
                took[way].append(seconds(cp.save))
    plain = statistics.median(took["plain"])
    for way, store in stores.items():
        lease = store.claim(way, Holder.me())
        read = min(seconds(lease.read) for _ in range(3))
        lease.release()
        snapshot, journal = size_of(open_store(place), way)
        median = statistics.median(took[way])
        print(
            f"{way:<16} save {median * 1000:6.3f} ms ({median / plain:4.2f})   "
            f"everything {first[way] * 1000:5.0f} ms   read {read * 1000:4.0f} ms   "
            f"{snapshot:>11,} and {journal:>9,} bytes",
            flush=True,
        )


def main() -> None:
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        return
    with tempfile.TemporaryDirectory(dir=".") as directory:
        measure(directory)


if __name__ == "__main__":
    main()
