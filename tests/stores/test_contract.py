"""What every store promises, whatever its medium. A new store joins by a line in STORES."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resumable import CheckpointBusyError, CheckpointManager, StoreError, open_store
from resumable.stores import CheckpointStore, EncryptedStore, FileStore, MemoryStore, OwningStore

KEY = EncryptedStore.new_key()
STORES: dict[str, Callable[[Path], CheckpointStore]] = {
    "files": lambda directory: FileStore(directory / "store"),
    "memory": lambda directory: MemoryStore(),
    "encrypted files": lambda directory: EncryptedStore(FileStore(directory / "store"), KEY),
    "encrypted memory": lambda directory: EncryptedStore(MemoryStore(), KEY),
}
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
on_any_text = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CheckpointStore]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


def as_owner(store: CheckpointStore) -> OwningStore:
    assert isinstance(store, OwningStore)
    return store


# -- the five verbs ---------------------------------------------------------------------------------------------------


def test_it_is_a_store_and_open_store_takes_it(store: CheckpointStore) -> None:
    assert isinstance(store, CheckpointStore)
    assert open_store(store) is store


def test_what_was_put_is_got_until_it_is_replaced_or_deleted(store: CheckpointStore) -> None:
    assert store.get("crawl") is None
    store.put("crawl", b'{"n": 1}')
    assert store.get("crawl") == b'{"n": 1}'
    store.put("crawl", b"")
    assert store.get("crawl") == b""
    assert store.delete("crawl") is True
    assert store.get("crawl") is None


def test_delete_tells_whether_there_was_one(store: CheckpointStore) -> None:
    assert store.delete("crawl") is False
    store.put("crawl", b"x")
    assert store.delete("crawl") is True
    assert store.delete("crawl") is False


def test_any_bytes_come_back(store: CheckpointStore) -> None:
    blob = bytes(range(256)) * 5000
    store.put("crawl", blob)

    assert store.get("crawl") == blob


def test_put_tells_where_it_lies(store: CheckpointStore) -> None:
    assert "crawl" in str(store.put("crawl", b"x"))


def test_an_empty_store_has_no_keys(store: CheckpointStore) -> None:
    assert list(store.keys()) == []


def test_a_store_can_be_used_again_after_close(store: CheckpointStore) -> None:
    store.put("crawl", b"x")
    store.close()
    store.close()

    assert store.get("crawl") == b"x"


# -- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("one", "other"), LOOKALIKES, ids=lambda text: ascii(text)[:12])
def test_ids_that_look_alike_do_not_share_a_checkpoint(store: CheckpointStore, one: str, other: str) -> None:
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
    for number, operation_id in enumerate(IDS):
        manager.create_checkpoint(operation_id, {"n": number})
    for number, operation_id in enumerate(IDS):
        found = manager.load_checkpoint(operation_id)
        assert found is not None
        assert found.state == {"n": number}
        assert manager.delete_checkpoint(operation_id) is True

    assert manager.list_checkpoints() == []


@on_any_text
@given(ids=st.lists(any_text, unique=True, max_size=5), data=st.data())
@pytest.mark.parametrize("kind", STORES)
def test_any_text_is_an_id_of_its_own(
    kind: str, tmp_path_factory: pytest.TempPathFactory, ids: list[str], data: st.DataObject
) -> None:
    manager = CheckpointManager(store=STORES[kind](tmp_path_factory.mktemp("ids")))
    model: dict[str, dict[str, Any]] = {}
    for step, operation_id in enumerate(data.draw(st.lists(st.sampled_from(ids), max_size=8)) if ids else []):
        if operation_id in model and data.draw(st.booleans()):
            assert manager.delete_checkpoint(operation_id) is True
            del model[operation_id]
        else:
            manager.create_checkpoint(operation_id, model.setdefault(operation_id, {}) | {"step": step})
            model[operation_id] = {"step": step}

    assert manager.list_checkpoints() == sorted(model)
    for operation_id in ids:
        found = manager.load_checkpoint(operation_id)
        assert (found.state if found is not None else None) == model.get(operation_id)


@pytest.mark.parametrize("operation_id", ["\ud800", "crawl \udcff", "\udfff" * 50])
def test_a_lone_surrogate_is_refused_before_anything_is_touched(store: CheckpointStore, operation_id: str) -> None:
    """No file and no database can hold one."""
    manager = CheckpointManager(store=store)
    for refused in (
        lambda: manager.create_checkpoint(operation_id, {}),
        lambda: manager.load_checkpoint(operation_id),
        lambda: manager.delete_checkpoint(operation_id),
    ):
        with pytest.raises(ValueError, match="surrogate"):
            refused()

    assert list(store.keys()) == []


# -- all or nothing ---------------------------------------------------------------------------------------------------


def test_a_reader_never_sees_half_a_put(store: CheckpointStore) -> None:
    blobs = [bytes([value]) * 300_000 for value in (1, 2)]
    store.put("crawl", blobs[0])
    stop = threading.Event()

    def write() -> None:
        for number in range(60):
            store.put("crawl", blobs[number % 2])
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not stop.is_set():
        assert store.get("crawl") in blobs
    writer.join()


# -- one owner --------------------------------------------------------------------------------------------------------


def second_owner(store: CheckpointStore) -> OwningStore:
    """Another object on the same medium; where a medium is one object, that one."""
    return FileStore(store.directory) if isinstance(store, FileStore) else as_owner(store)


def test_an_operation_has_one_owner_at_a_time(store: CheckpointStore) -> None:
    with as_owner(store).own("crawl"):
        with pytest.raises(CheckpointBusyError) as caught, second_owner(store).own("crawl"):
            pass
        assert caught.value.operation_id == "crawl"
    with second_owner(store).own("crawl"):
        pass


def test_another_thread_is_another_owner(store: CheckpointStore) -> None:
    outcome: list[BaseException | None] = []

    def run() -> None:
        try:
            with as_owner(store).own("crawl"):
                outcome.append(None)
        except CheckpointBusyError as error:
            outcome.append(error)

    with as_owner(store).own("crawl"):
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    assert isinstance(outcome[0], CheckpointBusyError)


@pytest.mark.parametrize(("one", "other"), LOOKALIKES, ids=lambda text: ascii(text)[:12])
def test_ids_that_look_alike_have_owners_of_their_own(store: CheckpointStore, one: str, other: str) -> None:
    """Also before the first save, when no file tells yet whose name it is."""
    owners = as_owner(store)
    with owners.own(one), second_owner(store).own(other):
        owners.put(one, b"1")
        with pytest.raises(CheckpointBusyError), second_owner(store).own(one):
            pass
        with pytest.raises(CheckpointBusyError), owners.own(other):
            pass


def test_an_error_in_the_block_lets_go(store: CheckpointStore) -> None:
    class Crash(Exception):
        pass

    with pytest.raises(Crash), as_owner(store).own("crawl"):
        raise Crash
    with as_owner(store).own("crawl"):
        pass


HOLD = """
import sys
from resumable import open_store
with open_store(sys.argv[1]).own(sys.argv[2]):
    print("owned", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def other_process(directory: Path, operation_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """One that owns *operation_id* until the block ends."""
    command = [sys.executable, "-B", "-c", HOLD, str(directory), operation_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"owned\n"
        yield process


@pytest.mark.parametrize("operation_id", ["crawl", "long " * 2000, "\N{FOX FACE}" * 500])
def test_the_second_process_is_told_who_holds_it(tmp_path: Path, operation_id: str) -> None:
    owning: Callable[[], AbstractContextManager[None]] = lambda: FileStore(tmp_path).own(operation_id)  # noqa: E731
    with other_process(tmp_path, operation_id) as process:
        for _ in range(3):  # asking must not wipe the answer
            with pytest.raises(CheckpointBusyError) as caught, owning():
                pass
            assert (caught.value.pid, caught.value.host) == (process.pid, socket.gethostname())
            assert datetime.now(UTC) - datetime.fromisoformat(caught.value.since) < timedelta(minutes=5)
            assert str(process.pid) in str(caught.value)
        with pytest.raises(CheckpointBusyError):
            CheckpointManager(tmp_path).create_checkpoint(operation_id, {})
        assert isinstance(caught.value, StoreError)
    with owning():
        assert os.path.isdir(tmp_path)


def test_a_killed_owner_owns_nothing(tmp_path: Path) -> None:
    with other_process(tmp_path, "crawl") as process:
        process.kill()
        process.wait()
        with FileStore(tmp_path).own("crawl"):
            pass
