"""What can go wrong, as a tree.

ResumableError
├── StoreError                    the store cannot read or write; what it held before still stands
│   ├── CheckpointCorruptError    stored bytes are not a checkpoint; they were left untouched
│   ├── CheckpointBusyError       another process owns the operation
│   ├── StaleCheckpointError      this owner lost its lease and may not write
│   └── StoreBehindError          the store has lost saves that it had acknowledged
├── CheckpointNotFoundError       there is nothing to read of this operation
├── InputChangedError             the checkpoint belongs to other input; nothing was skipped
│   └── CursorExpiredError        a server no longer accepts the cursor of the next page
├── UnknownOutcomeError           it is not known whether an effect happened; it was not repeated
├── StateEncodeError              JSON cannot hold the state exactly; nothing was written
├── TooManyFailedError            more items of a map failed than max_failed allows; the checkpoint is saved
└── RateLimitExhausted            the quota is used up; the checkpoint is saved

SystemExit                        an `except Exception` around an item does not catch it
└── RunAgain                      the run stopped at its time limit; all is saved
    └── BudgetExhausted           the run stopped because its budget is spent; all is saved
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ._text import command_for

RUN_AGAIN = 75
"""The exit code for: all is well, but not done; run it again. It is ``EX_TEMPFAIL`` of sysexits.h."""


class ResumableError(Exception):
    """The base class of all errors that this library defines."""

    # All facts go to Exception.__init__ in every subclass, so that pickle can rebuild the error.


class StoreError(ResumableError):
    """The store could not read or write. The checkpoint that it held before still stands.

    Attributes:
        is_transient: Whether trying again may help: after a time-out or a lost connection. The write may have happened;
            repeating it with the same bytes is safe.
    """

    def __init__(self, *facts: object, is_transient: bool = False) -> None:
        super().__init__(*facts)
        self.is_transient = is_transient


class CheckpointCorruptError(StoreError):
    """The stored bytes are not a checkpoint of this operation; nothing was deleted or overwritten.

    Attributes:
        location: Where the bytes lie, as the store names it.
        reason: What is wrong with them, for a person.
        previous: Where ``resumable repair`` finds a good save, or None; *location* if only the journal is damaged.
        store: The ``--dir`` that commands need to find it; "" if they need none.
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
        is_memory = self.location.startswith("memory:")  # no command reaches it
        is_file = "://" not in self.location and not is_memory
        if self.previous is not None and not is_memory:
            which = "the last good save in it" if self.previous == self.location else "the save before it"
            target = (self.location, "") if is_file else (self.operation_id, self.store)
            text += f"\n  go on from {which}:  {command_for('repair', *target)}"
        way = f"move {self.location} away" if is_file else command_for("rm", self.operation_id, self.store)
        if is_memory:
            way = f"CheckpointManager(store=...).delete_checkpoint({self.operation_id!r}), in this program"
        return f"{text}\n  start over:  {way}"


