"""Text for people: words, numbers and commands, and nothing in them that is a secret.

``words`` has durations, times and speeds in words, and names that steer no shell or terminal. ``commands`` has what a
person types. ``secrets`` tells what must not be written down or shown, in texts, command lines and arguments. ``hints``
says what to write in place of an argument or a use that is none, ``cures`` what to keep in place of a value that JSON
cannot hold.
"""

from .commands import argument, command_for, other_script, resume_command
from .secrets import HIDDEN, hidden, hidden_in_command, hidden_in_line, hide, is_digest, names_secret
from .words import (
    ago,
    at_most,
    clock_time,
    close_to,
    countdown,
    duration,
    kind_of,
    later,
    precise,
    printable,
    quoted,
    shortened,
    speed,
)

__all__ = [
    "HIDDEN",
    "ago",
    "argument",
    "at_most",
    "clock_time",
    "close_to",
    "command_for",
    "countdown",
    "duration",
    "hidden",
    "hidden_in_command",
    "hidden_in_line",
    "hide",
    "is_digest",
    "kind_of",
    "later",
    "names_secret",
    "other_script",
    "precise",
    "printable",
    "quoted",
    "resume_command",
    "shortened",
    "speed",
]
