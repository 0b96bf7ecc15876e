"""What one operation saves besides where it stands: its state, loops, quotas, output files, failed items, runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from datetime import datetime
from typing import Any

from .._durable import Durable, Sinks, kind_of, make
from .._errors import CheckpointCorruptError
from .._format import typed
from .._format.restore import Restored
from .._format.sections import Sections
from .._json import check
from .._loops.map.map_loop import Failed
from .._loops.registry import LoopRegistry
from .._models import CheckpointMetadata, as_stored
from .._runtime.clock import Instant
from .capture import CapturedLoops, Save, checked_values
from .history import History
from .options import Options
from .quota import Quota
from .session import Decision, Session


class Parts:
    """All that is saved of one operation, restored or new.

    Args:
        restored: What is stored; None if the operation is new.
        damaged: Makes the error for what this library cannot have saved, from what is wrong with it.

    Attributes:
        state: What the user holds: a dict, or a value of the type that was asked for.
        items_before: Items that earlier runs have ticked.
        pace: Gives what the reporter learned of the pace; None if nobody watches.
    """

    def __init__(
        self,
        options: Options,
        restored: Restored | None,
        damaged: Callable[[str], CheckpointCorruptError],
        *,
        at: Instant,
    ) -> None:
        data = restored.data if restored is not None else None
        saved = self.saved = restored.sections if restored is not None else Sections()
        options.check_arguments(saved.arguments)
        self._state_type = options.state_type
        self.metadata = data.metadata if data is not None else CheckpointMetadata()
        self.created_at = data.created_at if data is not None else at.utc
        self.collections: dict[str, Durable] = {}
        self.state: Any = self._restored_state(options, data.state if data is not None else None)
        self.items_before = self.metadata.processed_items
        if options.total is not None:
            self.metadata.total_items = options.total
        self.loops = LoopRegistry(saved.loops, damaged)
        self.quota = Quota(saved.budget)
        self.failed = Failed(saved.failed)
        # A resume counts as an interruption, whatever ended the run before.
        self.costs = dataclasses.replace(saved.costs, restores=saved.costs.restores + 1) if saved.costs else None
        self.sinks = Sinks(options.operation_id, saved.sinks)
        self.history = History(saved.history, self.items_before, at=at.utc)
        self.pace: Callable[[], dict[str, Any] | None] | None = None
        saved.arguments = dict(options.arguments or saved.arguments)

    def _restored_state(self, options: Options, values: dict[str, Any] | None) -> Any:
        if options.state_type is not None:
            return typed.restored(options.operation_id, options.state_type, values)
        state = values if values is not None else {}
        kinds = self.saved.collections
        for name in kinds.keys() & state.keys():
            self.collections[name] = state[name] = make(kinds[name], state[name], f"$.state.{name}")
        return state

    def collection(self, name: str, kind: str) -> Any:
        """The durable collection ``state[name]``, made of what is there.

        Raises:
            TypeError: There is something else, the state is no dict, or *name* no str.
        """
        if type(name) is not str:
            raise TypeError(f"the name of a durable collection must be a str, not {name!r:.80}")
        if not isinstance(self.state, dict):
            kind_of_state = type(self.state).__name__
            raise TypeError(
                f"durable collections need a dict state: {name!r} has no place in a {kind_of_state}; "
                f"with state={kind_of_state} use its own fields"
            )
        value = self.state.get(name)
        if not isinstance(value, Durable):
            if value is not None:
                check(value, f"$.state.{name}")
            value = self.state[name] = make(kind, value, f"$.state.{name}")
        if kind_of(value) != kind:
            raise TypeError(f"$.state.{name} is a durable {kind_of(value)}, not a {kind}; give this one another name")
        return value

    # -- save

    def capture(
        self, decision: Decision, session: Session, *, at: datetime, in_flight: int, is_last: bool = False
    ) -> Save:
        """All that is to be saved, as it is now.

        Args:
            in_flight: How many saves are in flight before this one.

        Raises:
            StateEncodeError: Some of it could not be read back.
        """
        loops = CapturedLoops(self.loops.views)
        metadata = self.metadata.copy()
        metadata.save_count += in_flight + 1
        metadata.last_save_reason = decision.reason
        return Save(
            decision=decision,
            metadata=metadata,
            values=checked_values(metadata),
            created_at=self.created_at.isoformat(),
            at=at,
            # A copy, for other threads may add to it meanwhile.
            state=dict(typed.plain(self._state_type, self.state)),
            sections=self._sections(decision, session, metadata, at),
            loops=loops,
            first=self.sinks.syncs(),
            is_last=is_last,
        )

    def _sections(
        self, decision: Decision, session: Session, metadata: CheckpointMetadata, at: datetime
    ) -> dict[str, bytes]:
        sections = self.saved
        self.history.note(metadata, at=at)
        sections.history = self.history.runs
        sections.elapsed = round(session.elapsed_time, 3)
        sections.costs = as_stored(session.costs, charged=decision.is_charged)
        sections.sinks = self.sinks.to_dict()
        if self.quota.is_known:
            sections.budget = self.quota.to_dict()
        if self.failed or sections.failed is not None:
            sections.failed = self.failed.to_dict()
        if self.pace is not None:
            sections.pace = self.pace()
        return sections.encoded()
