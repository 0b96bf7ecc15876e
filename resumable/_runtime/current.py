"""The current checkpoint of a thread or task: hooks deep in an HTTP client find it here."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, Token
from typing import Any

CHECKPOINT: ContextVar[Any] = ContextVar("resumable_checkpoint", default=None)
"""The innermost checkpoint of a thread or task; None outside of any block."""


def current_checkpoint_or_none() -> Any:
    """The innermost checkpoint of this thread or task; None outside of any block."""
    return CHECKPOINT.get()


def reset_current(token: Token[Any]) -> None:
    """Restore the checkpoint that was current before *token* was made."""
    with contextlib.suppress(ValueError):  # a generator may be closed in another context than the one that opened it
        CHECKPOINT.reset(token)
