"""One thread of a process renews all its leases, so that they last while a loop works for hours between two saves."""

from __future__ import annotations

import logging
import os
import threading
from typing import Protocol

from .._errors import StaleCheckpointError, StoreError
from .._runtime.processes import passed_seconds

_log = logging.getLogger("resumable")
_PARTS = 3
"""A lease is renewed after this part of its time, so that one renewal may fail."""
_RETRY_PARTS = 10


class Renewed(Protocol):
    """A lease that is renewed.

    Attributes:
        ttl: Seconds that it lasts.
        renewed_at: The last renewal, see :func:`passed_seconds`.
    """

    ttl: float
    renewed_at: float

    def renew(self) -> None: ...


class _Renewals:
    """The held leases, and the thread, which ends with the last of them."""

    def __init__(self) -> None:
        self._start_anew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._start_anew)

    def _start_anew(self) -> None:
        """Forget all in a forked child, which holds no lease and has no thread."""
        self._changed = threading.Condition()
        self._due: dict[Renewed, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, lease: Renewed) -> None:
        """Renew *lease* from now on."""
        with self._changed:
            self._due[lease] = passed_seconds() + lease.ttl / _PARTS
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="resumable-leases", daemon=True)
                self._thread.start()
            self._changed.notify()

    def remove(self, lease: Renewed) -> None:
        """Stop renewing *lease*."""
        with self._changed:
            self._due.pop(lease, None)
            self._changed.notify()

    def _run(self) -> None:
        while (lease := self._next()) is not None:
            due = self._renewed(lease)
            with self._changed:
                if due is not None and lease in self._due:
                    self._due[lease] = due
                else:
                    self._due.pop(lease, None)

    def _next(self) -> Renewed | None:
        """The next lease to renew; waits until it is due. None if no lease is left."""
        with self._changed:
            while self._due:
                lease = min(self._due, key=self._due.__getitem__)
                seconds = self._due[lease] - passed_seconds()
                if seconds <= 0:
                    return lease
                self._changed.wait(seconds)
            self._thread = None
            return None

    def _renewed(self, lease: Renewed) -> float | None:
        """Renew *lease*. Returns when to do so next; None if it is lost."""
        due = lease.renewed_at + lease.ttl / _PARTS
        if due > passed_seconds():  # a save has renewed it
            return due
        try:
            lease.renew()
        except StaleCheckpointError:  # the lease tells the loop
            return None
        except StoreError as error:
            _log.debug("a lease could not be renewed: %s", error)
            return passed_seconds() + lease.ttl / _RETRY_PARTS
        except Exception:
            _log.exception("a lease could not be renewed")
            return passed_seconds() + lease.ttl / _RETRY_PARTS
        return passed_seconds() + lease.ttl / _PARTS


RENEWALS = _Renewals()
