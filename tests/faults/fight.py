"""Many processes fight for one operation in a store; owners are killed and stopped at random, and the server, too.

Every save that was acknowledged is noted in a file, and looked for at the end. By hand, with a server that is started
for it, or one of yours::

    python -m tests.faults.fight redis --kill
    python -m tests.faults.fight sqlite
    python -m tests.faults.fight unlocked
    python -m tests.faults.fight redis://127.0.0.1:6379/0 --seconds 300
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from resumable import StaleCheckpointError, StoreError, open_store
from resumable.stores import CheckpointStore, FileStore, Holder, Lease, Stored
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import SERVERS, place_in, shared

TTL = 0.8
KEY = "fight"
ENOUGH = 20
"""Saves without which a fight shows nothing."""


class Outcome(NamedTuple):
    """What came of a fight.

    Attributes:
        saves: Saves that were acknowledged.
        lost: Those of them that are not in the history, or not under their number.
        shared: Numbers under which two were acknowledged.
        claims: How often the operation changed its owner.
        stale: How often an owner was refused for having been shut out.
        errors: Anything else that went wrong, by its text.
    """

    saves: int
    lost: int
    shared: int
    claims: int
    stale: int
    folds: int
    kills: int
    errors: dict[str, int]

    def __str__(self) -> str:
        return (
            f"{self.saves} saves, {self.claims} claims, {self.stale} refused as stale, {self.folds} folds, "
            f"{self.kills} kills and stops; lost {self.lost}, two writers {self.shared}, errors {self.errors or 'none'}"
        )


def history_in(stored: Stored | None) -> dict[int, str]:
    """The saves in what is stored: the name of each, by its number."""
    if stored is None:
        return {}
    names = {int(number): name for number, name in json.loads(stored.snapshot).items()}
    for line in stored.journal.splitlines():
        number, name = json.loads(line)
        names[number] = name
    return names


def work(open_: Callable[[], CheckpointStore], notes: int) -> None:
    """Own it, save, fold, let go, for ever."""
    chance = random.Random(os.getpid())

    def note(what: str, *facts: object) -> None:
        os.write(notes, (json.dumps([what, *facts]) + "\n").encode())

    store = open_()
    while True:
        try:
            lease = store.claim(KEY, Holder.me())
        except StoreError:
            time.sleep(chance.random() * 0.2)
            continue
        note("claim")
        try:
            _save_often(lease, chance, note)
        except StaleCheckpointError:
            note("stale")
        except StoreError as error:
            note("error", str(error)[:100])
        lease.release()


def _save_often(lease: Lease, chance: random.Random, note: Callable[..., None]) -> None:
    names = history_in(lease.read())
    is_new = not names
    for _ in range(chance.randint(1, 40)):
        number, name = lease.next, f"{os.getpid()}-{chance.getrandbits(40):x}"
        names[number] = name
        if is_new or chance.random() < 0.03:
            lease.stage(number, [json.dumps(names).encode()])(b"")
            note("ack", number, name)
            is_new = False
        else:
            lease.append(number, json.dumps([number, name]).encode() + b"\n")
            note("ack", number, name)
            if chance.random() < 0.05:
                lease.stage(number, [json.dumps(names).encode()])(b"")
                note("fold")
        time.sleep(chance.random() * 0.01)


def fight(
    open_: Callable[[], CheckpointStore], seconds: float, processes: int = 20, restart: Callable[[], None] | None = None
) -> Outcome:
    """Let *processes* fight for *seconds*.

    Args:
        open_: The store, with a lease of :data:`TTL`; called in each process, and in no other.
        restart: Kills the server and starts it again; called five times, or less often on a busy machine.
    """
    chance, kills = random.Random(7), 0
    with tempfile.TemporaryDirectory() as place:
        notes = os.open(Path(place) / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        pids = [_fork(lambda: work(open_, notes)) for _ in range(processes)]
        stopped: dict[int, float] = {}
        until_saves(Path(place) / "notes", 1)
        end = time.monotonic() + seconds
        next_restart, restarts = time.monotonic() + seconds / 6, 0
        while (now := time.monotonic()) < end or (restart is not None and not restarts):
            time.sleep(0.1)
            for pid in [pid for pid, until in stopped.items() if now > until]:
                os.kill(pid, signal.SIGCONT)
                del stopped[pid]
            place_of_one = chance.randrange(processes)
            if chance.random() < 0.15 and pids[place_of_one] not in stopped:
                _end(pids[place_of_one])
                pids[place_of_one] = _fork(lambda: work(open_, notes))
                kills += 1
            other = pids[chance.randrange(processes)]
            if chance.random() < 0.5 and other not in stopped:
                os.kill(other, signal.SIGSTOP)
                stopped[other] = now + chance.uniform(0.5, 4) * TTL
                kills += 1
            if restart is not None and now > next_restart:
                restart()
                restarts += 1
                next_restart = now + seconds / 6
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        until_saves(Path(place) / "notes", ENOUGH)
        for pid in pids:
            _end(pid)
        os.close(notes)
        told = [json.loads(line) for line in (Path(place) / "notes").read_text().splitlines()]
        return _judged(told, _history(open_, Path(place)), kills)


def until_saves(notes: Path, count: int) -> None:
    """Wait until that many saves were confirmed, for a minute at most: a busy machine needs longer."""
    end = time.monotonic() + 60
    while notes.read_text().count('"ack"') < count and time.monotonic() < end:
        time.sleep(0.05)


def _fork(run: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            run()
        finally:
            os._exit(1)
    return pid


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _history(open_: Callable[[], CheckpointStore], place: Path) -> dict[int, str]:
    """What is stored, read by a process of its own: an object store's client does not outlive a fork."""

    def read() -> None:
        (place / "history").write_text(json.dumps([*history_in(open_().read(KEY)).items()]))

    os.waitpid(_fork(read), 0)
    return dict(json.loads((place / "history").read_text()))


