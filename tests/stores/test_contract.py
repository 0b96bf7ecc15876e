"""What every store promises, whatever its medium. A new store joins by a line in STORES."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumable import CheckpointBusyError, CheckpointManager, StoreError, open_store
from resumable._errors import StaleCheckpointError
from resumable.stores import (
    ArtifactLease,
    ArtifactStore,
    CheckpointStore,
    FileStore,
    Holder,
    Lease,
    Stored,
    Traits,
    WishStore,
)
from resumable.stores._compressed import CompressedStore
from resumable.stores.packing import pack, unpack
from tests.support import databases  # noqa: F401 - which place_in finds by their names
from tests.support.kinds import KEY, SERVED, STORES, on
from tests.support.stores import claimed, delete, document, journal, keys, put

LOCAL = ("encrypted redis", "files", "memory", "sqlite", "compressed", "encrypted files", "encrypted memory")
# Each pair would share a file name, a table row or a key under some careless rule.
LOOKALIKES = [
    ("a/b", "a_b"),
    ("a b", "a_b"),
    ("A", "a"),
    ("a", "a "),
    ("", "_"),
    (".", ".."),
    ("a\n", "a_"),
    ("x" * 10_000, "x" * 10_001),
    ("é", "e\N{COMBINING ACUTE ACCENT}"),
    ("x", "x.json"),
    ("x.json", "x.journal"),
    ("x", "x.json.prev"),
]
IDS = sorted({operation_id for pair in LOOKALIKES for operation_id in pair} | {"../../x", "/etc/passwd", "\0", "🦊"})

any_text = st.text() | st.text("ab/_ .\\:-A", max_size=6)
on_any_text = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
look_alike = pytest.mark.parametrize(("one", "other"), LOOKALIKES, ids=lambda text: ascii(text)[:12])


journaling = pytest.mark.parametrize(
    "store", on("files", "memory", "sqlite", "compressed", "encrypted redis", *SERVED), indirect=True
)
keeping = pytest.mark.parametrize("store", on(*LOCAL, *SERVED), indirect=True)
leasing = pytest.mark.parametrize("store", on("memory", "sqlite", "compressed", *SERVED), indirect=True)
"""Those of which an operation can be taken from an owner that lives."""


@pytest.fixture(params=on(*STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


@pytest.fixture
def lease(store: CheckpointStore) -> Iterator[Lease]:
    with claimed(store, "crawl") as lease:
        yield lease


def text_of(operation_id: str, number: int = 0) -> bytes:
    """A document that says whose it is, as all of ours do."""
    return json.dumps({"version": "2.0", "operation_id": operation_id, "state": {"n": number}}).encode()


def save(lease: Lease, snapshot: bytes) -> int:
    """A whole snapshot; returns its number."""
    number = lease.next
    lease.stage(number, [snapshot])(b"")
    return number


def append(lease: Lease, *segments: bytes) -> list[int]:
    numbers = []
    for segment in segments:
        numbers.append(lease.next)
        lease.append(lease.next, segment)
    return numbers


def state(found: Stored | None) -> tuple[bytes, bytes] | None:
    return (found.snapshot, found.journal) if found is not None else None


# -- what is stored ---------------------------------------------------------------------------------------------------


def test_it_is_a_store_and_open_store_takes_it(store: CheckpointStore) -> None:
    assert isinstance(store, CheckpointStore)
    assert isinstance(store.traits, Traits)
    assert open_store(store) is store


def test_what_was_saved_is_read_until_it_is_replaced_or_deleted(store: CheckpointStore) -> None:
    assert store.read("crawl") is None
    put(store, "crawl", b'{"n": 1}')
    assert document(store, "crawl") == b'{"n": 1}'
    put(store, "crawl", b"")
    assert document(store, "crawl") == b""
    assert delete(store, "crawl") is True
    assert store.read("crawl") is None


def test_the_owner_reads_what_others_read(store: CheckpointStore, lease: Lease) -> None:
    assert lease.read() is None
    save(lease, b"x")
    assert lease.read() == store.read("crawl")
    assert document(store, "crawl") == b"x"


def test_delete_tells_whether_there_was_one(store: CheckpointStore) -> None:
    assert delete(store, "crawl") is False
    put(store, "crawl", b"x")
    assert delete(store, "crawl") is True
    assert delete(store, "crawl") is False


def test_any_bytes_come_back_out_of_any_pieces(store: CheckpointStore, lease: Lease) -> None:
    pieces = [bytes(range(256)) * size for size in (0, 1, 5000, 0, 3)]
    lease.stage(lease.next, iter(pieces))(b"")

    assert document(store, "crawl") == b"".join(pieces)


def test_it_tells_where_a_checkpoint_lies(store: CheckpointStore) -> None:
    put(store, "crawl", b"x")
    found = store.read("crawl")

    assert found is not None
    assert found.location == store.describe("crawl")
    assert "crawl" in str(store.describe("crawl"))
    assert KEY not in str(store.describe())


def test_an_empty_store_has_no_keys(store: CheckpointStore) -> None:
    assert list(store.list()) == []


def test_the_list_tells_what_is_there_and_who_works_on_it(store: CheckpointStore) -> None:
    for key in ("crawl-1", "crawl-2", "other"):
        put(store, key, text_of(key))
    with claimed(store, "crawl-2"):
        listed = {entry.key: entry for entry in store.list("crawl-*")}

    assert sorted(listed) == ["crawl-1", "crawl-2"]
    assert listed["crawl-1"].holder is None
    assert listed["crawl-2"].holder is not None
    assert (listed["crawl-2"].holder.pid, listed["crawl-2"].holder.host) == (os.getpid(), socket.gethostname())
    assert all(entry.location == store.describe(key) for key, entry in listed.items())
    assert all(entry.holder is None for entry in store.list())


def test_an_operation_that_saved_nothing_is_not_listed(store: CheckpointStore, lease: Lease) -> None:
    assert list(store.list()) == []


def test_a_store_can_be_used_again_after_close(store: CheckpointStore) -> None:
    put(store, "crawl", b"x")
    store.close()
    store.close()

    assert document(store, "crawl") == b"x"


# -- numbers ----------------------------------------------------------------------------------------------------------


def test_terms_rise_over_claims_and_deletes(store: CheckpointStore) -> None:
    terms = []
    for step in range(6):
        with claimed(store, "crawl") as lease:
            terms.append(lease.term)
            if step % 2:
                lease.delete()
            else:
                save(lease, b"x")

    assert terms == sorted(set(terms))


def test_a_snapshot_takes_the_next_number_or_a_later_one(store: CheckpointStore, lease: Lease) -> None:
    number = save(lease, b"1")
    assert lease.next == number + 1
    lease.stage(number + 50, [b"2"])(b"")

    assert lease.next == lease.where() == number + 51
    assert document(store, "crawl") == b"2"


def test_a_snapshot_is_not_seen_before_its_commit_and_is_committed_once(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"old")
    commit = lease.stage(lease.next, [b"new"])
    assert document(store, "crawl") == b"old"
    commit(b"")
    assert document(store, "crawl") == b"new"
    save(lease, b"newer")
    before = lease.next
    commit(b"")

    assert document(store, "crawl") == b"newer"
    assert lease.next == before


def test_a_snapshot_that_is_older_than_the_last_one_is_refused(store: CheckpointStore, lease: Lease) -> None:
    commits = [lease.stage(lease.next + number, [b"%d" % number]) for number in range(3)]
    commits[2](b"")
    for stale in commits[:2]:
        with pytest.raises(StaleCheckpointError):
            stale(b"")

    assert document(store, "crawl") == b"2"


def test_pieces_that_fail_leave_the_snapshot_before(store: CheckpointStore, lease: Lease) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    save(lease, b"old")
    with pytest.raises(ZeroDivisionError):
        lease.stage(lease.next, pieces())

    assert document(store, "crawl") == b"old"
    save(lease, b"new")
    assert document(store, "crawl") == b"new"


@keeping
def test_the_snapshot_before_the_last_is_kept(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"1")
    assert store.read("crawl", previous=True) is None
    save(lease, b"2")
    save(lease, b"3")
    assert state(store.read("crawl", previous=True)) == (b"2", b"")
    lease.delete()

    assert store.read("crawl", previous=True) is None


def test_a_store_that_takes_no_journal_says_so(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"x")
    if store.traits.takes_journal:
        append(lease, b"1\n")
    else:
        with pytest.raises(StoreError):
            append(lease, b"1\n")

    assert journal(store, "crawl") == (b"1\n" if store.traits.takes_journal else b"")


# -- the journal ------------------------------------------------------------------------------------------------------


@journaling
def test_segments_stand_behind_the_snapshot_byte_for_byte(store: CheckpointStore, lease: Lease) -> None:
    segments = ["ä\n".encode(), b"\0\n", b"x" * 100_000, b"", b"no end"]
    save(lease, b"x")
    append(lease, *segments)

    assert state(store.read("crawl")) == (b"x", b"".join(segments))
    assert state(lease.read()) == (b"x", b"".join(segments))


@journaling
def test_what_is_to_be_done_meanwhile_is_done_once(store: CheckpointStore, lease: Lease) -> None:
    done: list[int] = []
    save(lease, b"x")
    lease.append(lease.next, b"1\n", b"", lambda: done.append(1))

    assert done == [1]


@journaling
def test_an_append_is_as_good_as_not_made_if_what_is_done_meanwhile_fails(store: CheckpointStore, lease: Lease) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    save(lease, b"x")
    append(lease, b"1\n")
    with pytest.raises(ZeroDivisionError):
        lease.append(lease.next, b"2\n", b"", fail)
    append(lease, b"3\n")

    assert journal(store, "crawl") == b"1\n3\n"


@journaling
def test_an_append_that_is_repeated_changes_nothing_and_any_other_below_the_next_is_refused(
    store: CheckpointStore, lease: Lease
) -> None:
    snapshot = save(lease, b"x")
    first, second = append(lease, b"1\n", b"2\n")
    lease.append(second, b"2\n")
    for number, data in ((second, b"3\n"), (first, b"1\n"), (snapshot, b"2\n"), (0, b"2\n")):
        with pytest.raises(StaleCheckpointError):
            lease.append(number, data)
    lease.append(second + 10, b"3\n")

    assert lease.next == second + 11
    assert journal(store, "crawl") == b"1\n2\n3\n"


@journaling
def test_the_next_owner_goes_on_behind_what_it_read(store: CheckpointStore) -> None:
    with claimed(store, "crawl") as lease:
        save(lease, b"x")
        last = append(lease, b"1\n", b"2\n")[-1]
    with claimed(store, "crawl") as lease:
        lease.read()
        lease.append(max(lease.next, last + 1), b"3\n")
        assert journal(store, "crawl") == b"1\n2\n3\n"
    with claimed(store, "crawl") as lease:  # also without reading
        lease.append(max(lease.next, last + 2), b"4\n")
    assert journal(store, "crawl") == b"1\n2\n3\n4\n"


@journaling
def test_a_snapshot_that_is_a_save_begins_a_new_journal(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"old")
    append(lease, b"1\n", b"2\n")
    save(lease, b"new")
    assert state(store.read("crawl")) == (b"new", b"")
    assert state(store.read("crawl", previous=True)) == (b"old", b"1\n2\n")
    append(lease, b"3\n")

    assert state(store.read("crawl")) == (b"new", b"3\n")


@journaling
@pytest.mark.parametrize("at", range(6))
def test_a_fold_keeps_the_segments_behind_it(store: CheckpointStore, lease: Lease, at: int) -> None:
    """Whenever it was staged, and whatever is appended between the stage and the commit."""
    numbers = [save(lease, b"old"), *append(lease, *(b"%d\n" % number for number in range(1, 6)))]
    commit = lease.stage(numbers[at], [b"new"])
    append(lease, b"6\n")
    expected = lease.next
    commit(b"")
    behind = b"".join(b"%d\n" % number for number in range(at + 1, 7))
    found = store.read("crawl")
    assert found is not None
    assert found.snapshot == b"new"
    assert found.journal.endswith(behind)
    assert at == 0 or found.journal == behind
    assert lease.next == expected
    commit(b"")
    append(lease, b"7\n")

    assert journal(store, "crawl").endswith(behind + b"7\n")
    previous = store.read("crawl", previous=True)
    assert previous is not None
    assert (previous.snapshot, previous.journal[:12]) == (b"old", b"1\n2\n3\n4\n5\n6\n")


@journaling
def test_folds_may_follow_one_another(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"0")
    for fold in range(1, 30):
        numbers = append(lease, *(b"%d.%d\n" % (fold, number) for number in range(fold % 4 + 1)))
        commit = lease.stage(numbers[0], [b"%d" % fold])
        append(lease, b"%d.last\n" % fold)
        commit(b"")
        expected = b"".join(b"%d.%d\n" % (fold, number) for number in range(1, fold % 4 + 1)) + b"%d.last\n" % fold
        assert state(store.read("crawl")) == (b"%d" % fold, expected)


@journaling
def test_a_fold_that_was_overtaken_by_a_snapshot_is_refused(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"old")
    commit = lease.stage(append(lease, b"1\n")[0], [b"fold"])
    save(lease, b"whole")
    with pytest.raises(StaleCheckpointError):
        commit(b"")

    assert state(store.read("crawl")) == (b"whole", b"")


@journaling
def test_a_snapshot_may_be_staged_while_another_thread_appends(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"old")
    at = append(lease, b"0\n")[0]
    staging, commits = threading.Event(), []

    def pieces() -> Iterator[bytes]:
        yield b"ne"
        staging.wait(60)
        yield b"w"

    thread = threading.Thread(target=lambda: commits.append(lease.stage(at, pieces())))
    thread.start()
    append(lease, *(b"%d\n" % number for number in range(1, 200)))
    staging.set()
    thread.join()
    commits[0](b"")

    assert state(store.read("crawl")) == (b"new", b"".join(b"%d\n" % number for number in range(1, 200)))


# -- readers ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reader_never_sees_half_a_save(store: CheckpointStore, lease: Lease) -> None:
    blobs = [bytes([value]) * 300_000 for value in (1, 2)]
    save(lease, blobs[0])
    stop = threading.Event()

    def write() -> None:
        for number in range(60):
            save(lease, blobs[number % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        assert document(store, "crawl") in blobs
    writer.join()


def last_number(found: Stored | None) -> int:
    """The last save in what was read; fails if one before it is missing."""
    assert found is not None
    number = int(found.snapshot.strip(b"."))
    *lines, _ = found.journal.split(b"\n")  # the last one is empty, or about to be written
    behind = [int(line) for line in lines if int(line) > number]
    assert behind == [*range(number + 1, number + 1 + len(behind))]
    return number + len(behind)


@pytest.mark.slow
@journaling
def test_readers_see_one_state_while_a_writer_folds_all_the_time(store: CheckpointStore, lease: Lease) -> None:
    base = save(lease, b"0")
    acknowledged, stop, failures = [0], threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                least = acknowledged[0]
                assert last_number(store.read("crawl")) >= least
        except BaseException as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 400):
        lease.append(base + number, b"%d\n" % number)
        acknowledged[0] = number
        if number % 5 == 0:
            lease.stage(base + number - 3, [b"%d%s" % (number - 3, b"." * 50_000)])(b"")
    stop.set()
    for reader in readers:
        reader.join()
    assert failures == []


READ = """
import sys
from resumable.stores import FileStore
from tests.stores.test_contract import last_number
last, store = -1, FileStore(sys.argv[1])
print("reading", flush=True)
while last < 400:
    number = last_number(store.read("crawl"))
    assert number >= last, (number, last)
    last = number
