"""Which checkpoint is current, so that hooks deep in a client can find it. Right in threads and tasks."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, Token
from typing import Any

_CURRENT: ContextVar[Any] = ContextVar("resumable_checkpoint", default=None)


def current_checkpoint_or_none() -> Any:
    """The innermost checkpoint of this context, or None outside of any."""
    return _CURRENT.get()


def set_current(checkpoint: Any) -> Token[Any]:
    """Make *checkpoint* the current one; the token puts the one before it back."""
    return _CURRENT.set(checkpoint)


def reset_current(token: Token[Any]) -> None:
    """Put back what was current before :func:`set_current` gave *token*."""
    with contextlib.suppress(ValueError):  # a generator that is closed elsewhere leaves its block in another context
        _CURRENT.reset(token)
