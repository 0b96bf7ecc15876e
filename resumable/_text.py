"""Text that goes to a shell or a terminal: quoted, and with nothing in it that could steer either."""

from __future__ import annotations

import os.path
import shlex
from collections.abc import Sequence

_TAKES_VALUE = "WX"
_STARTS_PROGRAM = "cm"
_NOT_REPEATABLE = frozenset(
    {"ipykernel", "ipykernel_launcher", "ipython", "ipython3", "IPython", "jupyter-lab", "jupyter-notebook", "idlelib"}
)
_CHILD = "from multiprocessing."
"""How the code begins that starts a worker process."""


def shortened(value: object, limit: int = 60) -> str:
    """How Python shows *value*, in *limit* characters at most."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def printable(text: str) -> str:
    """*text* on one line, with what could steer a terminal written out (``\\x1b``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def quoted(text: str) -> str:
    """*text* as one word of a POSIX shell's command line."""
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def argument(text: str) -> str:
    """*text* as one argument that is no option, also if it begins with a dash."""
    return f"-- {quoted(text)}" if text.startswith("-") else quoted(text)


def command_for(verb: str, operation_id: str, directory: str = "") -> str:
    """What a person types about an operation: ``resumable rm --dir checkpoints job``.

    Args:
        directory: Where the checkpoint lies; "" if the command looks there by itself.
    """
    place = f" --dir {quoted(directory)}" if directory else ""
    return f"resumable {verb}{place} {argument(operation_id)}"


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    if 0xDC80 <= code <= 0xDCFF:  # a byte of argv that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x80 else f"\\U{code:08x}"


def resume_command(argv: Sequence[str], *, is_windows: bool = False) -> str:
    """The command line that runs this program again; "" if there is none, as in a notebook.

    Args:
        argv: ``sys.orig_argv``.
    """
    program = _program(argv)
    if not program or _is_not_repeatable(program):
        return ""
    if is_windows:
        import subprocess

        return subprocess.list2cmdline(argv)
    return " ".join(map(quoted, argv))


def _program(argv: Sequence[str]) -> str:
    """What Python was told to run: a script's path, a module's name or code; "" for none."""
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