"""


@pytest.mark.slow
def test_another_process_sees_one_state_while_a_writer_folds_all_the_time(tmp_path: Path) -> None:
    with claimed(FileStore(tmp_path), "crawl") as lease:
        base = save(lease, b"0")
        command = [sys.executable, "-B", "-c", READ, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"reading\n"
            for number in range(1, 401):
                lease.append(base + number, b"%d\n" % number)
                if number % 3 == 0:
                    lease.stage(base + number - 1, [b"%d" % (number - 1)])(b"")
            assert process.wait(60) == 0


# -- ids --------------------------------------------------------------------------------------------------------------


@look_alike
def test_ids_that_look_alike_do_not_share_a_checkpoint(store: CheckpointStore, one: str, other: str) -> None:
    put(store, one, text_of(one))
    put(store, other, text_of(other))

    for operation_id in (one, other):
        assert document(store, operation_id) == text_of(operation_id)
    assert keys(store) == sorted([one, other])


@pytest.mark.parametrize(("one", "other"), [pair for pair in LOOKALIKES if all(pair)])
def test_a_manager_keeps_ids_that_look_alike_apart(store: CheckpointStore, one: str, other: str) -> None:
    manager = CheckpointManager(store=store)
    manager.create_checkpoint(one, {"of": "one"})
    manager.create_checkpoint(other, {"of": "other"})

    for operation_id, owner in ((one, "one"), (other, "other")):
        found = manager.load_checkpoint(operation_id)
        assert found is not None
        assert found.state == {"of": owner}
    assert manager.list_checkpoints() == sorted([one, other])


def test_deleting_one_id_leaves_the_others(store: CheckpointStore) -> None:
    manager = CheckpointManager(store=store)
    ids = [operation_id for operation_id in IDS if operation_id]
    for number, operation_id in enumerate(ids):
        manager.create_checkpoint(operation_id, {"n": number})
    for number, operation_id in enumerate(ids):
        found = manager.load_checkpoint(operation_id)
        assert found is not None
        assert found.state == {"n": number}
        assert manager.delete_checkpoint(operation_id) is True

    assert manager.list_checkpoints() == []


@pytest.mark.slow
@on_any_text
@given(ids=st.lists(any_text, unique=True, max_size=5), data=st.data())
@pytest.mark.parametrize("kind", STORES)
def test_any_text_is_an_id_of_its_own(
    kind: str, tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    store = STORES[kind](tmp_path_factory.mktemp("ids"))
    model: dict[str, bytes] = {}
    for step, operation_id in enumerate(data.draw(st.lists(st.sampled_from(ids), max_size=8)) if ids else []):
        if operation_id in model and data.draw(st.booleans()):
            assert delete(store, operation_id) is True
            del model[operation_id]
        else:
            model[operation_id] = text_of(operation_id, step)
            put(store, operation_id, model[operation_id])

    assert keys(store) == sorted(model)
    for operation_id in ids:
        assert document(store, operation_id) == model.get(operation_id)


@pytest.mark.parametrize("operation_id", ["\ud800", "crawl \udcff", "\udfff" * 50])
def test_a_lone_surrogate_is_refused_before_anything_is_touched(store: CheckpointStore, operation_id: str) -> None:
    """No file and no database can hold one."""
    manager = CheckpointManager(store=store)
    for refused in (
        lambda: store.claim(operation_id, Holder.me()),
        lambda: store.read(operation_id),
        lambda: manager.create_checkpoint(operation_id, {}),
        lambda: manager.load_checkpoint(operation_id),
        lambda: manager.delete_checkpoint(operation_id),
    ):
        with pytest.raises(ValueError, match="surrogate"):
            refused()

    assert keys(store) == []


# -- one owner --------------------------------------------------------------------------------------------------------


def second_store(store: CheckpointStore) -> CheckpointStore:
    """Another object on the same medium; where a medium is one object, that one."""
    return FileStore(store.directory) if isinstance(store, FileStore) else store


def test_an_operation_has_one_owner_at_a_time(store: CheckpointStore) -> None:
    with claimed(store, "crawl"):
        with pytest.raises(CheckpointBusyError) as caught:
            second_store(store).claim("crawl", Holder.me())
        assert (caught.value.operation_id, caught.value.pid) == ("crawl", os.getpid())
    with claimed(second_store(store), "crawl"):
        pass


def test_another_thread_is_another_owner(store: CheckpointStore) -> None:
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            with claimed(store, "crawl"):
                outcome.append(None)
        except CheckpointBusyError as error:
            outcome.append(error)

    with claimed(store, "crawl"):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert isinstance(outcome[0], CheckpointBusyError)


@pytest.mark.slow
@look_alike
def test_ids_that_look_alike_have_owners_of_their_own(store: CheckpointStore, one: str, other: str) -> None:
    """Also before the first save, when no file tells yet whose name it is."""
    with claimed(store, one) as lease, claimed(second_store(store), other):
        save(lease, text_of(one))
        for operation_id in (one, other):
            with pytest.raises(CheckpointBusyError):
                second_store(store).claim(operation_id, Holder.me())


def test_a_lease_that_was_released_writes_nothing(store: CheckpointStore) -> None:
    with claimed(store, "crawl") as lease:
        save(lease, b"x")
        commit = lease.stage(lease.next, [b"y"])
    lease.release()
    for verb in (lambda: save(lease, b"z"), lambda: commit(b""), lease.delete, lease.renew):
        with pytest.raises(StaleCheckpointError):
            verb()

    assert document(store, "crawl") == b"x"


@leasing
def test_an_owner_whose_lease_was_taken_over_writes_nothing(store: CheckpointStore) -> None:
    with claimed(store, "crawl") as old:
        save(old, b"old")
        commit = old.stage(old.next, [b"late"])
        new = store.claim("crawl", Holder.me(), take_over=True)
        for verb in (lambda: save(old, b"z"), lambda: append(old, b"1\n"), lambda: commit(b""), old.delete, old.renew):
            with pytest.raises(StaleCheckpointError):
                verb()
        old.release()
        with pytest.raises(CheckpointBusyError):
            store.claim("crawl", Holder.me())
        save(new, b"new")

    assert document(store, "crawl") == b"new"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_writes_nothing_and_releases_nothing(store: CheckpointStore, lease: Lease) -> None:
    save(lease, b"x")
    commit = lease.stage(lease.next, [b"y"])
    child = os.fork()
    if child == 0:
        refused = 0
        for verb in (lambda: save(lease, b"z"), lambda: commit(b""), lease.delete):
            try:
                verb()
            except StoreError as error:
                refused += "forked" in str(error)
        lease.release()
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with pytest.raises(CheckpointBusyError):
        second_store(store).claim("crawl", Holder.me())
    commit(b"")

    assert document(store, "crawl") == b"y"


# -- what somebody wishes of an owner ---------------------------------------------------------------------------------


def test_a_wish_is_heard_until_it_is_cleared(store: CheckpointStore) -> None:
    assert isinstance(store, WishStore)
    assert store.traits.looks_every is not None
    assert store.wish("crawl") is None

    with claimed(store, "crawl") as lease:
        save(lease, text_of("crawl"))
        store.put_wish("crawl", b"pause\0\xff")
        store.put_wish("crawl", b"stop")
        assert store.wish("crawl") == b"stop"
        assert store.wish("other") is None
        store.clear_wish("crawl", b"pause\0\xff")  # that one was replaced meanwhile
        assert store.wish("crawl") == b"stop"
        store.clear_wish("crawl", b"stop")
        assert store.wish("crawl") is None
        store.clear_wish("crawl", b"stop")


def test_a_wish_is_no_part_of_the_checkpoint(store: CheckpointStore) -> None:
    assert isinstance(store, WishStore)
    store.put_wish("crawl", b"again")

    assert keys(store) == []
    assert document(store, "crawl") is None
    put(store, "crawl", text_of("crawl"))
    assert keys(store) == ["crawl"]
    assert delete(store, "crawl") is True
    assert store.wish("crawl") == b"again"


@look_alike
def test_ids_that_look_alike_have_wishes_of_their_own(store: CheckpointStore, one: str, other: str) -> None:
    assert isinstance(store, WishStore)
    store.put_wish(one, b"of one")
    store.put_wish(other, b"of the other")

    assert (store.wish(one), store.wish(other)) == (b"of one", b"of the other")
    store.clear_wish(one, b"of one")
    assert (store.wish(one), store.wish(other)) == (None, b"of the other")


# -- artifacts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def keeper(store: CheckpointStore, lease: Lease) -> tuple[ArtifactStore, ArtifactLease]:
    assert store.traits.keeps_artifacts
    return cast("ArtifactStore", store), cast("ArtifactLease", lease)


Keeper = tuple[ArtifactStore, ArtifactLease]


def artifact(store: ArtifactStore, name: str) -> bytes:
    return b"".join(store.read_artifact("crawl", name))


def artifacts(store: ArtifactStore) -> list[str]:
    return sorted(name for name, _ in store.list_artifacts("crawl"))


@keeping
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([], id="none"),
        pytest.param([b""], id="one that is empty"),
        pytest.param([b"x"], id="a byte"),
        pytest.param([b"ab" * 300_000, b"", b"c" * 1_000_000, b"d"], id="some MiB"),
        pytest.param([b"e" * (1 << 20), b"f" * (1 << 20)], id="whole MiB"),
        pytest.param([bytes(range(256)) * 10] * 1000, id="many"),
    ],
)
def test_an_artifact_comes_back_byte_for_byte(keeper: Keeper, pieces: list[bytes]) -> None:
    store, lease = keeper
    lease.put_artifact("0123abcd", iter(pieces))

    assert artifact(store, "0123abcd") == b"".join(pieces)
    assert artifacts(store) == ["0123abcd"]
    size = sum(size for _, size in store.list_artifacts("crawl"))
    assert size >= sum(map(len, pieces)) or isinstance(store, CompressedStore)


@keeping
def test_an_artifact_that_is_missing_is_an_error(keeper: Keeper) -> None:
    store, lease = keeper
    lease.put_artifact("0123abcd", [b"x"])

    with pytest.raises(StoreError):
        artifact(store, "another")
    with pytest.raises(StoreError):
        list(store.read_artifact("another operation", "0123abcd"))
    assert list(store.list_artifacts("another operation")) == []


@keeping
@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "\0", "é", "-x", ".x", "x" * 81])
def test_the_name_of_an_artifact_is_one_that_every_medium_can_hold(keeper: Keeper, name: str) -> None:
    store, lease = keeper
    with pytest.raises(ValueError, match="not a valid name"):
        lease.put_artifact(name, [b"x"])
    with pytest.raises(ValueError, match="not a valid name"):
        list(store.read_artifact("crawl", name))


@keeping
def test_artifacts_of_ids_that_look_alike_are_apart(keeper: Keeper, store: CheckpointStore) -> None:
    for one, other in LOOKALIKES:
        if not one or not other:
            continue
        with claimed(store, one) as lease:
            cast("ArtifactLease", lease).put_artifact("v", [one.encode()])
        with claimed(store, other) as lease:
            assert list(keeper[0].list_artifacts(other)) == []
            cast("ArtifactLease", lease).put_artifact("v", [other.encode()])
        assert b"".join(keeper[0].read_artifact(one, "v")) == one.encode()
        delete(store, one)
        assert b"".join(keeper[0].read_artifact(other, "v")) == other.encode()
        delete(store, other)


@keeping
def test_what_is_not_kept_is_removed(keeper: Keeper) -> None:
    store, lease = keeper
    save(lease, b"x")
    for name in ("a", "b", "c"):
        lease.put_artifact(name, [name.encode()])
    lease.keep_artifacts(["b", "missing"])

    assert artifacts(store) == ["b"]
    assert artifact(store, "b") == b"b"
    lease.keep_artifacts([])
    assert artifacts(store) == []
    assert document(store, "crawl") == b"x"


@keeping
def test_artifacts_stay_over_saves_and_claims_and_go_with_the_checkpoint(keeper: Keeper) -> None:
    store, lease = keeper
    assert lease.has_artifacts is False
    lease.put_artifact("a", [b"1"])
    save(lease, b"x")
    save(lease, b"y")
    lease.release()
    with claimed(store, "crawl") as again:
        assert artifact(store, "a") == b"1"
        again.delete()
        assert artifacts(store) == []
    with claimed(store, "crawl") as again:
        assert cast("ArtifactLease", again).has_artifacts is False


@keeping
def test_pieces_that_fail_leave_the_other_artifacts(keeper: Keeper) -> None:
    store, lease = keeper

    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise RuntimeError("mine")

    lease.put_artifact("a", [b"1"])
    with pytest.raises(RuntimeError, match="mine"):
        lease.put_artifact("b", pieces())

    lease.keep_artifacts(["a"])
    assert artifacts(store) == ["a"]
    assert artifact(store, "a") == b"1"


@keeping
def test_a_place_is_read_as_the_tar_of_what_was_written_there(keeper: Keeper, tmp_path: Path) -> None:
    store, lease = keeper
    place = lease.artifact_place("a")
    if place is None:  # only where files lie as they are
        assert not isinstance(store, FileStore)
        return
    (place / "one").write_bytes(b"1" * 2_000_000)
    (place / "inner" / "deep").mkdir(parents=True)
    (place / "inner" / "deep" / "two").write_bytes(b"2")
    lease.seal_artifact("a")
    tar = artifact(store, "a")
    lease.put_artifact("b", [tar])
    (tmp_path / "out").mkdir()
    unpack([tar], tmp_path / "out")

    assert lease.artifact_place("a") == place
    assert lease.artifact_place("b") is None
    assert (tmp_path / "out" / "one").read_bytes() == b"1" * 2_000_000
    assert (tmp_path / "out" / "inner" / "deep" / "two").read_bytes() == b"2"
    assert b"".join(pack(tmp_path / "out")) == tar == artifact(store, "b")


@keeping
def test_a_lease_that_was_released_writes_no_artifact(keeper: Keeper) -> None:
    store, lease = keeper
    save(lease, b"x")
    lease.put_artifact("a", [b"1"])
    lease.release()

    with pytest.raises(StaleCheckpointError):
        lease.put_artifact("b", [b"2"])
    with pytest.raises(StaleCheckpointError):
        lease.keep_artifacts([])
    assert artifacts(store) == ["a"]


READ_FOR_SECONDS = """
import sys, time
from resumable.stores import FileStore
store, end, torn = FileStore(sys.argv[1]), time.monotonic() + 4, 0
while time.monotonic() < end:
    torn += b"\\0" in store.read("crawl").journal
print(torn)
"""


@pytest.mark.slow
def test_another_process_reads_no_save_that_is_just_being_written(tmp_path: Path) -> None:
    """The kernel lets who reads a file see some bytes of a write before others, about once in 2,000 times."""
    with claimed(FileStore(tmp_path), "crawl") as lease:
        base = save(lease, b"0")
        command = [sys.executable, "-B", "-c", READ_FOR_SECONDS, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for number in itertools.count(1):
                lease.append(base + number, b"%d %s\n" % (number, b"x" * 9000))
                if number % 50 == 0:
                    lease.stage(base + number, [b"%d" % number])(b"")
                if process.poll() is not None:
                    break
            assert process.stdout is not None
            assert process.stdout.read() == "0\n"
