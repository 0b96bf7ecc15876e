"""Stores on servers: fights for an operation, owners that were stopped, answers that are lost, machines that die."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, checkpointed, every, open_store
from resumable.stores import CheckpointStore, Holder, Lease
from tests.conftest import Figure
from tests.faults.injection import WHOLE
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.media import place_in, shared
from tests.support.proxy import Proxy
from tests.support.stores import document, journal

REPOSITORY = Path(__file__).parents[2]
SERVED = ("postgresql", "mariadb", "redis", "valkey", "moto", "seaweed", "azurite")
KEEPING = ("redis", "postgresql", "mariadb", "valkey", "seaweed")
"""They still have what they have acknowledged when they were killed."""
FIGHT = ["--seconds=30", "--processes=20"] if WHOLE else ["--seconds=3", "--processes=8"]
KILLS = 20 if WHOLE else 4


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def module(name: str, *arguments: object) -> list[str]:
    return [sys.executable, "-B", "-m", f"tests.faults.{name}", *map(str, arguments)]


def with_lease(url: str, seconds: float) -> str:
    return f"{url}{'&' if '?' in url else '?'}lease={seconds}"


def fought(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        module("fight", *arguments, *FIGHT), cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )


@pytest.mark.parametrize("server", [*SERVED, "sqlite", "unlocked"])
def test_each_save_has_one_writer_and_none_is_lost(server: str, figure: Figure) -> None:
    if server in SERVED:
        shared(server)  # skips where it is missing
    done = fought(server)
    assert done.returncode == 0, done.stdout + done.stderr
    figure(f"owners killed and stopped in a fight, {server}: {done.stdout.strip()}", int(done.stdout.split()[0]))


@pytest.mark.parametrize("server", KEEPING if WHOLE else KEEPING[:1])
def test_no_save_is_lost_though_the_server_is_killed(server: str, figure: Figure) -> None:
    shared(server)
    done = fought(server, "--kill")
    assert done.returncode == 0, done.stdout + done.stderr
    figure(f"servers killed in a fight, {server}: {done.stdout.strip()}", int(done.stdout.split()[0]))


def test_a_server_that_forgets_is_found_out() -> None:
    """Else the two tests above would show nothing."""
    shared("forgetful")
    done = fought("forgetful", "--kill")

    assert done.returncode == 1
    lost = re.search(r"lost (\d+)", done.stdout)
    assert lost is not None
    assert int(lost[1]) > 0


def claimed_when_free(store: CheckpointStore) -> Lease:
    until = time.monotonic() + 100
    while True:
        try:
            return store.claim("crawl", Holder.me())
        except CheckpointBusyError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.mark.parametrize("server", SERVED)
def test_an_owner_that_was_stopped_for_longer_than_its_lease_is_refused(server: str, tmp_path: Path) -> None:
    url = with_lease(place_in(server, tmp_path), 0.5)
    with subprocess.Popen(
        module("stopped_owner", url), cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "stops\n"
        store = open_store(url)
        lease = claimed_when_free(store)
        assert document(store, "crawl") == b"old"
        lease.append(lease.next, b"ours\n")
        os.kill(owner.pid, signal.SIGCONT)
        assert owner.stdout.read().split() == ["refused"] * 4
    lease.append(lease.next, b"too\n")
    lease.release()

    assert (document(store, "crawl"), journal(store, "crawl")) == (b"old", b"1\nours\ntoo\n")


VERBS = ("save", "set", "sink", "write", "publish", "once", "tick")


@pytest.mark.parametrize("server", SERVED if WHOLE else ("redis", "moto"))
def test_a_run_that_was_stopped_for_longer_than_its_lease_writes_nothing_more(server: str, tmp_path: Path) -> None:
    """Not by any verb: neither into the store, nor into its files."""
    for verb in VERBS:
        url, here = with_lease(place_in(server, tmp_path / verb), 0.5), tmp_path / f"{verb} here"
        (here / "private").mkdir(parents=True)
        environ = environment() | {"TMPDIR": str(here / "private")}  # another machine would have another one
        with subprocess.Popen(
            module("stopped_run", url, verb, here),
            cwd=REPOSITORY,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as run:
            assert run.stdout is not None
            assert run.stdout.readline() == "stands\n"
            os.kill(run.pid, signal.SIGSTOP)
            lease = claimed_when_free(open_store(url))
            lease.stage(lease.next, [b"theirs"])(b"")
            os.kill(run.pid, signal.SIGCONT)
            assert run.communicate("go on\n", timeout=200)[0] == "refused\n"
        assert document(open_store(url), "crawl") == b"theirs"
        lease.release()
        assert {path.name for path in here.iterdir()} == {"private", "sink", ".sink.claim"}
        assert (here / "sink").read_text() == "0\n1\n2\n3\n"


def run_through(proxy: Proxy, url: str) -> None:
    """A small loop whose every item is saved; fails if what it restores is wrong."""
    store = open_store(proxy.url(url))
    try:
        for _ in range(2):
            with checkpointed("job", every(items=1), store=store, auto_cleanup=False, when_done="skip") as cp:
                log = cp.log("log")
                for item in cp.remaining(range(12)):
                    log.append([item, "x" * 1000])
                assert [item for item, _ in log] == [*range(12)]
    finally:
        store.close()


@pytest.mark.parametrize("server", SERVED)
def test_an_answer_that_is_lost_changes_nothing(server: str, tmp_path: Path, figure: Figure) -> None:
    """At every request of a run, one after the other."""
    with Proxy(port_of(server)) as proxy:
        run_through(proxy, place_in(server, tmp_path / "first"))
        total, lost = proxy.answers, 0
        step = 1 if WHOLE or server == "moto" else 4
        for number in range(0, total + 4, step):
            proxy.answers, proxy.lose = 0, {number}
            run_through(proxy, place_in(server, tmp_path / str(number)))
            lost += proxy.answers > number
    assert lost >= total // step // 2
    figure(f"answers lost on the way, {server}", lost)


def port_of(server: str) -> int:
    found = re.search(r"127\.0\.0\.1:(\d+)", shared(server).url)
    assert found is not None
    return int(found[1])


# -- the real loop ----------------------------------------------------------------------------------------------------


def on_host(number: int, command: list[str]) -> list[str]:
    """*command* on a machine with another name and other process ids."""
    inside = f"hostname machine-{number % 2}; exec {shlex.join(command)}"
    return ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", inside]


def can_unshare() -> bool:
    command = on_host(0, ["true"])
    return os.path.exists("/usr/bin/unshare") and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("server", SERVED)
def test_the_real_loop_ends_right_though_it_is_killed_on_one_machine_after_the_other(
    server: str, tmp_path: Path, figure: Figure
) -> None:
    url, chance, notes = with_lease(place_in(server, tmp_path), 0.6), random.Random(server), tmp_path / "notes"
    many = can_unshare()
    kills = 0
    while True:
        command = module("store_job", url, notes)
        job = subprocess.Popen(
            on_host(kills, command) if many else command,
            cwd=REPOSITORY,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        begun = noted(notes)
        if kills < KILLS:
            until = time.monotonic() + 60
            while job.poll() is None and noted(notes) == begun and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(chance.random() * (0.1 if WHOLE else 0.25))
            job.kill()
        out, errors = job.communicate(timeout=120)
        if job.returncode != -signal.SIGKILL:
            break
        kills += 1
    assert (job.returncode, out) == (0, "right\n"), errors
    done = Counter(notes.read_text().split())
    twice = sum(done.values()) - len(done)
    assert len(done) == 900
    figure(f"the real loop killed on alternating machines, {server}: {twice} parts done twice", kills)


def noted(notes: Path) -> int:
    return notes.stat().st_size if notes.exists() else 0
