"""What a person types: to run a program again, and to look at an operation."""

from __future__ import annotations

import functools
import os
import shlex
import sys
from collections.abc import Sequence

from .secrets import hidden, hidden_in_command
from .words import quoted

_TAKES_VALUE = "WX"
_STARTS_PROGRAM = "cm"
_NOT_REPEATABLE = frozenset(
    {"ipykernel", "ipykernel_launcher", "ipython", "ipython3", "IPython", "jupyter-lab", "jupyter-notebook", "idlelib"}
)
_CHILD = "from multiprocessing."
"""The code of a worker process begins so."""


def argument(text: str) -> str:
    """*text* as one argument of a command; if it begins with a dash, it is still no option."""
    return f"-- {word(text)}" if text.startswith("-") else word(text)


def word(text: str) -> str:
    """*text* as one word for the shell of this system."""
    if sys.platform == "win32":
        import subprocess

        return subprocess.list2cmdline([text])
    return quoted(text)


def command_for(verb: str, operation_id: str, directory: str = "") -> str:
    """The command that a person types about an operation: ``resumable rm --dir checkpoints job``.

    Where the shell would not find ``resumable``, as in a virtual environment that is not active, it is started by this
    Python.

    Args:
        directory: Where the checkpoint lies, a directory or a URL; "" if the command looks there by itself.
    """
    option = "--store" if "://" in directory else "--dir"
    place = f" {option} {word(hidden(directory))}" if directory else ""
    return f"{_our_command()} {verb}{place} {argument(operation_id)}"


@functools.cache
def _our_command() -> str:
    import shutil

    if shutil.which("resumable"):
        return "resumable"
    if sys.argv and os.path.basename(sys.argv[0]).removesuffix(".exe") == "resumable":
        return word(sys.argv[0])
    typed = sys.orig_argv[0] if sys.orig_argv else ""
    is_python = os.path.basename(typed).lower().startswith("python")
    return f"{word(typed if is_python else sys.executable)} -m resumable"


def resume_command(argv: Sequence[str], *, is_windows: bool = False) -> str:
    """The command line that runs this program again; "" if there is none, for example in a notebook.

    Secrets in it are replaced by ``***``.

    Args:
        argv: ``sys.orig_argv``.
    """
    program = _program(argv)
    if not program or _is_not_repeatable(program):
        return ""
    argv = hidden_in_command(_as_typed(argv))
    if is_windows:
        import subprocess

        return subprocess.list2cmdline(argv)
    return " ".join(map(quoted, argv))


def _as_typed(argv: Sequence[str]) -> Sequence[str]:
    """*argv*, without the Python and the folder of an installed command that the shell finds by its name."""
    program = argv[1] if len(argv) > 1 else ""
    if not os.path.isabs(program) or os.path.splitext(program)[1]:
        return argv
    import shutil

    name = os.path.basename(program)
    return [name, *argv[2:]] if shutil.which(name) == program else argv


def other_script(command: str, argv: Sequence[str]) -> str:
    """The file name of the script that *command* runs, if this program, *argv*, is one of another name; else ""."""
    try:
        before, now = (os.path.basename(_program(words)) for words in (shlex.split(command), argv))
    except ValueError:  # it has a quotation mark of another system
        return ""
    return before if before.endswith(".py") and now.endswith(".py") and before != now else ""


def _program(argv: Sequence[str]) -> str:
    """What Python runs: a script's path, a module's name, or code; "" for none."""
    words = iter(argv[1:])
    for word in words:
        if word == "-":
            return ""
        if not word.startswith("-"):
            return word
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, "")
            continue
        flags = word[1:]
        first = next((i for i, flag in enumerate(flags) if flag in _TAKES_VALUE + _STARTS_PROGRAM), None)
        if first is None:
            continue
        value = flags[first + 1 :] or next(words, "")
        if flags[first] in _STARTS_PROGRAM:
            return value
    return ""


def _is_not_repeatable(program: str) -> bool:
    name = os.path.basename(program).removesuffix(".py").removesuffix(".exe")
    return name in _NOT_REPEATABLE or program.startswith(_CHILD)
