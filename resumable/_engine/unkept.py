"""Warns, at the second save and at the end, if the program's results do not reach the checkpoint."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from .._loops.advice.ticking import look_at_ticking
from .._loops.places import place
from .._runtime.interpreter import is_named_by_user, kept_in_variables_only

if TYPE_CHECKING:
    from .operation import Operation

_log = logging.getLogger("resumable")
_COUNTS = frozenset(("processed_items",))
_LONG_SECONDS = 1.0


def say_what_is_lost(operation: Operation, *, at_end: bool = False) -> None:
    """Warn once if the program's results do not reach the checkpoint."""
    ticked, parts = operation.ticker.ticked, operation.parts
    if ticked and parts.goes_on and parts.items_before and not parts.loops.views and not operation.is_advised:
        operation.is_advised = look_at_ticking(operation.operation_id, parts.items_before, place.caller())
    advice = "" if operation.is_advised or operation.has_read_count else _missing_state(operation, ticked)
    has_ticked = ticked or operation.session.saves or operation.is_done or parts.is_used or parts.known_effects
    seconds = (operation.instant.utc - parts.history.began).total_seconds()
    if not advice and at_end and not has_ticked and seconds > _LONG_SECONDS:
        advice = (
            "cp.tick() was never called, so nothing was saved before the end. Loop over cp.remaining(items), or put "
            "what "
            'is done into the state, done = cp.state.setdefault("done", []), and call cp.tick() after each item.'
        )
    if advice:
        operation.is_advised = True
        _log.warning("%s: %s", operation.operation_id, advice)


def _missing_state(operation: Operation, ticked: int) -> str:
    """A warning that the *ticked* items left nothing in the state; "" if they did, or need not."""
    parts = operation.parts
    if ticked and parts.is_unused and not is_named_by_user(_COUNTS):
        if parts.typed is None and not parts.state:
            return (
                f"cp.state is empty after {ticked:,} items: only their number is saved. Put what is done into it, "
                'done = cp.state.setdefault("done", []), and not cp.state.get("done", []) or cp.state or {...}; or '
                "loop over cp.remaining(items)."
            )
        if not parts.beginning.has_changed(strictly=False):
            return (
                f"cp.state did not change while {ticked:,} items were done, so the next run does them again. Change "
                'what it holds itself, not a copy: done = cp.state.setdefault("done", []) and done.append(item), or '
                'cp.state["page"] = page before cp.tick(); or loop over cp.remaining(items).'
            )
    if type(parts.state) is not dict or operation.options.state_type is not None:
        return ""
    if unkept := kept_in_variables_only("state", "get") - parts.state.keys():
        name = min(unkept)
        return (
            f"cp.state has no {name!r}: cp.state.get({name!r}, ...) returned an object that is not part of the state, "
            f"so what is put into it is not saved; write cp.state.setdefault({name!r}, ...)"
        )
    return ""
