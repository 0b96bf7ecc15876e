"""A store of a user's own: five verbs over bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resumable import CheckpointBusyError, CheckpointManager, StoreError, checkpointed, every
from resumable.stores import Holder, MemoryStore, open_store
from tests.support.stores import DictStore, claimed, document, put


class OwnedStore(DictStore):
    """Keeps other processes away, too."""

    def __init__(self) -> None:
        super().__init__()
        self.owned: list[str] = []
        self.fails_at_end = False

    @contextmanager
    def own(self, key: str) -> Iterator[None]:
        if key == "theirs":
            raise CheckpointBusyError(key, "elsewhere", 7, "2026-01-01")
        self.owned.append(key)
        try:
            yield
        finally:
            self.owned.remove(key)
            if self.fails_at_end:
                raise StoreError("the connection is gone")


def test_a_loop_goes_on_from_it() -> None:
    store, done = DictStore(), []
    for stop in (3, None):
        try:
            with checkpointed("job", every(items=1), store=store) as cp:
                for number in cp.remaining(range(6)):
                    if number == stop:
                        raise ZeroDivisionError
                    done.append(number)
        except ZeroDivisionError:
            assert store.blobs["job"].startswith(b"{")

    assert done == list(range(6))
    assert store.blobs == {}


def test_every_save_is_one_put_of_everything() -> None:
    store = DictStore()
    with checkpointed("job", store=store, auto_cleanup=False) as cp:
        cp.mapping("files").update({str(number): "x" * 90 for number in range(1000)})
        cp.save()
        cp.mapping("files")["new"] = 1
        cp.save()

    found = CheckpointManager(store=store).load_checkpoint("job")
    assert found is not None
    assert len(found.state["files"]) == 1001


def test_two_that_work_on_one_store_know_of_each_other() -> None:
    """Each manager wraps it anew."""
    store = DictStore()
    with claimed(store, "job"):
        with pytest.raises(CheckpointBusyError):
            open_store(store).claim("job", Holder.me())
        with claimed(DictStore(), "job"), claimed(store, "other"):
            pass
        assert [entry.holder for entry in open_store(store).list()] == []
    put(store, "job", b"x")


def test_its_own_ownership_is_asked_and_given_back() -> None:
    store = OwnedStore()
    with claimed(store, "job"):
        assert store.owned == ["job"]
    assert store.owned == []
    for _ in range(2):
        with pytest.raises(CheckpointBusyError, match="process 7 on elsewhere"):
            open_store(store).claim("theirs", Holder.me())


def test_what_fails_at_the_release_hides_no_error() -> None:
    store = OwnedStore()
    store.fails_at_end = True
    with claimed(store, "job"):
        pass
    with claimed(store, "job"):
        assert store.owned == ["job"]


def test_a_put_that_fails_may_be_tried_again() -> None:
    class Failing(DictStore):
        fails = True

        def put(self, key: str, blob: bytes) -> str:
            if self.fails:
                raise StoreError("the connection is gone")
            return super().put(key, blob)

    store = Failing()
    with claimed(store, "job") as lease:
        commit = lease.stage(lease.next, [b"x"])
        with pytest.raises(StoreError):
            commit(b"")
        store.fails = False
        commit(b"")
        assert document(store, "job") == b"x"
        lease.stage(lease.where(), [b"y"])(b"")
    assert document(store, "job") == b"y"


def test_it_is_named_as_it_names_itself() -> None:
    store = DictStore()

    assert open_store(store).describe() == repr(store) == repr(open_store(store))
    assert open_store(store).describe("job") == f"{store!r}:job"


@pytest.mark.parametrize("where", [None, 5, object(), {}])
def test_what_is_no_store_is_refused(where: object) -> None:
    with pytest.raises(TypeError, match="get, put, delete, keys and close"):
        open_store(where)  # type: ignore[arg-type]


def test_a_store_is_not_wrapped(tmp_path: Path) -> None:
    for store in (MemoryStore(), open_store(tmp_path), open_store(DictStore())):
        assert open_store(store) is store
