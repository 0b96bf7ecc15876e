"""The command line: ``resumable list``, ``show``, ``rm``, ``run``, ``watch`` and others.

``_commands``, ``_export``, ``_removal`` and ``_verify_commands`` are commands; ``_options`` has their common options.
``_screens`` and ``_show`` print. ``_plain`` replaces all of them where click or rich is not installed. ``_run`` is the
command ``run``: ``_supervise`` runs a job, ``_each`` a command for each item. ``_copy`` copies between stores,
``_report`` writes reports, ``_watch`` shows running jobs, ``_control`` sends them requests, ``_diff`` compares, and
``_serve`` shows all of it in a browser.
"""

from __future__ import annotations

import io
import sys

__all__ = ["main"]

_NEEDED = ("click", "rich")


def main() -> None:
    """Run the command that ``sys.argv`` asks for, and exit.

    Exit codes: 0 done; 1 not done, and stderr says why; 2 wrong arguments.
    """
    # An id may hold a character that the terminal cannot encode.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        from ._commands import commands
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _NEEDED:
            raise
        from . import _plain

        sys.exit(_plain.main(sys.argv[1:]))
    commands(prog_name="resumable")