def _judged(told: list[list[object]], history: dict[int, str], kills: int) -> Outcome:
    counts = Counter(str(what) for what, *_ in told)
    acknowledged: dict[object, object] = {}
    lost = shared = 0
    for what, *facts in told:
        if what == "ack":
            number, name = facts
            shared += acknowledged.get(number, name) != name
            acknowledged[number] = name
            lost += history.get(number) != name  # type: ignore[call-overload]
    errors = dict(Counter(str(facts[0]) for what, *facts in told if what == "error"))
    return Outcome(len(acknowledged), lost, shared, counts["claim"], counts["stale"], counts["fold"], kills, errors)


def with_lease(url: str) -> str:
    """*url*, with leases of :data:`TTL`."""
    return f"{url}{'&' if '?' in url else '?'}lease={TTL}"


def opener(place: str, directory: Path) -> Callable[[], CheckpointStore]:
    """What opens the store that *place* names; *directory* is an empty one."""
    if place in ("directory", "unlocked"):
        if place == "unlocked":
            fcntl.flock = _no_locks
        return lambda: FileStore(directory, lease=TTL)
    if place in SERVERS:
        url = place_in(place, "fight")
    else:
        url = f"sqlite:///{directory}/fight.db" if place == "sqlite" else place
    return lambda: open_store(with_lease(url))


def _no_locks(*arguments: object) -> None:
    raise OSError(errno.ENOLCK, "no locks available")


def main() -> int:
    parser = argparse.ArgumentParser(description="Many processes fight for one operation in a store.")
    more = "sqlite, directory, unlocked (a directory that cannot lock files)"
    parser.add_argument("place", help=f"the URL of an empty place, or one of {', '.join(SERVERS)}, {more}")
    parser.add_argument("--kill", action="store_true", help="kill that server five times")
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--processes", type=int, default=20)
    options = parser.parse_args()
    if options.kill and options.place not in SERVERS:
        parser.error("--kill needs a server that is started")
    with tempfile.TemporaryDirectory() as directory:
        open_ = opener(options.place, Path(directory))
        restart = shared(options.place).restart if options.kill else None
        outcome = fight(open_, options.seconds, options.processes, restart)
    print(outcome)
    return 1 if outcome.lost or outcome.shared or outcome.saves < ENOUGH else 0


if __name__ == "__main__":
    sys.exit(main())
