"""The runs of an operation, as its checkpoint keeps them."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from .._models import CheckpointMetadata
from .._text import resume_command

_KEPT = 10


class Runs:
    """The last few runs, this one included.

    Args:
        saved: What an earlier run's :attr:`entries` were.
        items_before: How many items those have ticked.
    """

    def __init__(self, saved: Sequence[dict[str, Any]], items_before: int, *, at: datetime) -> None:
        before = list(saved)[-_KEPT:]
        self.number = int(before[-1].get("run", len(before))) + 1 if before else 1
        self.last: dict[str, Any] = before[-1] if before else {}
        self._this: dict[str, Any] = {
            "run": self.number,
            "began": _stamp(at),
            "from": items_before,
            "host": socket.gethostname(),
            "pid": os.getpid(),
        }
        command = resume_command(sys.orig_argv, is_windows=sys.platform == "win32")
        if command:
            self._this["command"] = command
        self.entries = [*before, self._this]

    def note(self, metadata: CheckpointMetadata, *, at: datetime) -> None:
        """This run got so far."""
        self._this["ended"] = _stamp(at)
        self._this["items"] = metadata.processed_items
        self._this["reason"] = metadata.last_save_reason


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="seconds")
