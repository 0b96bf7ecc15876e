"""A store that is away when the run ends: what it could not take is kept here, and brought there by the next run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from resumable import CheckpointManager, StoreError, checkpointed, every, open_store
from resumable.stores import CheckpointStore, EncryptedStore, FileStore
from tests.support import databases
from tests.support.media import Medium, redis
from tests.support.proxy import Proxy

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
NAME = ".checkpoint_job.json"


@pytest.fixture
def server() -> Iterator[Medium]:
    with redis() as server:
        yield server


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this machine's checkpoints lie."""
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


def run(store: str | CheckpointStore, *, upto: int = 20, kill: Medium | None = None) -> list[int]:
    """Does items; what it found done. With *kill*, the server ends at item 7, and the run at item 12."""
    options: Any = {"on_store_error": "continue", "patience": 0.3, "store": store, "auto_cleanup": False}
    with checkpointed("job", every(items=1), **options) as cp:
        log = cp.log("log")
        before = list(log)
        for number in cp.remaining(range(upto)):
            if kill is not None and number == 7:
                cp.save()
                kill.kill()
            if kill is not None and number == 12:
                raise ValueError("over")
            log.append(number)
    return before


def url_of(server: Medium) -> str:
    """With a lease that ends soon: the owner that a test leaves behind is this very process."""
    return f"{server.url}?lease=0.5"


def give_up(store: str | CheckpointStore, server: Medium) -> str:
    """A run whose store goes away; what its error says."""
    with pytest.raises(ValueError, match="over") as caught:
        run(store, kill=server)
    return "\n".join(caught.value.__notes__)


@pytest.mark.parametrize("kind", ["redis", "postgresql"])
def test_what_the_store_could_not_take_is_brought_there_by_the_next_run(kind: str, here: Path) -> None:
    with redis() if kind == "redis" else databases.postgresql() as server:
        assert f"is kept in {here / NAME}" in give_up(url_of(server), server)
        assert (here / NAME).stat().st_mode & 0o777 == 0o600
        assert databases.PASSWORD not in (here / NAME).read_text()
        kept = CheckpointManager(here).load_checkpoint("job")
        assert kept is not None
        assert kept.state["log"] == [*range(12)]

        with pytest.raises(StoreError):  # it is away still
            run(url_of(server))
        assert (here / NAME).exists()
        server.restart()
        assert run(url_of(server)) == [*range(12)]
        assert os.listdir(here) == []
        assert run(url_of(server), upto=30) == [*range(20)]