class CheckpointBusyError(StoreError):
    """Another process works on this operation; nothing was read or written.

    Attributes:
        host: The owner's machine, "" if unknown.
        pid: The owner's process id, 0 if unknown.
        since: When it became the owner (UTC, ISO 8601), "" if unknown.
        opened_at: File and line, if this process itself is the owner; else "".
        lease_left: Seconds until another process may take over, unless the owner renews its lease; None: never.
        silent_for: Seconds since the owner renewed its lease; None if unknown.
        lease: A text that changes with each renewal; "" if unknown.
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
                f"{self.operation_id!r} is already open in this process, since {self.since}, at {self.opened_at}. "
                "Nothing was touched: leave that block first (an unfinished generator keeps it open until it is "
                "closed)."
            )
        holder = f"process {self.pid} on {self.host} since {self.since}" if self.pid else "another process"
        ways_out = "wait for it, stop it, or use another operation_id"
        if self.lease_left is not None:
            ways_out += "; take_over=True takes the operation away from it, even while it works"
        return f"{holder} works on {self.operation_id!r}. Nothing was touched: {ways_out}."


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
            f"{other} has taken over {self.operation_id!r}{since}, so this process may no longer save. "
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
            f"the store has lost saves of {self.operation_id!r} that it had confirmed; perhaps a backup was restored, "
            "or a server was replaced by one that was behind. What is in memory is not lost."
        )


class CheckpointNotFoundError(ResumableError, LookupError):
    """There is no checkpoint of this operation: it never began, has not saved yet, or has finished.

    Attributes:
        location: Where it was looked for.
        similar: Similar ids that have a checkpoint there.
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
        headline: One sentence that says what is wrong.
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
    """The server no longer accepts the cursor of the next page. The checkpoint stands as it was.

    The ``fetch`` of :meth:`Checkpoint.pages` may raise it with only a text; the loop adds the rest.

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
        headline = f"{of_whom} cannot go on: the server no longer accepts their cursor. The checkpoint stands."
        super().__init__(operation_id, told, [] if ways_out is None else ways_out, headline)
        self.args: tuple[Any, ...] = (reason, operation_id, self.differences, self.ways_out)
        self.reason = reason


class UnknownOutcomeError(ResumableError):
    """It is not known whether an effect happened. It was not repeated, and the checkpoint keeps it as unknown.

    The function in :meth:`Checkpoint.once` may raise it with a text if it does not know, as after a timeout.

    Attributes:
        reason: Why it is not known.
        key: The effect's key; "" if the function itself raised this.
        ways_out: What the user can do, one line each.
    """

    def __init__(self, reason: str = "", key: str | int = "", ways_out: list[str] | None = None) -> None:
        super().__init__(reason, key, ways_out)
        self.reason = reason
        self.key = key
        self.ways_out: list[str] = ways_out or []

    def __str__(self) -> str:
        what = repr(self.key) if self.key != "" else "it"
        reason = self.reason or "its function does not know"
        headline = f"it is not known whether {what} happened: {reason}. It was not repeated."
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
        return f"{self.path} cannot be saved: {self.reason}. Nothing was written; the last save stands."


class TooManyFailedError(ResumableError):
    """More items of a map failed than ``max_failed=`` allows. All that was done is saved, and so are the failures.

    The last item's error is its ``__cause__``.

    Attributes:
        operation_id: The operation.
        failed: How many items failed in this run.
        tried: How many items this run tried.
        max_failed: The limit, as it was given.
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
            f"{self.failed:,} of {self.tried:,} items of {self.operation_id!r} have failed, more than "
            f"max_failed={self.max_failed:g} allows. The last error: {self.last}. All that was done is saved; "
            "cp.failed names the items, and map(..., retry_failed=True) tries them again."
        )


class RateLimitExhausted(ResumableError):
    """The API's quota is used up. The checkpoint is saved; run again once the quota is fresh.

    Attributes:
        reset_at: When the quota is fresh, in seconds since the epoch; None if unknown.
        resource: Which quota, such as ``core``, or "".
    """

    def __init__(self, reset_at: float | None = None, resource: str = "") -> None:
        super().__init__(reset_at, resource)
        self.reset_at = reset_at
        self.resource = resource

    def __str__(self) -> str:
        what = f"the rate limit {self.resource!r}" if self.resource else "the rate limit"
        if self.reset_at is None:
            return f"{what} is used up. Saved; run it again later."
        fresh = datetime.fromtimestamp(self.reset_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{what} is used up until {fresh}. Saved; run it again then."


class RunAgain(SystemExit):
    """The run stopped between two items because its time is up. All is saved; run it again to go on.

    It ends the program with exit code 75, unless the program catches it.

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
        return f"{self.operation_id!r} has stopped, because {self.reason}. Saved; run it again to go on."


class BudgetExhausted(RunAgain):
    """The budget of ``budget=`` is spent. All is saved; with a larger budget the next run goes on.

    It ends the program with exit code 75. If the budget was spent before the run began, the exit code is 1, so that a
    supervisor which repeats after 75 does not repeat for ever.

    Attributes:
        spent: What all runs together have spent, by unit.
        budget: What they may spend, by unit.
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
        """What is left of the budget, by unit; below 0 if the last item spent more than was left."""
        return {unit: most - self.spent.get(unit, 0.0) for unit, most in self.budget.items()}

    def __str__(self) -> str:
        parts = [f"{unit} {self.spent.get(unit, 0.0):,.6g} of {most:,.6g}" for unit, most in self.budget.items()]
        return (
            f"{self.operation_id!r} has spent its budget ({', '.join(parts)}). Saved; to go on, raise budget= in the "
            "program, and run it again. The budget counts over all runs."
        )


STOPS = (ResumableError, KeyboardInterrupt, SystemExit)
"""The errors by which a checkpoint stops a loop or a tick."""
