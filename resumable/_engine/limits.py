"""When a run ends before its work does: its time is up, or its budget is spent."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from typing import TYPE_CHECKING, Literal

from .._errors import BudgetExhausted, RunAgain, StateEncodeError, StoreError
from .._models import SaveCosts
from .._runtime.clock import Instant
from .._runtime.jobs import end_of_job
from .._runtime.steps import Steps
from .._text import duration, precise
from .stops import goes_on

if TYPE_CHECKING:
    from .operation import Operation
    from .options import Options
    from .session import Session

_log = logging.getLogger("resumable")
MaxRuntime = float | timedelta | Literal["auto"]
"""Seconds from the beginning of the block; ``"auto"``: until the batch system ends the job."""
Amount = int | float | Decimal | Fraction

_LOOK_SECONDS = 1.0
"""Seconds between two measurements of how long items take, at most."""
_ITEMS, _SAVES = 1.5, 4.0
"""Leave time for an item that takes this many times the longest recent one, and for this many saves."""
_SLACK_SHARE, _SLACK_SECONDS = 0.02, 10.0
"""Leave this share of the time, but at most this many seconds, for what follows the block."""
_DUST = 1e-9
"""Tolerance for sums of floats."""


def check_max_runtime(given: object) -> None:
    """Refuse a wrong ``max_runtime``.

    Raises:
        TypeError, ValueError: *given* is neither a positive number of seconds, a timedelta, "auto" nor None.
    """
    if given is None or given == "auto":
        return
    if isinstance(given, bool) or not isinstance(given, int | float | timedelta):
        raise TypeError(f"max_runtime must be seconds, a timedelta or 'auto', not {given!r:.80}")
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if not seconds > 0:
        raise ValueError(f"max_runtime must be > 0, not {given!r}")


def checked_budget(given: Mapping[str, Amount] | None) -> dict[str, float]:
    """The budget as floats, by unit.

    Raises:
        TypeError, ValueError: *given* is not a mapping from names to amounts >= 0.
    """
    if given is not None and not isinstance(given, Mapping):
        raise TypeError(f"budget must be a dict such as {{'usd': 5}}, not {given!r:.80}")
    return {unit: _checked("budget", unit, amount) for unit, amount in (given or {}).items()}


def _checked(what: str, unit: object, amount: object) -> float:
    if not isinstance(unit, str):
        raise TypeError(f"{what}: {unit!r:.80} is not the name of what is counted, such as 'usd'")
    if isinstance(amount, bool) or not isinstance(amount, Real | Decimal):  # numpy's numbers are Real, too
        raise TypeError(f"{what}: {unit} must be a number, not {amount!r:.80}")
    if not 0 <= float(amount) < math.inf:
        raise ValueError(f"{what}: {unit} must be >= 0, not {amount!r}")
    return float(amount)


class Limits:
    """How long this run may take, and what all runs together may spend. Any thread may spend.

    Args:
        spent: What earlier runs have spent, by unit.
        began: When the block began.

    Attributes:
        ends_at: When the time is up, in monotonic seconds; infinite without a limit.
    """

    def __init__(
        self, max_runtime: MaxRuntime | None, budget: Mapping[str, float], spent: Mapping[str, float], began: Instant
    ) -> None:
        self.budget = dict(budget)
        self._spent = dict(spent)
        self._lock = threading.Lock()
        seconds = _seconds_from(max_runtime, began)
        self.ends_at = began.monotonic + seconds
        self._slack = min(_SLACK_SHARE * seconds, _SLACK_SECONDS)
        self._seconds = seconds

    # -- the budget

    @property
    def spent(self) -> dict[str, float]:
        """What all runs have spent, by unit."""
        with self._lock:
            return dict(self._spent)

    def spend(self, amounts: Mapping[str, Amount]) -> bool:
        """Count *amounts*. Returns whether the budget is used up.

        Raises:
            TypeError, ValueError: An amount is not a number >= 0; none was counted.
        """
        checked = {unit: _checked("spend", unit, amount) for unit, amount in amounts.items()}
        with self._lock:
            for unit, amount in checked.items():
                self._spent[unit] = self._spent.get(unit, 0.0) + amount
        return bool(self._used_up())

    def _used_up(self) -> list[str]:
        spent = self.spent
        return [unit for unit, most in self.budget.items() if spent.get(unit, 0.0) >= most - _DUST]

    def spent_before(self, operation_id: str) -> BudgetExhausted | None:
        """The error for a run that begins with nothing left to spend."""
        return BudgetExhausted(operation_id, self.spent, self.budget, 1) if self._used_up() else None

    # -- the time

    def look_within(self, *, now: float, costs: SaveCosts, longest: float) -> float:
        """Seconds until the loop must check the time again."""
        if self.ends_at == math.inf:
            return math.inf
        return min(_LOOK_SECONDS, max(self.ends_at - self._margin(costs, longest) - now, 0.0))

    def _margin(self, costs: SaveCosts, longest: float) -> float:
        """Seconds to reserve for one more item and the saves after it."""
        return _ITEMS * max(longest, costs.item_seconds) + _SAVES * (costs.save_seconds or 0.0) + self._slack

    def reached(
        self, operation_id: str, session: Session, *, now: float, has_done: bool, wait: float = 0.0
    ) -> RunAgain | None:
        """The error that ends the run now, after an item; None if the run goes on.

        Args:
            has_done: Whether this run has done an item. Before that, lack of time for another item does not end it.
            wait: Seconds that the run is about to wait before it does more.
        """
        if self.budget and self._used_up():
            return BudgetExhausted(operation_id, self.spent, self.budget)
        left = self.ends_at - now
        margin = self._margin(session.costs, session.longest_item)
        if left <= 0 or (wait and left < wait + margin) or (has_done and left < margin):
            return RunAgain(operation_id, f"its time limit of {precise(self._seconds)} is reached")
        return None


def limits_for(options: Options, spent: Mapping[str, float], *, began: Instant) -> Limits:
    """The limits that *options* set, for an operation that has already *spent* this much."""
    return Limits(options.max_runtime, checked_budget(options.budget), spent, began)


def stop_at_limit(operation: Operation, wait: float = 0.0) -> Steps[None]:
    """Save and stop if the time is up or the budget is spent. In a map, calls in flight go on for a grace period.

    Args:
        wait: Seconds that the run is about to wait before it does more.

    Raises:
        RunAgain: The limit is reached.
    """
    parts = operation.parts
    if parts.limits is None or parts.is_all_done:
        return
    now, has_done = operation.instant.monotonic, parts.has_done
    error = parts.limits.reached(operation.operation_id, operation.session, now=now, has_done=has_done, wait=wait)
    if error is None or (yield from goes_on(operation, wait)):
        return
    with contextlib.suppress(StoreError, StateEncodeError):  # the save at the exit tries again, and warns
        yield from operation.save(f"Interrupted: {type(error).__name__}")
    operation.keep_reason = f"Stopped: {error.reason}"  # in case the program catches the error inside the block
    if threading.current_thread() is not threading.main_thread():
        operation.stopped_by = error
    raise error


def _say_unlimited(now: float) -> None:
    ended = end_of_job(os.environ)
    if ended is None:
        _log.info("max_runtime='auto': no variable of a batch system says when this job ends; this run has no limit")
        return
    _log.warning(
        "max_runtime='auto': the batch system's variables say that the job ended %s ago, so they do not belong to this "
        "run; it has no limit",
        duration(now - ended),
    )


def _seconds_from(max_runtime: MaxRuntime | None, began: Instant) -> float:
    if max_runtime is None:
        return math.inf
    if isinstance(max_runtime, timedelta):
        return max_runtime.total_seconds()
    if max_runtime != "auto":
        return float(max_runtime)
    end = end_of_job(os.environ, now=began.epoch)
    if end is None:
        _say_unlimited(began.epoch)
        return math.inf
    return max(end - began.epoch, 0.0)
