"""What a run does before it comes to its work: the next one does all of it again, so that its rows do not count yet."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from .._durable import Durable
from .._errors import StateEncodeError
from .._format import typed
from .._loops import place, program

if TYPE_CHECKING:
    from .._format.restore import Restored
    from .._format.sections import Sections
    from .parts import Parts

UNASKED = ("Interrupted: ", "Output: ", "Paused", "Rate-limit: ", "Retry: ", "Stopping: ")
"""How saves give their reason that the program did not ask for."""
to_bytes = msgspec.json.Encoder().encode


class Beginning(msgspec.Struct):
    """Knows whether a run has come to its first loop or tick.

    Attributes:
        state: The plain state with which the run began, as JSON; None for a new operation.
    """

    parts: Parts
    state: bytes | None = None

    def is_now(self) -> bool:
        """Whether a save comes before all work, and the next run does again what this one did until then.

        That is so where rows were written and the state is the one of before: a state that has changed may tell the
        program what to leave out. Of a program without loops and ticks nobody knows.
        """
        parts = self.parts
        if parts.cut.ticker.ticked or any(view.has_begun for view in parts.loops.views.values()):
            return False
        writers, now = parts.cut.boundary.writers, parts.cut.boundary.now()
        has_rows = any(one.written_since(now) is not None for one in writers)
        has_entries = any(isinstance(one, Durable) and not one.known_as and one.changed_bytes() for one in writers)
        if not (has_rows or has_entries) or self._has_changed():
            return False
        functions = program.functions_of_block(place.caller(), parts.opening[1], ())
        if any(one.loops for one in functions):
            return not has_entries  # what fills a mapping first may go on from there
        return any("tick" in one.names for one in functions)

    def _has_changed(self) -> bool:
        """Whether the plain state is another one than that with which the run began."""
        parts, kind = self.parts, self.parts.typed
        with suppress(StateEncodeError, TypeError, ValueError, AttributeError):
            if kind is None:
                return _plain(parts.state) != (b"{}" if self.state is None else self.state)
            before = self.state
            if before is None:
                before = _plain(kind.plain(typed.restored(parts.options.operation_id, kind.kind, None), wholly=False))
            return _plain(parts.plain_state(kind, wholly=False)) != before
        return True


def _plain(state: dict[str, Any]) -> bytes:
    return to_bytes({name: value for name, value in state.items() if not isinstance(value, Durable)})


def has_more(restored: Restored) -> bool:
    """Whether what was *restored* holds more than the items that earlier runs have done, or was asked for."""
    sections = restored.sections
    if any(value or name not in sections.collections for name, value in restored.data.state.items()):
        return True
    if any(sink["offset"] for sink in sections.sinks.values()):
        return True
    was_asked = any(not (run.reason or "").startswith(UNASKED) for run in sections.history)
    return was_asked or not sections.history or _holds_more(sections)


def _holds_more(sections: Sections) -> bool:
    more = (sections.loops, sections.failed, sections.once, sections.artifacts, sections.tracked, sections.finished)
    return any(more)
