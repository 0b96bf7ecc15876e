"""The arguments of :class:`checkpointed`, checked; and whether a stored checkpoint fits them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from .._durable.claim import Owner
from .._durable.sink_file import text_of
from .._errors import InputChangedError
from .._json import check, decode, encode
from .._runtime.clock import Clock, system_clock
from .._strategies import SaveStrategy
from .._text import command_for, hide, is_digest, shortened
from ..stores import CheckpointStore
from ..stores.defaults import default_directory, place_to_name
from .limits import Amount, MaxRuntime, check_max_runtime, checked_budget
from .quota import OnExhausted, check_policy

if TYPE_CHECKING:
    import tenacity

OnSaveError = Literal["raise", "warn"]
OnStoreError = Literal["raise", "continue"]
WhenDone = Literal["restart", "skip"]
Nan = Literal["refuse", "allow"]


class Ticker(Protocol):
    """Counts the items that this run ticks by hand; a checkpoint does.

    Attributes:
        is_async: Whether an event loop ticks it.
    """

    ticked: int
    is_async: bool


@dataclass(slots=True, kw_only=True)
class Options:
    """The arguments of :class:`checkpointed`, with all defaults filled in.

    Attributes:
        on_event: Functions to call with each event: one, several, or None. Kept as a tuple.
        local: Takes the last save if *store* is remote and unreachable; may be a directory.
        works_beside: Whether threads may write while the loop goes on; False for a proof that stops it anywhere.

    Raises:
        TypeError, ValueError, StateEncodeError: An argument is wrong.
    """

    operation_id: str
    strategy: SaveStrategy
    store: CheckpointStore
    auto_cleanup: bool = True
    resume: bool = True
    total: int | None = None
    state_type: type[Any] | None = None
    arguments: Mapping[str, Any] | None = None
    progress: Any = False
    retry: tenacity.BaseRetrying | None = None
    on_exhausted: OnExhausted = "wait"
    clock: Clock = field(default_factory=lambda: system_clock)
    works_beside: bool = True
    stop_signals: Sequence[int] = ()
    max_runtime: MaxRuntime | None = None
    budget: Mapping[str, Amount] | None = None
    on_save_error: OnSaveError = "raise"
    on_store_error: OnStoreError = "raise"
    patience: float = 60.0
    take_over: bool = False
    when_done: WhenDone = "restart"
    nan: Nan = "refuse"
    on_event: Any = None
    local: CheckpointStore | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if isinstance(self.strategy, type) or not callable(getattr(self.strategy, "should_save", None)):
            raise TypeError(f"strategy must be one such as every(minutes=5), not {self.strategy!r:.80}")
        for name in ("auto_cleanup", "resume", "take_over"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, not {getattr(self, name)!r:.80}")
        if self.arguments is not None and not isinstance(self.arguments, Mapping):
            raise TypeError(f"arguments must be a dict such as {{'year': 2026}}, not {self.arguments!r:.80}")
        if self.total is not None and type(self.total) is not int:
            raise TypeError(f"total must be an int, not {self.total!r:.80}")
        if self.total is not None and self.total < 0:
            raise ValueError(f"total must be >= 0, not {self.total!r}")
        if self.state_type is not None and not isinstance(self.state_type, type):
            raise TypeError(f"state must be a type, such as a dataclass, not {self.state_type!r:.80}")
        if self.retry is not None:
            from .. import _retry  # loads tenacity

            _retry.check_policy(self.retry)
        check_policy(self.on_exhausted)
        if self.on_event is not None:
            from .._report.events import checked_functions

            self.on_event = checked_functions(self.on_event)
        if self.max_runtime is not None:
            check_max_runtime(self.max_runtime)
        if self.budget is not None:
            self.budget = checked_budget(self.budget)
        if self.on_save_error not in ("raise", "warn"):
            raise ValueError(f"on_save_error must be 'raise' or 'warn', not {self.on_save_error!r}")
        if self.on_store_error not in ("raise", "continue"):
            raise ValueError(f"on_store_error must be 'raise' or 'continue', not {self.on_store_error!r}")
        if not isinstance(self.patience, int | float) or not self.patience >= 0:
            raise ValueError(f"patience must be a number of seconds, 0 or more, not {self.patience!r:.80}")
        if self.when_done not in ("restart", "skip"):
            raise ValueError(f"when_done must be 'restart' or 'skip', not {self.when_done!r}")
        if self.nan not in ("refuse", "allow"):
            raise ValueError(f"nan must be 'refuse' or 'allow', not {self.nan!r}")
        if self.store.traits.leases_end and (over := getattr(self.store, "over", None)) is not None:
            with contextlib.suppress(OSError, ValueError):  # there is no such directory
                self.local = over(default_directory())
        if self.arguments is not None:
            self.arguments = self._hidden(_as_they_come_back(self.arguments))

    def _hidden(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        return {name: hide(name, value, self.operation_id) for name, value in arguments.items()}

    def owner(self) -> Owner:
        """The owner of the output files."""
        location = self.store.describe(self.operation_id)
        operation_id = text_of(self.operation_id)
        if str(location).startswith("memory:"):
            return Owner(operation_id)
        file = os.fsencode(location) if isinstance(location, Path) else b""
        return Owner(operation_id, text_of(str(location)), file, text_of(place_to_name(self.store, self.operation_id)))

    def check_arguments(self, saved: Mapping[str, Any]) -> None:
        """Compare the arguments with the *saved* ones, as far as both are known.

        Raises:
            InputChangedError: They differ.
        """
        arguments, saved = self.arguments or {}, self._hidden(saved)  # an earlier release stored them unhidden
        changed = {n: v for n, v in arguments.items() if n in saved and saved[n] != v}
        if changed:
            names = ", ".join(repr(name) for name in changed) + ","
            field = next(iter(changed))
            raise InputChangedError(
                self.operation_id,
                [_difference(name, saved[name], value) for name, value in changed.items()],
                [
                    f"two operations:  put {{{field}}} into the operation_id",
                    f"if it does not matter:  ignore_arguments=({names}), or leave it out of arguments=",
                    f"start over:  {command_for('rm', self.operation_id)}",
                ],
            )


def _difference(name: str, saved: Any, value: Any) -> str:
    before, now = shortened(saved, 80), shortened(value, 80)
    if before == now or is_digest(value):
        return f"{name} has changed; it may be a secret, so it is not shown"
    return f"{name} was {before}, is {now}"


def _as_they_come_back(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """*arguments* as JSON gives them back: a tuple, for instance, comes back as a list.

    Raises:
        StateEncodeError: JSON cannot hold them.
    """
    plain = dict(arguments)
    check(plain, "$.arguments")
    same: dict[str, Any] = decode(encode(plain, "$.arguments"))
    return same
