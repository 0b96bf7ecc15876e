"""Programs on a pseudo-terminal, and what its screen shows in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

pyte = pytest.importorskip("pyte")
pty = pytest.importorskip("pty", reason="terminals of this kind are POSIX only")

ROWS = 50


class Finished:
    """A program that has ended.

    Attributes:
        written: All that it wrote to its terminal.
        screen: What stands there in the end, line by line, scrolled lines included; without the first sentence, which
            names the folder.
    """

    def __init__(self, written: str, code: int, width: int) -> None:
        self.written = written
        self.code = code
        terminal = pyte.HistoryScreen(width, ROWS, history=10_000)
        pyte.Stream(terminal).feed(written)
        above = ["".join(row[x].data for x in range(width)) for row in terminal.history.top]
        self.screen = [line.rstrip() for line in (*above, *terminal.display)]
        begins = [number for number, line in enumerate(self.screen[:6]) if line.endswith("json.")]
        del self.screen[: max(begins, default=-1) + 1]
        while self.screen and not self.screen[-1]:
            self.screen.pop()

    @property
    def text(self) -> str:
        return "\n".join(self.screen)

    def __repr__(self) -> str:
        return f"<Finished {self.code}\n{self.text}\n>"


def run(
    program: str,
    folder: Path,
    *,
    width: int = 80,
    environ: Mapping[str, str | None] | None = None,
    interrupt_at: str = "",
    by: int = signal.SIGINT,
    key: bytes = b"",
    seconds: float = 120,
) -> Finished:
    """Run *program* in *folder* on a terminal of *width* columns.

    Args:
        interrupt_at: Once this was written, the signal *by* comes; or *key* is pressed, where one is given.
    """
    import fcntl
    import struct
    import termios

    (folder / "job.py").write_text(program)
    terminal, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, width, 0, 0))
    settings = {"TERM": "xterm-256color", "PYTHONUNBUFFERED": None, "COLUMNS": None, "LINES": None, "NO_COLOR": None}
    merged = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | settings | dict(environ or {})
    child = subprocess.Popen(
        [sys.executable, "-B", "job.py"],
        cwd=folder,
        stdin=other,
        stdout=other,
        stderr=other,
        env={name: value for name, value in merged.items() if value is not None},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(other)
    written, is_sent, began = b"", not interrupt_at, time.monotonic()
    try:
        while piece := os.read(terminal, 65_536):
            written += piece
            if not is_sent and interrupt_at.encode() in written:
                is_sent = True
                os.write(terminal, key) if key else child.send_signal(by)
            if time.monotonic() - began > seconds:
                child.kill()
    except OSError:  # how Linux tells the end
        pass
    os.close(terminal)
    return Finished(written.decode(errors="replace"), child.wait(), width)
