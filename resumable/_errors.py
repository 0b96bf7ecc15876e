"""What can go wrong, as a tree.

ResumableError
├── StoreError                    the store cannot read or write; what it held before still stands
│   ├── CheckpointCorruptError    stored bytes are not a checkpoint; they were left untouched
│   ├── CheckpointBusyError       another process owns the operation
│   ├── StaleCheckpointError      this owner lost its lease and may not write
│   └── StoreBehindError          the store has lost saves that it had acknowledged
├── CheckpointNotFoundError       there is nothing to read of this operation
├── InputChangedError             the checkpoint belongs to other input; nothing was skipped
│   └── CursorExpiredError        a server no longer takes the cursor at which its pages were left
├── UnknownOutcomeError           whether an effect happened is not known; it was not repeated
├── StateEncodeError              JSON cannot hold the state exactly; nothing was written
├── TooManyFailedError            more items of a map have failed than may; the checkpoint is saved
└── RateLimitExhausted            the quota is used up; the checkpoint is saved

SystemExit                        not caught by `except Exception`, as a loop may have around each item
└── RunAgain                      the run ended before its work did, as it was told to; all is saved
    └── BudgetExhausted           all that may be spent is spent
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ._text import command_for

RUN_AGAIN = 75
"""The exit code that says: all is well, but not done; run it again. It is ``EX_TEMPFAIL`` of sysexits.h."""


class ResumableError(Exception):
    """Any error that this library raises of its own accord."""

    # All facts go to Exception.__init__ in every subclass, so that pickle can rebuild the error.


class StoreError(ResumableError):
    """The store could not read or write. The checkpoint that it held before still stands.

    Attributes:
        is_transient: Whether it may pass: a time-out, a connection that was lost. Whether a write was made is not known
            then; to repeat it with the same bytes is safe.
    """

    def __init__(self, *facts: object, is_transient: bool = False) -> None:
        super().__init__(*facts)
        self.is_transient = is_transient


class CheckpointCorruptError(StoreError):
    """The stored bytes are not a checkpoint of this operation; nothing was deleted or overwritten.

    Attributes:
        location: Where the bytes lie, as the store names it.
        reason: What is wrong with them, for a person.
        previous: Where a good checkpoint lies, or None: an older one, or, if only its journal is damaged, this one.
        store: What commands must be told to find it, "" for nothing.
    """

    def __init__(
        self, operation_id: str, location: str, reason: str, previous: str | None = None, store: str = ""
    ) -> None:
        super().__init__(operation_id, location, reason, previous, store)
        self.operation_id = operation_id
        self.location = location
        self.reason = reason
        self.previous = previous
        self.store = store

    def __str__(self) -> str:
        text = (
            f"the checkpoint of {self.operation_id!r} at {self.location} cannot be used: {self.reason}. "
            "Nothing was changed."
        )
        is_file = "://" not in self.location
        if self.previous is not None:
            which = "the last good save in it" if self.previous == self.location else "the save before it"
            target = (self.location, "") if is_file else (self.operation_id, self.store)
            text += f"\n  go on from {which}:  {command_for('repair', *target)}"
        way = f"move {self.location} away" if is_file else command_for("rm", self.operation_id, self.store)
        return f"{text}\n  start over:  {way}"


class CheckpointBusyError(StoreError):
    """Another process works on this operation; nothing was read or written.

    Attributes:
        host: The owner's machine, "" if unknown.
        pid: The owner's process id, 0 if unknown.
        since: When it became the owner (UTC, ISO 8601), "" if unknown.
        opened_at: File and line, if this very process is the owner; else "".
        lease_left: Seconds until its lease ends, unless it renews it; None where leases do not end by themselves.
        silent_for: Seconds since it has renewed its lease, None if unknown.
        lease: What differs after each renewal; "" if unknown.
    """

    def __init__(
        self,
        operation_id: str,
        host: str = "",
        pid: int = 0,
        since: str = "",
        opened_at: str = "",
        *,
        lease_left: float | None = None,
        silent_for: float | None = None,
        lease: str = "",
    ) -> None:
        super().__init__(operation_id, host, pid, since, opened_at)
        self.operation_id = operation_id
        self.host = host
        self.pid = pid
        self.since = since
        self.opened_at = opened_at
        self.lease_left = lease_left
        self.silent_for = silent_for
        self.lease = lease

    def __str__(self) -> str:
        if self.opened_at:
            return (
                f"{self.operation_id!r} is open in this very process already, since {self.since}, at {self.opened_at}. "
                "Nothing was touched: leave that block first (a generator that was left keeps it open until closed)."
            )
        holder = f"process {self.pid} on {self.host} since {self.since}" if self.pid else "another process"
        ways_out = "wait for it, stop it, or use another operation_id"
        if self.lease_left is not None:
            ways_out += "; take_over=True takes the operation from it, whatever it does"
        return f"{self.operation_id!r} is being worked on by {holder}. Nothing was touched: {ways_out}."


class StaleCheckpointError(StoreError):
    """This process lost its ownership of the operation; the newer owner's checkpoint stands.

    Attributes:
        host: The new owner's machine, "" if unknown.
        pid: The new owner's process id, 0 if unknown.
        since: When it became the owner (UTC, ISO 8601), "" if unknown.
    """

    def __init__(self, operation_id: str, host: str = "", pid: int = 0, since: str = "") -> None:
        super().__init__(operation_id, host, pid, since)
        self.operation_id = operation_id
        self.host = host
        self.pid = pid
        self.since = since

    def __str__(self) -> str:
        other = f"process {self.pid} on {self.host}" if self.pid else "another process"
        since = f" at {self.since}" if self.since else ""
        return (
            f"{other} has taken over {self.operation_id!r}{since}; this one may no longer save. "
            "The other one's checkpoint stands. Stop this process."
        )


class StoreBehindError(StoreError):
    """The store has lost saves that it had acknowledged: a server failed over, or a backup was restored.

    Nothing in memory is lost. The loop goes on: it owns the operation anew, and its next save writes everything.
    """

    def __init__(self, operation_id: str) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id

    def __str__(self) -> str:
        return (
            f"the store has lost saves of {self.operation_id!r} that it had acknowledged: was a backup restored, or a "
            "server replaced by one that was behind? What is in memory is not lost."
        )


class CheckpointNotFoundError(ResumableError, LookupError):
    """There is no checkpoint of this operation: it never began, has not saved yet, or has finished.

    Attributes:
        location: Where it was looked for.
        similar: Ids of operations that have a checkpoint there, and may be meant.
    """

    def __init__(self, operation_id: str, location: str, similar: list[str]) -> None:
        super().__init__(operation_id, location, similar)
        self.operation_id = operation_id
        self.location = location
        self.similar = similar

    def __str__(self) -> str:
        text = (
            f"no checkpoint of {self.operation_id!r} in {self.location}: it never began, has not saved yet, or has "
            "finished."
        )
        return f"{text} Did you mean: {', '.join(map(repr, self.similar))}?" if self.similar else text


class InputChangedError(ResumableError):
    """The checkpoint was made with other input, or for another output file. Nothing was skipped and nothing written.

    Attributes:
        differences: One readable line for each thing that differs.
        ways_out: What the user can do, one line each.
        headline: What is wrong, in a sentence.
    """

    def __init__(self, operation_id: str, differences: list[str], ways_out: list[str], headline: str = "") -> None:
        super().__init__(operation_id, differences, ways_out, headline)
        self.operation_id = operation_id
        self.differences = differences
        self.ways_out = ways_out
        self.headline: str = (
            headline or f"the checkpoint of {operation_id!r} was made with other input; nothing was done."
        )

    def __str__(self) -> str:
        differences = [f"  differs:  {line}" for line in self.differences]
        return "\n".join([self.headline, *differences, *(f"  way out:  {line}" for line in self.ways_out)])


class CursorExpiredError(InputChangedError):
    """The server no longer takes the cursor at which its pages are to go on. The checkpoint stands as it was.

    The ``fetch`` of :meth:`Checkpoint.pages` may raise it with a text alone; the loop adds the rest.

    Attributes:
        reason: What the server said.
    """

    def __init__(
        self,
        reason: str = "",
        operation_id: str = "",
        differences: list[str] | None = None,
        ways_out: list[str] | None = None,
    ) -> None:
        told = differences if differences is not None else [reason] if reason else []
        of_whom = f"the pages of {operation_id!r}" if operation_id else "these pages"
        headline = f"{of_whom} cannot go on: the server no longer takes their cursor. What is saved stands."
        super().__init__(operation_id, told, [] if ways_out is None else ways_out, headline)
        self.args: tuple[Any, ...] = (reason, operation_id, self.differences, self.ways_out)
        self.reason = reason


class UnknownOutcomeError(ResumableError):
    """Whether an effect has happened is not known. It was not repeated, and the checkpoint says so until it is told.

    A function that :meth:`Checkpoint.once` calls may raise it with a text, where it cannot tell: after a timeout.

    Attributes:
        reason: Why it is not known.
        key: The effect's key; "" if the function has raised this.
        ways_out: What the user can do, one line each.
    """

    def __init__(self, reason: str = "", key: str | int = "", ways_out: list[str] | None = None) -> None:
        super().__init__(reason, key, ways_out)
        self.reason = reason
        self.key = key
        self.ways_out: list[str] = ways_out or []

    def __str__(self) -> str:
        whose = f"whether {self.key!r} has happened" if self.key != "" else "whether it has happened"
        headline = f"{whose} is not known: {self.reason or 'its function could not tell'}. It was not repeated."
        return "\n".join([headline, *(f"  way out:  {line}" for line in self.ways_out)])


class StateEncodeError(ResumableError):
    """JSON cannot hold the state exactly. Nothing was written; the last checkpoint stands.

    Attributes:
        path: Where the value is, such as ``$.state.files['a'].when``.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} cannot be saved: {self.reason}. Nothing was written; what was saved before stands."


