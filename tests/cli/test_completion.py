"""What ``resumable completion`` prints, in the shells themselves: Tab completes commands and ids."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from resumable import CheckpointManager

pytest.importorskip("click")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
SECONDS = 30
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(resumable completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -U compinit; compinit -u -D; eval "$(resumable completion zsh)"'),
    "fish": (["--no-config", "-i"], "resumable completion fish | source"),
}


class Shell:
    """A shell on a terminal of its own."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self._descriptor, keys.encode())

    def wait_for(self, text: str) -> None:
        until = time.monotonic() + SECONDS
        while text not in self.seen:
            if not select.select([self._descriptor], [], [], max(0.0, until - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} did not come: {self.seen!r}")
            self.seen += os.read(self._descriptor, 65536).decode(errors="replace")

    def run(self, line: str, mark: str) -> None:
        """Run *line*, and wait until it has ended. The shell itself echoes *mark* in another spelling."""
        self.type(f"{line or 'true'}; echo {mark[:2]}''{mark[2:]}\r")
        self.wait_for(mark)
        self.seen = ""

    def complete(self, begun: str, *, then: str, answer: str) -> None:
        """Type what was *begun* and Tab; once something has come of it, *then* and Enter."""
        self.type(f"{begun}\t")
        self.wait_for(begun)
        self.type(f"{then}\r")
        self.wait_for(answer)
        self.run("", "next-line")


@contextmanager
def opened(name: str, place: Path) -> Iterator[Shell]:
    options, _ = SHELLS[name]
    (place / "bin").mkdir()
    command = place / "bin" / "resumable"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m resumable "$@"\n')
    command.chmod(0o755)
    environ = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}", "HOME": str(place), "TERM": "xterm", "LANG": "C.UTF-8"}
    environ |= {"PYTHONPATH": str(ROOT), "CHECKPOINT_DIR": str(place), "PS1": "$ "}
    child, descriptor = pty.fork()
    if child == 0:
        os.chdir(place)
        os.execvpe(name, [name, *options], environ)
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
    try:
        yield Shell(descriptor)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(descriptor)


@pytest.mark.parametrize("name", SHELLS)
def test_tab_completes_commands_and_ids(name: str, tmp_path: Path) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed: apt-get install {name}")
    CheckpointManager(checkpoint_dir=tmp_path).create_checkpoint("crawl-of-the-north", {"page": 7})

    with opened(name, tmp_path) as shell:
        shell.run(SHELLS[name][1], "ready-now")
        shell.complete("resumable verif", then=" --help", answer="Usage: resumable verify")
        shell.complete("resumable show craw", then="", answer="start over")
