"""``resumable copy``, killed at random: the target is old, or new, or reported as unfinished."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resumable import CheckpointCorruptError, CheckpointManager, checkpointed, every, open_store
from resumable._format.anywhere import copy
from resumable.stores import FileStore
from tests.conftest import Figure
from tests.faults.injection import WHOLE
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import SERVERS, place_in

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KILLS = 300 if WHOLE else 15
PADDING = {f"{number}": "x" * 90 for number in range(400)}


def save(directory: Path, steps: int) -> None:
    """A checkpoint with a journal, and an artifact."""
    with checkpointed("job", every(items=1), store=directory, auto_cleanup=False) as cp:
        files, best = cp.mapping("files"), cp.artifact("best")
        files.update(PADDING)
        for step in cp.remaining(range(steps)):
            files["last"] = step
        with best.write() as path:
            path.write_text(f"{steps} " * 1000)
        cp.save()
        files["last"] = steps
        cp.save()
    assert list(directory.glob("*.journal"))


def state_in(where: str | Path) -> int | None:
    """How many steps the checkpoint there has; None if there is none, -1 if it is being copied there."""
    try:
        found = CheckpointManager(store=str(where)).load_checkpoint("job")
    except CheckpointCorruptError as error:
        if "Run resumable copy again" not in str(error):
            raise
        return -1
    return None if found is None else int(found.state["files"]["last"])


def killed_after(seconds: float, work: Callable[[], object]) -> bool:
    """Whether *work*, in a process of its own, was killed."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, -signal.SIGALRM)
    return code != 0


@pytest.mark.parametrize("medium", ["sqlite", "redis"])
def test_a_copy_that_is_killed_leaves_no_half(medium: str, tmp_path: Path, figure: Figure) -> None:
    old, new, goal = tmp_path / "old", tmp_path / "new", tmp_path / "goal"
    save(old, 3)
    save(new, 5)
    url = place_in(medium, tmp_path) if medium in SERVERS else f"sqlite:///{goal}.db"
    chance, kills, found = random.Random(medium), 0, Counter[str]()
    before: int | None = None

    def bring(source: Path, *, is_forced: bool = False) -> None:
        copy(FileStore(source), open_store(url), "job", now=NOW, is_forced=is_forced)

    assert state_in(url) is None  # all code is loaded now
    began = time.monotonic()
    assert not killed_after(600, lambda: bring(new))
    longest = max(time.monotonic() - began, 0.02)
    assert not killed_after(600, lambda: remove(url))
    while kills < KILLS:
        is_killed = killed_after(chance.uniform(0.001, longest), lambda: bring(new))
        kills += is_killed
        step = state_in(url)
        assert step in ((before, 5, -1) if is_killed else (5,))
        found["unfinished" if step == -1 else "new" if step == 5 else "old"] += 1
        if step == -1 or chance.random() < 0.3:
            bring(new)
            assert state_in(url) == 5
        if chance.random() < 0.5:
            remove(url)
            before = None
        else:
            bring(old, is_forced=True)
            before = 3
    bring(new)
    store = open_store(url)
    store.close()
    with checkpointed("job", store=url) as cp:
        assert cp.artifact("best").path.read_text() == "5 " * 1000
    told = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    figure(f"copies killed on the way to {medium}: {told}", kills)


def remove(url: str) -> None:
    CheckpointManager(store=url).delete_checkpoint("job")