class TooManyFailedError(ResumableError):
    """More items of a map have failed than ``max_failed=`` allows. What was done is saved, and what failed is noted.

    The last item's error is its ``__cause__``.

    Attributes:
        operation_id: The operation.
        failed: How many items have failed in this run.
        tried: How many were tried in it.
        last: The text of the last item's error.
    """

    def __init__(self, operation_id: str, failed: int, tried: int, max_failed: float, last: str) -> None:
        super().__init__(operation_id, failed, tried, max_failed, last)
        self.operation_id = operation_id
        self.failed = failed
        self.tried = tried
        self.max_failed = max_failed
        self.last = last

    def __str__(self) -> str:
        return (
            f"{self.failed:,} of {self.tried:,} items of {self.operation_id!r} have failed, which is more than "
            f"max_failed={self.max_failed:g}. The last one: {self.last}. All that was done is saved; cp.failed names "
            "the items, and map(..., retry_failed=True) tries them again."
        )


class RateLimitExhausted(ResumableError):
    """The API's quota is used up. The checkpoint is saved; run again once the quota is fresh.

    Attributes:
        reset_at: When the next run finds the quota fresh, in seconds since the epoch (UTC), or None if unknown.
        resource: Which quota, such as ``core``, or "".
    """

    def __init__(self, reset_at: float | None = None, resource: str = "") -> None:
        super().__init__(reset_at, resource)
        self.reset_at = reset_at
        self.resource = resource

    def __str__(self) -> str:
        what = f"the rate limit {self.resource!r}" if self.resource else "the rate limit"
        if self.reset_at is None:
            return f"{what} is exhausted. Saved; run again later."
        fresh = datetime.fromtimestamp(self.reset_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{what} is exhausted until {fresh}. Saved; run again then."


class RunAgain(SystemExit):
    """The run ended after an item, before its work was done, because its time is up. All is saved; run it again.

    It ends the program with exit code 75, unless it is caught.

    Attributes:
        reason: Why it ended, for a person.
        code: The exit code.
    """

    def __init__(self, operation_id: str, reason: str) -> None:
        super().__init__(operation_id, reason)
        self.operation_id = operation_id
        self.reason = reason
        self.code: str | int | None = RUN_AGAIN

    def __str__(self) -> str:
        return f"{self.operation_id!r} has stopped, for {self.reason}. Saved; run it again to go on."


class BudgetExhausted(RunAgain):
    """What ``budget=`` allows is spent. All is saved; with a larger budget the next run goes on.

    It ends the program with exit code 75; with 1 if the budget was spent before the run began, so that whoever starts
    a program again as long as it ends with 75 does not do so for ever.

    Attributes:
        spent: What all runs together have spent, by what it is counted in.
        budget: What they may spend.
    """

    def __init__(
        self, operation_id: str, spent: Mapping[str, float], budget: Mapping[str, float], code: int = RUN_AGAIN
    ) -> None:
        super().__init__(operation_id, "its budget is spent")
        self.args: tuple[Any, ...] = (operation_id, dict(spent), dict(budget), code)
        self.spent: dict[str, float] = dict(spent)
        self.budget: dict[str, float] = dict(budget)
        self.code: str | int | None = code

    @property
    def left(self) -> dict[str, float]:
        """What is left of each part of the budget; below 0 if the last item took more than there was."""
        return {unit: most - self.spent.get(unit, 0.0) for unit, most in self.budget.items()}

    def __str__(self) -> str:
        parts = [f"{unit} {self.spent.get(unit, 0.0):,.6g} of {most:,.6g}" for unit, most in self.budget.items()]
        return (
            f"{self.operation_id!r} has spent its budget ({', '.join(parts)}). Saved; to go on, raise budget= in the "
            "program, which counts over all runs, and run it again."
        )
