"""The runs of an operation, which its checkpoint keeps."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from datetime import datetime

from .._format.sections import Run
from .._models import CheckpointMetadata
from .._text import resume_command

_KEPT = 10


class History:
    """The last few runs, this one included.

    Args:
        saved: Those that an earlier run has kept.
        items_before: How many items they have ticked.
        at: When this run began, in UTC.
    """

    def __init__(self, saved: Sequence[Run], items_before: int, *, at: datetime) -> None:
        before = list(saved)[-_KEPT:]
        self.last = before[-1] if before else None
        self.number = (self.last.run or len(before)) + 1 if self.last is not None else 1
        self._this = Run(
            run=self.number,
            began=_stamp(at),
            items_before=items_before,
            host=socket.gethostname(),
            pid=os.getpid(),
            command=resume_command(sys.orig_argv, is_windows=sys.platform == "win32") or None,
        )
        self.runs = [*before, self._this]

    def note(self, metadata: CheckpointMetadata, *, at: datetime) -> None:
        """This run got so far."""
        this = self._this
        this.ended, this.items, this.reason = _stamp(at), metadata.processed_items, metadata.last_save_reason


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
