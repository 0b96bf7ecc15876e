"""What leases share: numbers, repeated writes, and their end with the release or with the process."""

from __future__ import annotations

import os
import sys

import pytest

from resumable import StaleCheckpointError, StoreError
from resumable.stores import Holder
from resumable.stores._base import OwnedLease


class Recorded(OwnedLease):
    """Writes go to a list."""

    def __init__(self) -> None:
        super().__init__("job", term=3, first=5)
        self.written: list[bytes] = []

    def append(self, sequence: int, data: bytes) -> None:
        if self._stands(sequence, data):
            return
        self.written.append(data)
        self.next, self._last = sequence + 1, (sequence, data)

    def release(self) -> bool:
        return self._lets_go()


def test_an_append_that_is_repeated_is_not_written_again() -> None:
    lease = Recorded()

    lease.append(5, b"a")
    lease.append(5, b"a")
    lease.append(7, b"b")

    assert lease.written == [b"a", b"b"]
    assert lease.where() == 8


@pytest.mark.parametrize(("sequence", "data"), [(5, b"other"), (4, b"a")], ids=["other bytes", "an older number"])
def test_another_append_under_a_number_that_was_used_is_refused(sequence: int, data: bytes) -> None:
    lease = Recorded()
    lease.append(5, b"a")

    with pytest.raises(StaleCheckpointError):
        lease.append(sequence, data)
    assert lease.written == [b"a"]


def test_a_lease_ends_with_its_release() -> None:
    lease = Recorded()
    lease.renew()

    assert [lease.release(), lease.release()] == [True, False]
    with pytest.raises(StaleCheckpointError):
        lease.renew()
    with pytest.raises(StaleCheckpointError):
        lease.append(5, b"a")


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_a_forked_child_neither_writes_nor_releases() -> None:
    lease = Recorded()
    child = os.fork()
    if not child:
        try:
            lease.append(5, b"a")
        except StoreError as error:
            os._exit(7 if "forked" in str(error) and not lease.release() else 1)
        os._exit(2)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    lease.append(5, b"a")


def test_a_holder_is_this_process() -> None:
    me = Holder.me()

    assert me.pid == os.getpid()
    assert me.since.endswith("+00:00")
