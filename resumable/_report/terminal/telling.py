"""Says a sentence once: on the terminal, in the log, or when the program ends."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
from typing import Any

from ..._runtime.interpreter import is_terminal

_log = logging.getLogger("resumable")
at_exit: dict[str, str] = {}
"""What is still to be said when the program ends, by operation."""


def tell(text: str, *, is_wanted: bool) -> None:
    """Say *text* on the terminal. If stderr is not one, log it; if nothing is logged, say it if *is_wanted*.

    On a terminal, handlers of the log get it, too, except those that write to a terminal: it would appear twice.
    """
    if is_terminal(sys.stderr):
        say(text)
        log_elsewhere(text)
    elif is_logged():
        _log.info("%s", text)
    elif is_wanted:
        say(text)


def is_logged() -> bool:
    """Whether the program keeps log records."""
    return _log.isEnabledFor(logging.INFO) and _log.hasHandlers()


def is_heard() -> bool:
    """Whether anybody reads what nobody asked for: on a terminal, or in a log."""
    return is_terminal(sys.stderr) or is_logged()


def say(text: str) -> None:
    """Write *text* and a newline to ``sys.stderr``; do nothing if that fails."""
    with contextlib.suppress(Exception):  # pythonw has no stderr
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        sys.stderr.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stderr.flush()


def log_elsewhere(text: str) -> None:
    """Pass *text* to the log's handlers that do not write to a terminal."""
    if not _log.isEnabledFor(logging.INFO):
        return
    record = _log.makeRecord(_log.name, logging.INFO, __file__, 0, "%s", (text,), None, "log_elsewhere")
    if not _log.filter(record):
        return
    logger: logging.Logger | None = _log
    while logger is not None:
        for handler in logger.handlers:
            if record.levelno >= handler.level and not _is_on_terminal(handler):
                handler.handle(record)
        logger = logger.parent if logger.propagate else None


def _is_on_terminal(handler: Any) -> bool:
    stream = getattr(handler, "stream", None)
    if stream is None:
        stream = getattr(getattr(handler, "console", None), "file", None)  # rich's handler
    if stream is not None:
        return is_terminal(stream)
    # A handler that passes records to loguru, which writes to stderr.
    return "loguru" in sys.modules and not type(handler).__module__.startswith("logging")


# -- when the program ends --------------------------------------------------------------------------------------------


def say_at_exit(operation_id: str, text: str) -> None:
    """Say *text* when the program ends, below the traceback."""
    at_exit.pop(operation_id, None)
    at_exit[operation_id] = text


def unsay(operation_id: str) -> None:
    """Drop the text for *operation_id*, which goes on."""
    at_exit.pop(operation_id, None)


@atexit.register
def _say_all() -> None:
    """Say the last text in full, and the first line of earlier ones, which came from inner blocks."""
    texts = list(at_exit.values())
    at_exit.clear()
    for text in texts[:-1]:
        say(text.partition("\n")[0])
    for text in texts[-1:]:
        say(text)


def is_interactive() -> bool:
    """Whether a person types this program's statements, so that it goes on after an error."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(sys, "ps1") or bool(sys.flags.interactive) or shell is not None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=at_exit.clear)
