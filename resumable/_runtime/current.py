"""The current checkpoint of a thread or task. Hooks deep in an HTTP client find it here."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar, Token
from typing import Any

_CURRENT: ContextVar[Any] = ContextVar("resumable_checkpoint", default=None)


def current_checkpoint_or_none() -> Any:
    """The innermost checkpoint of this thread or task; None outside of any."""
    return _CURRENT.get()


def set_current(checkpoint: Any) -> Token[Any]:
    """Make *checkpoint* the current one. Returns a token for :func:`reset_current`."""
    return _CURRENT.set(checkpoint)


def reset_current(token: Token[Any]) -> None:
    """Make current again what was current before :func:`set_current` returned *token*."""
    with contextlib.suppress(ValueError):  # a generator may be closed in another context than it was opened in
        _CURRENT.reset(token)
