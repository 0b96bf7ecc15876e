"""How a sentence reaches people once: on the terminal, in the log, or at the end of the program."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from resumable._report.terminal import telling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    logger = logging.getLogger("resumable")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers, logger.propagate = [], False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers, logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


@pytest.mark.parametrize(
    ("terminal", "handler", "wanted", "said", "logged"),
    [
        pytest.param(True, None, False, 1, 0, id="a terminal"),
        pytest.param(True, io.StringIO, False, 1, 1, id="a terminal, and a log in a file"),
        pytest.param(True, Terminal, False, 1, 0, id="a terminal, and a log on it"),
        pytest.param(False, io.StringIO, True, 0, 1, id="no terminal, but a log"),
        pytest.param(False, None, True, 1, 0, id="neither, but wanted"),
        pytest.param(False, None, False, 0, 0, id="neither"),
    ],
)
def test_it_is_said_once_wherever_somebody_reads(
    terminal: bool,
    handler: type[io.StringIO] | None,
    wanted: bool,
    said: int,
    logged: int,
    log: logging.Logger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    kept = handler() if handler is not None else io.StringIO()
    if handler is not None:
        log.addHandler(logging.StreamHandler(kept))
    else:
        log.setLevel(logging.WARNING)

    telling.tell("job: goes on", is_wanted=wanted)

    assert stderr.getvalue().count("job: goes on\n") == said
    assert kept.getvalue().count("job: goes on\n") == logged


def test_what_stderr_cannot_spell_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(raw, encoding="ascii"))

    telling.say("größer ■")

    assert raw.getvalue() == b"gr\\xf6\\xdfer \\u25a0\n"


def test_without_a_stderr_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)

    telling.say("job: goes on")


@pytest.mark.slow
def test_the_last_box_is_said_wholly_when_the_program_ends() -> None:
    program = """
from resumable._report.terminal.telling import say_at_exit, unsay
say_at_exit("inner", "inner: stopped\\n  look: ...")
say_at_exit("gone", "gone: stopped")
say_at_exit("outer", "outer: stopped\\n  look: ...")
unsay("gone")
print("the program's last line")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)

    assert done.stderr == "inner: stopped\nouter: stopped\n  look: ...\n"