def test_what_is_kept_here_is_shown_with_the_store_that_it_waits_for(here: Path, server: Medium) -> None:
    give_up(url_of(server), server)
    for arguments in (["list"], ["show", "job"]):
        command = [sys.executable, "-m", "resumable", *arguments]
        shown = subprocess.run(command, env=environment(), capture_output=True, text=True, cwd=here)
        assert "redis://127.0.0.1" in shown.stdout
    told = subprocess.run([*command[:3], "list", "--json"], env=environment(), capture_output=True, cwd=here)
    assert json.loads(told.stdout)["checkpoints"][0]["waits_for"] == f"{server.url}#job"


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def test_it_lies_where_checkpoints_lie_on_this_machine_whatever_the_program_does_to_its_directory(
    here: Path, server: Medium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHECKPOINT_DIR", str(tmp_path / "named"))
    block = checkpointed("job", store=url_of(server), patience=0.1, on_store_error="continue")
    os.chdir("/")

    def job() -> None:
        with block as cp:
            for number in cp.remaining(range(3)):
                if number == 1:
                    server.kill()

    with pytest.raises(StoreError) as caught:
        job()
    assert str(tmp_path / "named" / NAME) in "".join(caught.value.__notes__)
    assert (tmp_path / "named" / NAME).exists()


def test_a_job_that_was_done_when_the_store_was_away_is_not_done_again(here: Path, server: Medium) -> None:
    def job(*, kills: bool) -> int:
        with checkpointed("job", store=url_of(server), patience=0.1, on_store_error="continue") as cp:
            count = 0
            for number in cp.remaining(range(10)):
                count += 1
                if kills and number == 5:
                    server.kill()
        return count

    with pytest.raises(StoreError):
        job(kills=True)
    server.restart()
    assert job(kills=False) == 0
    assert [*open_store(url_of(server)).list()] == []
    assert os.listdir(here) == []


def test_a_run_that_is_started_in_another_directory_brings_it_too(
    here: Path, server: Medium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESUMABLE_INDEX", str(tmp_path / "index"))
    give_up(url_of(server), server)
    server.restart()
    monkeypatch.chdir(tmp_path)
    assert run(url_of(server)) == [*range(12)]
    assert os.listdir(here) == []
    assert run(url_of(server)) == [*range(20)]


def test_it_is_encrypted_where_the_store_is(here: Path, server: Medium) -> None:
    store = EncryptedStore(f"{url_of(server)}&compress=zstd", EncryptedStore.new_key())
    give_up(store, server)
    assert b"range" not in (here / NAME).read_bytes()
    assert b'"log"' not in (here / NAME).read_bytes()
    server.restart()
    assert run(store) == [*range(12)]
    assert os.listdir(here) == []


def test_a_newer_one_in_the_store_is_not_replaced_by_what_was_kept(
    here: Path, server: Medium, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    give_up(url_of(server), server)
    server.restart()
    monkeypatch.chdir(tmp_path)  # another machine
    before = run(url_of(server), upto=15)
    assert before == [*range(7)]
    monkeypatch.chdir(here)

    assert run(url_of(server)) == [*range(15)]
    (told,) = [record.getMessage() for record in caplog.records if "Another run has gone on" in record.getMessage()]
    (kept,) = here.iterdir()
    assert str(kept) in told
    assert server.url in told
    assert kept.name.startswith(f"{NAME}.unsaved-")
    assert json.loads(kept.read_text())["state"]["log"] == [*range(12)]
    assert run(url_of(server)) == [*range(20)]


def test_a_checkpoint_of_that_name_which_is_none_of_its_business_stays(here: Path, server: Medium) -> None:
    with checkpointed("job", store=here, auto_cleanup=False) as cp:
        cp.state["mine"] = True
    told = give_up(url_of(server), server)
    assert f"{here}/unsaved-" in told
    server.restart()
    assert run(url_of(server)) == [*range(12)]
    found = CheckpointManager(here).load_checkpoint("job")
    assert found is not None
    assert found.state == {"mine": True}


def test_a_save_whose_answer_was_lost_is_not_taken_for_another_run(here: Path, server: Medium) -> None:
    with Proxy(int(server.url.rpartition(":")[2].partition("/")[0])) as proxy:
        url = proxy.url(url_of(server))
        options: Any = {"store": url, "patience": 0.3, "on_store_error": "continue", "auto_cleanup": False}

        def job() -> None:
            with checkpointed("job", every(items=1), **options) as cp:
                log = cp.log("log")
                for number in cp.remaining(range(20)):
                    if number == 9:
                        raise ValueError("over")
                    log.append(number)
                    if number == 5:
                        cp.save()
                        proxy.lose = frozenset(range(100_000))

        with pytest.raises(ValueError, match="over"):
            job()
        proxy.lose = frozenset()
        assert (here / NAME).exists()
        assert run(url) == [*range(9)]
    assert os.listdir(here) == []


async def test_async_code_keeps_it_too(here: Path, server: Medium) -> None:
    async def job() -> None:
        async with checkpointed("job", every(items=1), store=url_of(server), patience=0.2) as cp:
            log = cp.log("log")
            for number in range(5):
                log.append(number)
                await cp.tick()
            await cp.save()
            server.kill()
            raise ValueError("over")

    with pytest.raises(ValueError, match="over"):
        await job()
    server.restart()
    assert run(url_of(server)) == [*range(5)]
    assert os.listdir(here) == []


def test_an_artifact_comes_along(here: Path, server: Medium) -> None:
    def job() -> None:
        with checkpointed("job", store=url_of(server), patience=0.2) as cp:
            for number in cp.remaining(range(3)):
                if number == 1:
                    server.kill()
                    raise ValueError("over")
                with cp.artifact("model").write() as path:
                    path.write_text("m" * 3000)

    with pytest.raises(ValueError, match="over"):
        job()
    assert CheckpointManager(here).load_checkpoint("job") is not None
    server.restart()
    with checkpointed("job", store=url_of(server)) as cp:
        assert cp.artifact("model").path.read_text() == "m" * 3000
        [*cp.remaining(range(3))]


def test_a_run_that_is_killed_while_it_brings_it_loses_nothing(here: Path, server: Medium) -> None:
    """Whenever a run dies, the next one begins with all that was done, and says so once."""
    chance, killed = random.Random(3), 0
    run(url_of(server))  # all code is loaded now
    for _ in range(5):
        CheckpointManager(store=url_of(server)).delete_checkpoint("job")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(here / NAME)
        give_up(url_of(server), server)
        server.restart()
        kept = (here / NAME).read_bytes()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.02))
            with contextlib.suppress(BaseException), checkpointed("job", store=url_of(server), auto_cleanup=False):
                time.sleep(60)
            os._exit(1)
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGALRM
        assert not (here / NAME).exists() or (here / NAME).read_bytes() == kept
        assert run(url_of(server)) == [*range(12)]
        assert [path.name for path in here.iterdir()] == []
    assert killed
    assert FileStore(here).read("job") is None


def test_it_lies_here_before_the_store_is_waited_for_and_goes_when_that_comes_back(
    here: Path, server: Medium, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever stops a process kills it soon after."""
    seen: list[bool] = []

    def start_later() -> None:
        until = time.monotonic() + 30
        while not (here / NAME).exists() and time.monotonic() < until:
            time.sleep(0.01)
        seen.append((here / NAME).exists())
        server.restart()

    def job() -> None:
        options: Any = {"on_store_error": "continue", "patience": 30, "store": url_of(server)}
        with checkpointed("job", every(items=1), **options) as cp:
            for number in cp.remaining(range(20)):
                if number == 7:
                    cp.save()
                    server.kill()
                    starter.start()
                if number == 12:
                    until = time.monotonic() + 30
                    while "It is tried again" not in caplog.text and time.monotonic() < until:
                        time.sleep(0.01)
                    raise ValueError("over")

    starter = threading.Thread(target=start_later)
    with pytest.raises(ValueError, match="over"):
        job()
    starter.join()
    assert seen == [True]
    assert os.listdir(here) == []
    assert remaining_of(server) == [*range(12, 20)]


@pytest.mark.parametrize("patience", [0.3, 60.0])
def test_the_loop_goes_on_though_the_store_is_away_for_longer_than_the_lease(
    patience: float, here: Path, server: Medium
) -> None:
    """Nobody took over the operation: an owner that was silent this long may be replaced, but was not."""
    options: Any = {"on_store_error": "continue", "patience": patience, "store": url_of(server)}
    with checkpointed("job", every(items=1), auto_cleanup=False, **options) as cp:
        log, longest, began = cp.log("log"), 0.0, time.monotonic()
        for number in cp.remaining(range(200)):
            longest = max(longest, time.monotonic() - began)
            log.append(number)
            if number == 20:
                server.kill()
            if number == 170:
                server.restart()
            time.sleep(0.01)
            began = time.monotonic()
        assert longest < 20  # the server comes back by an item of this loop
    assert os.listdir(here) == []
    found = CheckpointManager(store=url_of(server)).load_checkpoint("job")
    assert found is not None
    assert found.state["log"] == [*range(200)]


def remaining_of(server: Medium) -> list[int]:
    with checkpointed("job", store=url_of(server)) as cp:
        return [*cp.remaining(range(20))]


STOPPED = """
import sys, time
from resumable import checkpointed, every
with checkpointed("job", every(items=1), store=sys.argv[1], on_store_error="continue") as cp:
    for number in cp.remaining(range(100_000)):
        cp.log("log").append(number)
        if number == 5:
            print("works", flush=True)
        time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_wait_for_a_store_that_is_away(number: int, here: Path, server: Medium) -> None:
    command = [sys.executable, "-B", "-c", STOPPED, f"{server.url}?lease=3600"]
    with subprocess.Popen(command, env=environment(), cwd=here, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "works\n"
        server.kill()
        job.send_signal(number)
        while not (here / NAME).exists():
            time.sleep(0.01)
        time.sleep(1.1)  # what comes within a second is one wish
        job.send_signal(number)
        assert job.wait(30) == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert (here / NAME).exists()


def test_a_process_that_is_told_to_stop_while_its_store_is_away_keeps_its_work_at_once(
    here: Path, server: Medium
) -> None:
    """Kubernetes gives it 30 seconds; its patience has 60."""
    command = [sys.executable, "-B", "-c", STOPPED, url_of(server)]
    with subprocess.Popen(
        command, env=environment(), cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        assert job.stdout.readline() == "works\n"
        server.kill()
        assert "It is tried again" in job.stderr.readline()
        job.send_signal(signal.SIGTERM)
        until = time.monotonic() + 40
        while not (here / NAME).exists() and time.monotonic() < until:
            time.sleep(0.01)
        job.kill()
    kept = CheckpointManager(here).load_checkpoint("job")
    assert kept is not None
    server.restart()
    with checkpointed("job", store=url_of(server)) as cp:
        assert list(cp.log("log")) == kept.state["log"]
        cp.keep()
