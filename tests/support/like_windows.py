"""Import it first: then this Python has only what Python has on Windows, as far as that can be had elsewhere.

Functions, flags and signals of POSIX are gone, their modules cannot be imported, ``sys.platform`` is ``win32``, a
directory cannot be opened, and a file that is open can be neither replaced nor removed. ``os.name`` stays, as paths
depend on it, and so does what other packages have of POSIX.
"""

from __future__ import annotations

import asyncio  # noqa: F401  what is imported here keeps to the real system
import concurrent.futures.process  # noqa: F401
import contextlib
import os
import shutil
import signal
import sys
import time
import types
from importlib import import_module
from typing import Any

_OTHERS = (
    *("click", "click.shell_completion", "cryptography", "filelock", "http.server", "logging.handlers"),
    *("multiprocessing.queues", "obstore", "platformdirs", "psycopg", "pymysql", "redis", "rich.console", "rich.live"),
    *("rich.table", "sqlalchemy", "ssl", "tempfile", "tenacity", "uuid", "webbrowser"),
)
_MISSING_MODULES = ("_posixsubprocess", "curses", "fcntl", "grp", "posix", "pty", "pwd", "resource", "termios", "tty")
_MISSING_IN_OS = """
    chown confstr copy_file_range ctermid eventfd fchdir fchmod fchown fdatasync fork forkpty
    fpathconf fstatvfs getegid geteuid getgid getgroups getloadavg getpgid getpgrp getpriority
    getresuid getsid getuid getxattr killpg lchown listxattr lockf memfd_create mkfifo mknod nice
    openpty pathconf pipe2 posix_fadvise posix_fallocate posix_spawn pread preadv pwrite pwritev
    readv register_at_fork sched_getaffinity sched_yield sendfile setpgid setpriority setsid
    setxattr splice statvfs sync sysconf tcgetpgrp tcsetpgrp ttyname uname wait wait3 wait4 waitid
    writev O_CLOEXEC O_DIRECTORY O_DSYNC O_NOFOLLOW O_NONBLOCK O_PATH O_SYNC O_TMPFILE WEXITSTATUS
    WIFEXITED WIFSIGNALED WNOHANG WTERMSIG
"""
_SIGNALS = frozenset({"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN"})
_MISSING_IN_SIGNAL = "ITIMER_REAL alarm getitimer pause pthread_kill pthread_sigmask setitimer siginterrupt sigpending"


def _take_away() -> None:
    for name in _OTHERS:
        with contextlib.suppress(ImportError):
            import_module(name)
    real = types.ModuleType("os")
    vars(real).update(vars(os))
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "filelock" and getattr(module, "os", None) is os:
            module.os = real  # type: ignore[attr-defined]  # it locks as here
    shutil._USE_CP_SENDFILE = False  # type: ignore[attr-defined]
    signals = [name for name in dir(signal) if name.startswith("SIG") and name not in _SIGNALS]
    clocks = [name for name in dir(time) if name.lower().startswith("clock_")]
    for module, names in (
        (os, _MISSING_IN_OS.split()),
        (signal, [*signals, *_MISSING_IN_SIGNAL.split()]),
        (time, [*clocks, "tzset"]),
    ):
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    sys.modules.update(dict.fromkeys(_MISSING_MODULES))  # type: ignore[arg-type]
    sys.platform = "win32"


def _is_open(path: Any) -> bool:
    """Whether this process has *path* open. Only Linux tells."""
    real, folder = os.path.realpath(os.fsdecode(path)), "/proc/self/fd"
    found = set()
    for descriptor in os.listdir(folder) if os.path.isdir(folder) else ():
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"{folder}/{descriptor}"))
    return real in found


def _refuse_open_files(name: str) -> None:
    real = getattr(os, name)

    def call(*paths: Any, **options: Any) -> Any:
        if any(not isinstance(path, int) and _is_open(path) for path in paths):
            raise PermissionError(13, "The process cannot access the file because it is being used", str(paths[0]))
        return real(*paths, **options)

    setattr(os, name, call)


def _refuse_directories() -> None:
    real = os.open

    def call(path: Any, flags: int, mode: int = 0o777) -> int:
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied", os.fsdecode(path))
        return real(path, flags, mode)

    os.open = call  # type: ignore[assignment]


_take_away()
_refuse_directories()
for _name in ("link", "remove", "rename", "replace", "unlink"):
    _refuse_open_files(_name)
