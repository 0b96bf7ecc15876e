"""Process groups that end with this process, even if it is killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
from types import TracebackType

_GRACE_SECONDS = 5
_WATCH = """
trap '' INT TERM HUP
alive=' '
while read -r what group; do
    case $what in
    add) alive="$alive$group " ;;
    remove) alive="${alive%% "$group" *} ${alive#* "$group" }" ;;
    esac
done
for number in TERM KILL; do
    left=
    for group in $alive; do kill -s $number -- -"$group" && left=1; done
    test -n "$left" || exit 0
    test $number = KILL || sleep "$1"
done
"""
"""Its input ends when this process does. The shell needs a millisecond to start, where Python needs twenty."""


class Groups:
    """Process groups that get SIGTERM once this process is gone, and SIGKILL five seconds later.

    A shell beside this process does that. Without a POSIX shell, nobody does.

    Example:
        >>> with Groups() as groups:
        ...     groups.add(child.pid)
        ...     child.wait()
        ...     groups.remove(child.pid)
    """

    def __init__(self) -> None:
        self._watcher: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Groups:
        if os.name == "posix":
            nobody = subprocess.DEVNULL  # who reads our output must not wait for the watcher
            command = ["/bin/sh", "-c", _WATCH, "sh", str(_GRACE_SECONDS)]
            with contextlib.suppress(OSError):
                self._watcher = subprocess.Popen(
                    command, bufsize=0, stdin=subprocess.PIPE, stdout=nobody, stderr=nobody, cwd="/", process_group=0
                )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            assert self._watcher.stdin is not None
            self._watcher.stdin.close()
            self._watcher.wait()

    def add(self, group: int) -> None:
        """*group* has begun: the process id of its first process. Safe from any thread."""
        self._tell("add", group)

    def remove(self, group: int) -> None:
        """*group* has ended, and its number may belong to another one soon."""
        self._tell("remove", group)

    def _tell(self, what: str, group: int) -> None:
        if self._watcher is not None and self._watcher.stdin is not None:
            with contextlib.suppress(OSError):  # somebody has killed the watcher
                os.write(self._watcher.stdin.fileno(), f"{what} {group}\n".encode())
