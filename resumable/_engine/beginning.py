"""What a run does before its first loop or tick: the next run repeats it, so its rows do not count yet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from .._durable import Durable
from .._errors import StateEncodeError
from .._format import typed
from .._loops.places import place, program

if TYPE_CHECKING:
    from .._format.restore import Restored
    from .._format.sections import Sections
    from .parts import Parts

UNASKED = ("Interrupted: ", "Output: ", "Paused", "Rate-limit: ", "Retry: ", "Stopping: ")
"""How the reason of a save begins that the program did not ask for."""
to_bytes = msgspec.json.Encoder().encode


class Beginning(msgspec.Struct):
    """Detects whether a run has reached its first loop or tick.

    Attributes:
        state: The plain state at the run's beginning, as JSON; None for a new operation.
        holds_objects: Whether the save of the last :meth:`is_now` holds tracked objects as they began.
    """

    parts: Parts
    state: bytes | None = None
    holds_objects: bool = False

    def is_now(self, reason: str) -> bool:
        """Whether a save for *reason*, before any tick, comes before all work, so that no row and no entry counts yet.

        A save that the program asks for counts, except in the first item of a loop that ticks.
        """
        parts, first = self.parts, self.parts.first_item
        self.holds_objects = False
        if parts.cut.is_within_first or any(view.has_begun for view in parts.loops.views.values()):
            return False
        is_in_item = first is not None and first.is_here()
        if not (is_in_item or reason.startswith(UNASKED)):
            return False
        has_written = self._has_written()
        if not has_written and parts.tracked is None:
            return False
        self.holds_objects = self._is_repeated(is_in_item=is_in_item)
        return has_written and self.holds_objects

    def _is_repeated(self, *, is_in_item: bool) -> bool:
        """Whether the next run repeats what this one has done until now.

        This is so if rows were written while the state did not change: a changed state may tell the program what to
        skip. Values that are zero or empty are no change, unless all writes came before a loop that ticks. For a
        program without loops and ticks, nobody can tell.

        Args:
            is_in_item: Whether the program is in a loop that ticks.
        """
        parts, first = self.parts, self.parts.first_item
        if self.has_changed(strictly=first is not None and first.is_ahead):
            return False
        if is_in_item:
            return True
        functions = program.functions_of_block(place.caller(), parts.opening[1], ())
        if any(one.loops for one in functions):
            return not self._has_entries()  # a program that fills a mapping first may continue from its entries
        return any("tick" in one.names for one in functions)

    def _has_written(self) -> bool:
        boundary = self.parts.cut.boundary
        now = boundary.now()
        return any(one.written_since(now) is not None for one in boundary.writers) or self._has_entries()

    def _has_entries(self) -> bool:
        writers = self.parts.cut.boundary.writers
        return any(isinstance(one, Durable) and not one.known_as and one.changed_bytes() for one in writers)

    def has_changed(self, *, strictly: bool = True) -> bool:
        """Whether the plain state differs from the one at the run's beginning.

        Args:
            strictly: Whether a new value that is zero or empty is a change.
        """
        parts, kind = self.parts, self.parts.typed
        with suppress(StateEncodeError, TypeError, ValueError, AttributeError):
            if kind is None:
                before = {} if self.state is None else msgspec.json.decode(self.state)
                state: dict[str, Any] = dict(parts.state)
                if not strictly:
                    state = {name: value for name, value in state.items() if name in before or not _is_empty(value)}
                return _plain(state) != to_bytes(before)
            before = self.state if self.state is not None else to_bytes(self.fresh())
            return _plain(parts.plain_state(kind, wholly=False)) != before
        return True

    def fresh(self) -> dict[str, Any]:
        """The plain state of a new operation, without its collections; empty if it cannot be made."""
        kind = self.parts.typed
        if kind is not None:
            with suppress(StateEncodeError, TypeError, ValueError, AttributeError):
                values = kind.plain(typed.restored(self.parts.options.operation_id, kind.kind, None), wholly=False)
                return msgspec.json.decode(_plain(values), type=dict[str, Any])
        return {}


def _is_empty(value: Any) -> bool:
    """Whether *value* is what a program begins with, ``0``, ``[]`` or ``{"sum": 0}``, and so no sign of work."""
    return all(map(_is_empty, value.values())) if type(value) is dict else not value


def _plain(state: dict[str, Any]) -> bytes:
    return to_bytes({name: value for name, value in state.items() if not isinstance(value, Durable)})


def has_more(restored: Restored, fresh: Mapping[str, Any]) -> bool:
    """Whether *restored* holds or requests anything but the number of items that earlier runs have done.

    Args:
        fresh: The plain state of a new operation. What is in it, is zero or empty, is no sign of work.
    """
    sections = restored.sections
    for name, value in restored.data.state.items():
        if value if name in sections.collections else not (_is_empty(value) or value == fresh.get(name)):
            return True
    if any(sink["offset"] for sink in sections.sinks.values()):
        return True
    was_asked = any(not (run.reason or "").startswith(UNASKED) for run in sections.history)
    return was_asked or not sections.history or _holds_more(sections)


def _holds_more(sections: Sections) -> bool:
    more = (sections.loops, sections.failed, sections.once, sections.artifacts, sections.tracked, sections.finished)
    return any(more)
